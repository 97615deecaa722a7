"""Talking to registries, with treq: requests, probes, and the watch that is kept over them."""
