"""A container registry facade: redirects, health checks and failover in front of container registries."""

__version__ = "0.1.0"
"""The version of the package too: pyproject.toml reads it here, because reading the metadata takes 10 ms and 1 MiB."""
