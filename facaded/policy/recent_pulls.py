"""Recent pulls: the images that clients pulled lately. `facaded parity` compares them by default."""

import math

from facaded.net.expiring import ExpiringMap

IMAGES = 100
"""The most images that are kept: bounds memory, and the time that a comparison of all of them takes."""


class RecentPulls:
    """A bounded list of pulled images; the least recently pulled one is evicted first."""

    def __init__(self) -> None:
        self._images: ExpiringMap[tuple[str, str], None] = ExpiringMap(IMAGES)

    def add(self, name: str, tag: str) -> None:
        """Record a request for the manifest of `tag` in the repository `name` that was served or redirected."""
        self._images.put((name, tag), None, math.inf)

    def images(self) -> tuple[str, ...]:
        """Return the image references, latest first."""
        return tuple(f"{name}:{tag}" for (name, tag), _ in self._images.items(0.0))
