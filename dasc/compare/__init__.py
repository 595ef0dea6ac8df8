"""Comparison of checkpoints and exported files on the same images."""
