"""Evaluation: metrics, alignment, protocols, tables and statistics."""
