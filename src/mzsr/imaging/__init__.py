"""Pixels to pixels: pure functions on (B, C, H, W) floats in [0, 1]; no learning, no global random state."""
