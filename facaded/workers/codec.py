"""Converts what the processes tell each other to JSON and back."""

from collections.abc import Set
from functools import cached_property
from typing import Any, TypeVar

from attrs import frozen
from cattrs import Converter

from facaded.policy.decision import RoutingState
from facaded.policy.health import Health, State
from facaded.policy.snapshot import RoutingView
from facaded.tls.server_certificate import ServerCertificate, UnusableError, parse

T = TypeVar("T")

_CONVERTER = Converter(unstruct_collection_overrides={Set: list}, detailed_validation=False)


class MalformedError(Exception):
    """A message has another form: it comes from another version of facaded."""


@frozen
class BackendState:
    """The state of a backend, and when its last Retry-After ends."""

    state: State
    since: float
    retry_at: float | None


@frozen(slots=False)
class SentView:
    """What answers depend on, as it is sent. `settled` is whether the first round of probes is over."""

    routing: RoutingState
    backends: dict[str, BackendState]
    settled: bool

    @classmethod
    def of(cls, view: RoutingView, settled: bool) -> "SentView":
        """Take what workers need of it."""
        states = {
            name: BackendState(health.state, health.since, health.retry_at) for name, health in view.healths.items()
        }
        return cls(view.routing, states, settled)

    @cached_property
    def view(self) -> RoutingView:
        """The same with a health for each backend that has nothing but its state."""
        healths = {name: Health(sent.state, sent.since, retry_at=sent.retry_at) for name, sent in self.backends.items()}
        return RoutingView(self.routing, healths)


@frozen
class SentCertificate:
    """A certificate that ACME obtained for these names, in PEM."""

    names: tuple[str, ...]
    chain: str
    key: str

    @classmethod
    def of(cls, names: tuple[str, ...], certificate: ServerCertificate) -> "SentCertificate":
        """Write a certificate and its key in PEM."""
        return cls(names, certificate.chain_pem.decode("ascii"), certificate.key_pem.decode("ascii"))

    @property
    def certificate(self) -> ServerCertificate:
        """The certificate. Raises MalformedError."""
        try:
            return parse(self.chain.encode(), self.key.encode())
        except UnusableError as error:
            raise MalformedError(str(error)) from None


def to_message(value: object) -> dict[str, Any]:
    """Return an attrs object as the JSON object of a message."""
    message: dict[str, Any] = _CONVERTER.unstructure(value)
    return message


def from_message(message: object, kind: type[T]) -> T:
    """Return the object that a message has. Raises MalformedError."""
    try:
        return _CONVERTER.structure(message, kind)
    except Exception as error:  # cattrs raises groups of whatever a value of another type causes
        raise MalformedError(f"no {kind.__name__}: {type(error).__name__}") from None
