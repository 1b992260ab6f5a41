"""Core: samples, kinds of depth, cameras, specs and errors, which everything else builds on."""
