"""Image to larger image: estimate the degradation, adapt the parameters, enhance."""
