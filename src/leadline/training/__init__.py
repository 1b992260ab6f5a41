"""Training: losses, objectives, pseudo-labels and the training loop."""
