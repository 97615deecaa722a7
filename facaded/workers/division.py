"""Divides the totals of the settings among the processes, so that all of them together keep to the settings.

Connections come to the processes at random, so each needs an equal part. What limits one source is not divided, because
all connections of a client may come to the same process: a source with many can have up to `workers` times as much.
"""

from attrs import evolve

from facaded.backends.manifests import MANIFEST_SIZE
from facaded.backends.request_gate import PARTS
from facaded.config.sections import Config

LEAST_CONNECTIONS = 16
"""Connections of one process at least: a client has up to six at once, and those of three may come to one process."""

LEAST_BYTES = 2 * MANIFEST_SIZE
"""Bytes of one process at least, for unread answers and for its cache: less has no room for the largest manifest."""

LEAST_REQUESTS = PARTS
"""Requests of one process to a backend at least, so that one slow request does not hold up all others."""


def divide(config: Config, workers: int) -> Config:
    """Return the settings of one of `workers` processes; those of a single one are unchanged.

    A part is never larger than the total, and rounded up, so the parts have `workers` more than the total at most,
    except if the least values apply: then all processes together have `workers` times the least value.
    """
    limits, cache = config.limits, config.cache
    connections = limits.connections
    if connections is not None:
        connections = part(connections, workers, LEAST_CONNECTIONS)
    divided = evolve(
        limits,
        processes=limits.processes * workers,
        connections=connections,
        backend_requests=part(limits.backend_requests, workers, LEAST_REQUESTS),
        unsent_bytes=part(limits.unsent_bytes, workers, LEAST_BYTES),
    )
    manifests = part(cache.manifests, workers, LEAST_BYTES)
    return evolve(config, limits=divided, cache=evolve(cache, manifests=manifests))


def part(total: int, workers: int, least: int) -> int:
    """Return the part of one process: at least `least`, or the total if that is smaller."""
    return max(-(-total // workers), min(total, least))
