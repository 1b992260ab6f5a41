"""Export: a model as one file that other programs run, checked against the original before it gets its name."""
