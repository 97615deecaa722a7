"""Hints: a client that asks for the same manifest again soon after it was redirected has perhaps failed where it was
sent.

It may as well be two machines behind one address, or a person in a hurry: a hint is a reason to look, and no more.
"""

import hashlib

HINT_TIME = 10.0
"""Seconds after a redirect in which the same request again is a hint: clients that retry by themselves do so sooner."""

REMEMBERED = 10_000
"""Redirects that are remembered; of more, the oldest are forgotten."""


class Hints:
    """Remembers redirects of manifests."""

    def __init__(self) -> None:
        self._redirected: dict[bytes, tuple[float, int]] = {}

    def repeated(self, client: str, method: str, path: str, now: float, usual: int = 1) -> bool:
        """Note that `client`, by its address, is redirected; says whether it has been just before for the same request.

        `usual` is how often it asks when all is well.
        """
        key = hashlib.sha256("\n".join((client, method, path)).encode()).digest()
        before, times = self._redirected.pop(key, (-HINT_TIME, 0))
        times = times + 1 if now - before < HINT_TIME else 1
        self._redirected[key] = now, times
        if len(self._redirected) > REMEMBERED:
            del self._redirected[next(iter(self._redirected))]
        return times > usual
