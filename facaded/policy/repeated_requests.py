"""Repeated requests: a client that repeats a request soon after a redirect may have failed at the backend.

But two machines may share one address, and a person may just try again. So a repeated request only triggers a probe.
"""

import hashlib

from facaded.net.expiring import ExpiringMap

REPEAT_TIME = 10.0
"""How long after a redirect the same request counts as a repetition, in seconds: clients retry by themselves sooner."""

RETRY_PAUSE = 1.0
"""Seconds after the first request within which requests for a blob are parallel or authorized, but no retries.

containerd and Docker send a request again at once when they have a token, and wait for 1 s or more after an error.
"""

REDIRECTS = 10_000
"""The most redirects that are kept; the oldest are evicted first."""


class RepeatedRequests:
    """Records redirects of requests, and detects requests that come again."""

    def __init__(self) -> None:
        self._redirected: ExpiringMap[bytes, tuple[int, float]] = ExpiringMap(REDIRECTS)

    def record(self, client: str, method: str, path: str, now: float, usual: int = 1, pause: float = 0.0) -> bool:
        """Record a redirect, and return whether the client has sent this request more than `usual` times.

        `client` is its address. `usual` is how many times it sends the request during one successful pull. `pause` is
        how many seconds after the first request the last one must come at least.
        """
        key = hashlib.sha256("\n".join((client, method, path)).encode()).digest()
        times, first = self._redirected.get(key, now) or (0, now)
        self._redirected.put(key, (times + 1, first), now + REPEAT_TIME)
        return times + 1 > usual and now - first >= pause
