"""The registries of a soak: those of the process tests with a real image, and with more faults."""

import socket
import struct
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

from attrs import frozen

from tests.process.daemon import Registry, fail
from tests.system.images import RandomImage

REPOSITORY = "org/app"

RETRY_AFTER = "5"
"""Seconds that a rate-limited registry asks to be left alone."""

FAULTS = (
    ("main", "refuse"),
    ("main", "500"),
    ("second", "hang"),
    ("main", "429"),
    ("main", "reset"),
    ("main", "hang"),
    ("second", "500"),
    ("main", "manifests-500"),
    ("main", "no-token"),
    ("second", "refuse"),
)
"""What fails and how, one after the other: never both registries, so every served pull should succeed."""


class ImageRegistry(Registry):
    """A registry with one image. Its further modes: `429` for manifests, and `reset`, which resets connections."""

    def __init__(self, host: str, image: RandomImage) -> None:
        super().__init__(host)
        self._contents = {digest: (media_type, content) for media_type, digest, content in image.manifests}
        self._contents["latest"] = self._contents[image.digest]
        self._contents |= {digest: ("application/octet-stream", blob) for digest, blob in image.blobs.items()}
        self._digests = dict.fromkeys(self._contents, "") | {digest: digest for digest in self._contents}
        self._digests["latest"] = image.digest

    def start(self) -> "ImageRegistry":
        super().start()
        assert self.server is not None
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients may disconnect
        return self

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if self.mode == "reset":
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.close_connection = True
            return
        super().answer(request)

    def _respond(self, mode: str, path: str) -> tuple[int, bytes, dict[str, str]]:
        if mode == "429" and "/manifests/" in path:
            return 429, b"", {"Retry-After": RETRY_AFTER}
        status, body, headers = super()._respond("token" if mode == "429" else mode, path)
        if status != 200 or path.startswith("/token"):
            return status, body, headers
        reference = path.partition("?")[0].rpartition("/")[2]
        if reference not in self._contents:
            return 404, b"", {}
        media_type, content = self._contents[reference]
        return 200, content, {"Content-Type": media_type, "Docker-Content-Digest": self._digests[reference]}


@frozen
class Faults:
    """Switches the faults of two registries on and off: each lasts for half a period."""

    registries: dict[str, ImageRegistry]
    period: float

    def schedule(self) -> Iterator[tuple[float, str, str]]:
        """Yield, without end, a time in seconds, and the registry and fault that begin then; the fault may be none."""
        number = 0
        while True:
            name, fault = FAULTS[number % len(FAULTS)]
            yield (number + 0.5) * self.period, name, fault
            number += 1
            yield number * self.period, name, ""

    def switch(self, name: str, fault: str) -> None:
        registry = self.registries[name]
        if fault:
            fail(registry, fault)
            return
        registry.mode = "token"
        if registry.server is None:
            registry.start()
