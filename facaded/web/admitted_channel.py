"""Connections that count for their source, and limit what it may send."""

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request

from facaded.policy.sources import NO_ADDRESS
from facaded.web.deadline import Deadline
from facaded.web.slow_readers import StallTimer, limit_buffers
from facaded.web.strict_channel import StrictChannel

PIPELINED = 4
"""Requests of one connection that are answered in one turn of the reactor; some 2,000 fit into one read."""

REFUSAL_PAUSE = 1.0
"""Seconds for which a connection is not read after a request too many, so that a flood costs next to nothing."""


class AdmittedChannel(StrictChannel):
    """Counts as a connection of its source, and limits the requests of that.

    `address` is that of the peer.
    """

    address = NO_ADDRESS
    is_unread = False
    _is_answering = False
    _is_parsing = False
    _requests_in_turn = 0

    def connectionMade(self) -> None:
        StrictChannel.connectionMade(self)
        self.pause = Deadline(self.site.reactor, self._end_pause)
        assert self.transport is not None
        limit_buffers(self.transport)
        self._stall_timer = StallTimer(self.transport, self.site.reactor, self.site.unsent, self._drop_stalled)
        self.site.admission.join(self, self.address)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.pause.end()
        self._stall_timer.end()
        self.site.admission.leave(self)
        StrictChannel.connectionLost(self, reason)

    def dataReceived(self, data: bytes) -> None:
        """Receive requests. Twisted also passes on here what it kept while a request was being answered."""
        if self._is_parsing:
            self.parse(data)
            return
        is_free = not (self._is_answering or self.closed or self.pause.is_set)
        if is_free and (delay := self.site.admission.turn_delay(self.address)) is not None:
            self.pause_for(delay)
            is_free = False
        self._requests_in_turn = 0
        self.receive(data, is_free)

    def receive(self, data: bytes, is_free: bool) -> None:
        """Parse requests. If the connection `is_free`, nothing of it is being answered, nor waits for its turn."""
        self._is_parsing = True
        try:
            self.parse(data)
        finally:
            self._is_parsing = False

    def begin_answer(self) -> None:
        """Do not close this connection to make room: a request, whose body may have to arrive first, is complete."""
        self._is_answering = True
        self.site.admission.make_busy(self)

    def requestDone(self, request: Request) -> None:
        """Continue with the next request; after some of them, let the reactor serve other connections first."""
        self._is_answering = False
        self.paused = self.is_unread or self.pause.is_set
        self.site.admission.make_idle(self)
        self._requests_in_turn += 1
        if self._requests_in_turn >= PIPELINED and self.persistent and not self.pause.is_set:
            self.pause_for(0.0)
        HTTPChannel.requestDone(self, request)

    def refuse_request(self, request: Request, answer: bytes, address: str) -> None:
        """Answer a request too many of a client at `address` with these bytes, and read nothing more for a while.

        The connection of a proxy goes on, because it carries requests of other clients too.
        """
        assert self.transport is not None
        self.transport.write(answer)
        if self.persistent and address == self.address:
            self.pause_for(REFUSAL_PAUSE)
        self.requestDone(request)

    def close(self) -> None:
        self._stall_timer.stop()
        if not self.closed and (self.pause.is_set or self.is_unread):
            self.pause.clear()
            IPushProducer(self.transport).resumeProducing()  # TLS reads the peer's farewell
        if self._is_answering:
            self.site.admission.make_idle(self)
        StrictChannel.close(self)

    def pauseProducing(self) -> None:
        """Stop reading and parsing requests while the client does not read its answers, and drop it if that lasts.

        By itself, Twisted would continue to read, and to answer pipelined requests that it has already read.
        """
        if not self.is_unread:
            self._stall_timer.start()
        self.is_unread = True
        self._stop_parsing()

    def resumeProducing(self) -> None:
        """Continue with the requests that are already here, and read more."""
        self.is_unread = False
        self._stall_timer.stop()
        if not self.pause.is_set:
            self._continue()

    def _drop_stalled(self) -> None:
        if self.site.unsent is not None:
            self.site.unsent.note_stall(self.address)
        self.abort()

    def pause_for(self, seconds: float) -> None:
        """Answer and read nothing more for a while; with 0.0 until the reactor's next turn."""
        self.pause.set(seconds)
        self._stop_parsing()

    def _end_pause(self) -> None:
        if not self.is_unread:
            self._continue()

    def _stop_parsing(self) -> None:
        """Read nothing more. What arrives while a request is being answered is kept by HTTPChannel, in order."""
        HTTPChannel.pauseProducing(self)
        self.paused = not self._is_answering
        IPushProducer(self.transport).pauseProducing()

    def _continue(self) -> None:
        self.paused = False
        HTTPChannel.resumeProducing(self)
        self.dataReceived(b"")
