"""Parity: whether the backends of a route have the same images, and how they differ."""
