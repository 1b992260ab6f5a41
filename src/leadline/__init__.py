"""Leadline measures depth from one photograph, and teaches small networks to do it."""
