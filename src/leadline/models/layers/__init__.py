"""Layers: what several networks of the literature share, one idea a file."""
