"""The limit of samples: one client or one image must not make a whole backend look broken."""

from ipaddress import IPv6Address

from facaded.net.expiring import ExpiringMap
from facaded.policy.evidence import Attempt

SAMPLE_INTERVAL = 10.0
"""Seconds in which at most one request of a client for a repository counts, for each backend and step."""

SOURCES = 10_000
"""Sources that are remembered; the least recently used are evicted first."""


class SampleLimit:
    """Admits at most one sample per (backend, step, repository, source) in `SAMPLE_INTERVAL`."""

    def __init__(self) -> None:
        self._seen: ExpiringMap[tuple[object, ...], bool] = ExpiringMap(SOURCES)

    def admits(self, attempt: Attempt, now: float) -> bool:
        """Return whether an attempt counts as a sample, and note it if it does."""
        key = attempt.backend, attempt.step, attempt.repository, _network(attempt.source)
        if not attempt.sample or self._seen.get(key, now):
            return False
        self._seen.put(key, True, now + SAMPLE_INTERVAL)
        return True


def _network(source: str) -> str:
    """Return the client's address; of an IPv6 address the /64, because one client has all addresses in it.

    A listener for both families sees IPv4 addresses as `::ffff:192.0.2.1`. What is no address stays as it is.
    """
    if ":" not in source:
        return source
    try:
        address = IPv6Address(source)
    except ValueError:
        return source
    return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
