"""A container registry facade: redirects, health checks and failover in front of container registries."""

from importlib.metadata import version

__version__ = version("facaded")
