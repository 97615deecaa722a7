"""Repeated requests: a client that repeats a request soon after a redirect may have failed at the backend.

But two machines may share one address, and a person may just try again. So a repeated request only triggers a probe.
"""

import hashlib

from facaded.net.expiring import ExpiringMap

REPEAT_TIME = 10.0
"""How long after a redirect the same request counts as a repetition, in seconds: clients retry by themselves sooner."""

REDIRECTS = 10_000
"""The most redirects that are kept; the oldest are evicted first."""


class RepeatedRequests:
    """Records redirects of manifest requests, and detects requests that come again."""

    def __init__(self) -> None:
        self._redirected: ExpiringMap[bytes, int] = ExpiringMap(REDIRECTS)

    def record(self, client: str, method: str, path: str, now: float, usual: int = 1) -> bool:
        """Record a redirect, and return whether the client has sent this request more than `usual` times.

        `client` is its address. `usual` is how many times it sends the request during one successful pull.
        """
        key = hashlib.sha256("\n".join((client, method, path)).encode()).digest()
        times = (self._redirected.get(key, now) or 0) + 1
        self._redirected.put(key, times, now + REPEAT_TIME)
        return times > usual
