"""A resolver whose look-ups a test answers by hand, and those who ask it."""

import socket
from collections.abc import Callable, Sequence
from functools import partial

from attrs import define, field
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from twisted.internet.task import Clock
from zope.interface import implementer

from facaded.net.resolver import Resolver, SocketAddress

ONE, TWO, SIX = "192.0.2.1", "192.0.2.2", "2001:db8::1"

Found = tuple[int, int, int, str, SocketAddress]


def found(address: str, scope: int = 0) -> Found:
    """An address as getaddrinfo gives it."""
    place: SocketAddress = (address, 0, 0, scope) if ":" in address else (address, 0)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place


@implementer(IResolutionReceiver)
@define(eq=False)
class Asker:
    """Keeps all that it is told, in order."""

    on: dict[str, Callable[[], object]] = field(factory=dict)
    told: list[object] = field(factory=list)
    resolution: IHostResolution | None = None

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        assert self.resolution is None
        assert self.told == []
        self.resolution = resolutionInProgress
        self._do("began")

    def addressResolved(self, address: IAddress) -> None:
        self.told.append(address)
        self._do("address")

    def resolutionComplete(self) -> None:
        self.told.append("complete")
        self._do("complete")

    def cancel(self) -> None:
        assert self.resolution is not None
        self.resolution.cancel()

    def _do(self, what: str) -> None:
        self.on.get(what, lambda: None)()

    @property
    def complete(self) -> bool:
        """Whether it was told the end: then once, and last."""
        assert "complete" not in self.told[:-1]
        return self.told[-1:] == ["complete"]

    @property
    def hosts(self) -> list[str] | None:
        """The addresses that it was told, None before the end."""
        return [getattr(each, "host", "") for each in self.told[:-1]] if self.complete else None


class System:
    """A resolver whose look-ups are answered by hand, and its clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.waiting: dict[str, Callable[[], None]] = {}
        self.asked: list[str] = []
        self.threads = True
        self.most = 0
        self._answer: Sequence[Found] | Exception = ()
        self._later: list[Callable[[], object]] = []
        self.names = Resolver(self.clock, self._from_thread, self._getaddrinfo, self._start)

    def ask(self, name: str, asker: Asker | None = None, **more: object) -> Asker:
        asker = Asker() if asker is None else asker
        given = self.names.resolveHostName(asker, name, **more)  # type: ignore[arg-type]  # whatever a test asks
        assert given is asker.resolution
        self._catch_up()
        return asker

    def answer(self, name: str, *addresses: str | Found) -> None:
        """End a look-up with these addresses."""
        self._end(name, [found(each) if isinstance(each, str) else each for each in addresses])

    def fail(self, name: str, error: Exception | None = None) -> None:
        """End a look-up with an error."""
        self._end(name, error or socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"))

    def know(self, name: str, *addresses: str) -> None:
        self.ask(name)
        self.answer(name, *(addresses or (ONE,)))

    def _end(self, name: str, answer: Sequence[Found] | Exception) -> None:
        self._answer = answer
        self.waiting.pop(name)()
        self._catch_up()

    def _getaddrinfo(self, name: str, port: int, family: int, kind: int) -> Sequence[Found]:
        assert (port, family, kind) == (0, socket.AF_UNSPEC, socket.SOCK_STREAM)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def _start(self, work: Callable[[], None]) -> None:
        if not self.threads:
            raise RuntimeError("can't start new thread")
        assert isinstance(work, partial)
        name: str = work.args[0].name
        assert name not in self.waiting, "two look-ups of one name"
        self.waiting[name] = work
        self.asked.append(name)
        self.most = max(self.most, len(self.waiting))

    def _from_thread(self, call: Callable[..., object], *arguments: object) -> None:
        self._later.append(partial(call, *arguments))

    def _catch_up(self) -> None:
        while self._later:
            self._later.pop(0)()
