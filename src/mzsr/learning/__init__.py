"""Pixels to parameters: networks, losses, patches, weights and the loop that trains."""
