"""Pretrained models: official releases, their checkpoints, and the Hugging Face hub."""
