"""A container registry facade:

redirects, health checks and failover in front of the registries that hold the images.
"""

from importlib.metadata import version

__version__ = version("facaded")
