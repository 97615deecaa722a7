"""A resolver whose lookups a test ends by hand, and a receiver that records what it gets."""

import socket
from collections.abc import Callable, Sequence
from functools import partial

from attrs import define, field
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from twisted.internet.task import Clock
from zope.interface import implementer

from facaded.net.resolver import Resolver, SocketAddress

ONE, TWO, SIX = "192.0.2.1", "192.0.2.2", "2001:db8::1"

AddressInfo = tuple[int, int, int, str, SocketAddress]


def address_info(address: str, scope: int = 0) -> AddressInfo:
    """Return an address in the form of getaddrinfo's results."""
    socket_address: SocketAddress = (address, 0, 0, scope) if ":" in address else (address, 0)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", socket_address


@implementer(IResolutionReceiver)
@define(eq=False)
class RecordingReceiver:
    """Records the addresses and the end of a resolution. `on` maps events to functions that are called then."""

    on: dict[str, Callable[[], object]] = field(factory=dict)
    events: list[object] = field(factory=list)
    resolution: IHostResolution | None = None

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        assert self.resolution is None
        assert self.events == []
        self.resolution = resolutionInProgress
        self._react("began")

    def addressResolved(self, address: IAddress) -> None:
        self.events.append(address)
        self._react("address")

    def resolutionComplete(self) -> None:
        self.events.append("complete")
        self._react("complete")

    def cancel(self) -> None:
        assert self.resolution is not None
        self.resolution.cancel()

    def _react(self, event: str) -> None:
        self.on.get(event, lambda: None)()

    @property
    def complete(self) -> bool:
        """Whether the resolution has ended: exactly once, after all addresses."""
        assert "complete" not in self.events[:-1]
        return self.events[-1:] == ["complete"]

    @property
    def hosts(self) -> list[str] | None:
        """The addresses, or None before the end."""
        return [getattr(address, "host", "") for address in self.events[:-1]] if self.complete else None


class ScriptedResolver:
    """A resolver whose lookups end by hand.

    `lookups` are the names of all lookups that started, `waiting` those in progress, `most_running` their maximum.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.waiting: dict[str, Callable[[], None]] = {}
        self.lookups: list[str] = []
        self.threads = True
        self.most_running = 0
        self._answer: Sequence[AddressInfo] | Exception = ()
        self._calls: list[Callable[[], object]] = []
        self.resolver = Resolver(self.clock, self._from_thread, self._getaddrinfo, self._start)

    def ask(self, name: str, receiver: RecordingReceiver | None = None, **arguments: object) -> RecordingReceiver:
        """Start a resolution and return its receiver."""
        receiver = RecordingReceiver() if receiver is None else receiver
        resolution = self.resolver.resolveHostName(receiver, name, **arguments)  # type: ignore[arg-type]  # any
        assert resolution is receiver.resolution
        self._run_calls()
        return receiver

    def answer(self, name: str, *addresses: str | AddressInfo) -> None:
        """End a lookup with these addresses."""
        self._end(name, [address_info(address) if isinstance(address, str) else address for address in addresses])

    def fail(self, name: str, error: Exception | None = None) -> None:
        """End a lookup with an error."""
        self._end(name, error or socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"))

    def learn(self, name: str, *addresses: str) -> None:
        """Look a name up, so that the resolver knows its addresses."""
        self.ask(name)
        self.answer(name, *(addresses or (ONE,)))

    def _end(self, name: str, answer: Sequence[AddressInfo] | Exception) -> None:
        self._answer = answer
        self.waiting.pop(name)()
        self._run_calls()

    def _getaddrinfo(self, name: str, port: int, family: int, kind: int) -> Sequence[AddressInfo]:
        assert (port, family, kind) == (0, socket.AF_UNSPEC, socket.SOCK_STREAM)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def _start(self, work: Callable[[], None]) -> None:
        if not self.threads:
            raise RuntimeError("can't start new thread")
        assert isinstance(work, partial)
        name: str = work.args[0].name
        assert name not in self.waiting, "two lookups of one name"
        self.waiting[name] = work
        self.lookups.append(name)
        self.most_running = max(self.most_running, len(self.waiting))

    def _from_thread(self, call: Callable[..., object], *arguments: object) -> None:
        self._calls.append(partial(call, *arguments))

    def _run_calls(self) -> None:
        while self._calls:
            self._calls.pop(0)()
