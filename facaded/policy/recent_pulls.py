"""Recent pulls: the images that clients pulled lately. `facaded parity` compares them by default."""

from collections import OrderedDict

IMAGES = 100
"""The most images that are kept: bounds memory, and the time that a comparison of all of them takes."""


class RecentPulls:
    """A bounded list of pulled images; the least recently pulled one is evicted first."""

    def __init__(self) -> None:
        self._images: OrderedDict[tuple[str, str], None] = OrderedDict()

    def add(self, name: str, tag: str) -> None:
        """Record a request for the manifest of `tag` in the repository `name` that was served or redirected."""
        image = name, tag
        self._images.pop(image, None)
        self._images[image] = None
        if len(self._images) > IMAGES:
            self._images.popitem(last=False)

    def take(self, most: int) -> list[tuple[str, str]]:
        """Remove the least recently pulled images, at most so many, and return name and tag of each in their order."""
        return [self._images.popitem(last=False)[0] for _ in range(min(most, len(self._images)))]

    def images(self) -> tuple[str, ...]:
        """Return the image references, latest first."""
        return tuple(f"{name}:{tag}" for name, tag in reversed(self._images))
