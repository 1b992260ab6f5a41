"""Inference: predict depth from photographs, and scale it to metres."""
