"""Data: datasets, transforms, loaders and stores."""
