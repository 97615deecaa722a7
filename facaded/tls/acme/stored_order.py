"""An order in flight, as it is stored: what it takes to finish it, whatever happens to this process meanwhile."""

import json
from collections.abc import Sequence
from enum import Enum

from attrs import field, frozen

from facaded.net.json_documents import Document, InvalidDocumentError, from_json, to_json
from facaded.tls.acme import documents, keys
from facaded.tls.acme.keys import P256Key
from facaded.tls.acme.problems import AcmeError


class OrderStage(Enum):
    """How far an order has come."""

    PLACED = "placed"
    """The CA has accepted it."""
    VALIDATING = "validating"
    """The CA was asked to validate names."""
    FINALIZING = "finalizing"
    """The request for the certificate was sent, or may have been: the CA may have issued it."""


@frozen
class StoredOrder:
    """An order that the CA with the directory URL `ca` has accepted for `names`.

    `key` and `csr`, the request in DER, are of the certificate to come. `placed` is when the order was placed,
    `finalized` when its request was sent first, in seconds since the epoch by the CA's clock.
    """

    ca: str
    names: tuple[str, ...]
    url: str
    key: P256Key = field(repr=False, eq=False)
    csr: bytes = field(repr=False)
    placed: float
    stage: OrderStage = OrderStage.PLACED
    finalized: float | None = None


@frozen
class OrderDocument(Document):
    """The JSON document of an order in flight: the request in base64url, the key in PEM."""

    ca: str
    names: tuple[str, ...]
    url: str
    stage: str
    placed: float
    finalized: float | None
    csr: str = field(repr=False)
    key: str = field(repr=False)


def to_text(order: StoredOrder) -> bytes:
    """Return an order as a JSON document."""
    document = OrderDocument(
        ca=order.ca,
        names=order.names,
        url=order.url,
        stage=order.stage.value,
        placed=order.placed,
        finalized=order.finalized,
        csr=keys.encode(order.csr),
        key=keys.pem(order.key).decode("ascii"),
    )
    return json.dumps(to_json(document), indent=1).encode() + b"\n"


def from_text(text: bytes, names: Sequence[str]) -> StoredOrder:
    """Return the order of a JSON document for these names. Raises ValueError if it is invalid."""
    try:
        document = from_json(text, OrderDocument)
        url = documents.check_url(document.url, "an order")
    except (InvalidDocumentError, AcmeError) as error:
        raise ValueError(str(error)) from None
    if {*document.names} != {*names}:
        raise ValueError("an order for other names")
    return StoredOrder(
        document.ca,
        tuple(names),
        url,
        keys.load(document.key.encode("ascii")),
        keys.decode(document.csr),
        document.placed,
        OrderStage(document.stage),
        document.finalized,
    )
