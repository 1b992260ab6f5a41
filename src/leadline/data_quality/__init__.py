"""Data quality: what a folder of photographs with depth holds, and what is wrong with it."""
