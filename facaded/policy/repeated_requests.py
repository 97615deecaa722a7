"""Repeated requests: a client that repeats a request soon after it was redirected may have failed at the backend.

It may also be two machines behind one address, or an impatient person: a repeated request is a reason to probe the
backend, and no more.
"""

import hashlib

from facaded.net.expiring import ExpiringMap

REPEAT_TIME = 10.0
"""Seconds after a redirect in which the same request again is a hint: clients that retry by themselves do so sooner."""

REMEMBERED = 10_000
"""Redirects that are remembered; of more, the oldest are forgotten."""


class RepeatedRequests:
    """Remembers redirects of manifests."""

    def __init__(self) -> None:
        self._redirected: ExpiringMap[bytes, int] = ExpiringMap(REMEMBERED)

    def repeated(self, client: str, method: str, path: str, now: float, usual: int = 1) -> bool:
        """Note that `client`, by its address, is redirected; says whether it has been just before for the same request.

        `usual` is how often it asks when all is well.
        """
        key = hashlib.sha256("\n".join((client, method, path)).encode()).digest()
        times = (self._redirected.get(key, now) or 0) + 1
        self._redirected.put(key, times, now + REPEAT_TIME)
        return times > usual
