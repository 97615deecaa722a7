"""The files of the orders in flight, each with the key of its certificate: created readable for their owner only."""

from collections.abc import Sequence
from pathlib import Path

from facaded.tls.acme import stored_order
from facaded.tls.acme.private_files import PrivateFiles, certificate_directory, digest
from facaded.tls.acme.stored_order import StoredOrder


class OrderFiles:
    """Reads and writes orders in flight, one for each CA and set of names. All methods raise StoreError."""

    def __init__(self, files: PrivateFiles) -> None:
        self._files = files

    def find(self, ca: str, names: Sequence[str]) -> StoredOrder | None:
        """Return the order in flight at a CA for these names, or None."""
        order = self._files.read(self._path(ca, names), lambda text: stored_order.from_text(text, names))
        return order if order is not None and order.ca == ca else None

    def in_flight(self, names: Sequence[str]) -> frozenset[str]:
        """Return the CAs that have an order in flight for these names."""
        paths = self._files.matching(certificate_directory(self._files.directory, names), "order_*.json")
        orders = (self._files.read(path, lambda text: stored_order.from_text(text, names)) for path in paths)
        return frozenset(order.ca for order in orders if order is not None)

    def save(self, order: StoredOrder) -> None:
        self._files.write(self._path(order.ca, order.names), stored_order.to_text(order))

    def discard(self, ca: str, names: Sequence[str]) -> None:
        """Remove an order that is no longer in flight, with its key."""
        self._files.remove(self._path(ca, names))

    def _path(self, ca: str, names: Sequence[str]) -> Path:
        return certificate_directory(self._files.directory, names) / f"order_{digest(ca)}.json"
