"""Models: networks, their building blocks, and how they are saved, loaded and downloaded."""
