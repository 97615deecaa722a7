"""What was pulled recently: the names of images, for a person who wants to know whether all backends have them."""

import math

from facaded.net.expiring import ExpiringMap

IMAGES = 100
"""Images that are kept: a bound on memory, and on the time that comparing them all takes."""


class RecentPulls:
    """Images by tag, of which the one asked longest ago is forgotten first."""

    def __init__(self) -> None:
        self._images: ExpiringMap[tuple[str, str], None] = ExpiringMap(IMAGES)

    def add(self, name: str, tag: str) -> None:
        """The manifest that `tag` names in the repository `name` was answered, or its asker sent to a backend."""
        self._images.put((name, tag), None, math.inf)

    def images(self) -> tuple[str, ...]:
        """Image references, the latest first."""
        return tuple(f"{name}:{tag}" for (name, tag), _ in self._images.items(0.0))
