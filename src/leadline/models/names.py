"""Names: the model that comes with the package."""

DEFAULT = "leadline_small"
"""The trained model that comes with the package: what commands take where none is named."""
