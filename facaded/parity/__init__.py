"""Parity: compare the images that the backends of a route have."""
