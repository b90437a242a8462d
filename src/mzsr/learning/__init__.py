"""Pixels to parameters: networks, losses, patches, checkpoints and the loops that train."""
