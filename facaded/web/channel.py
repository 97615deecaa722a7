"""Connections of HTTP/1.1 clients: they refuse what is malformed, too large or too slow before a resource sees it.

`HTTPChannel` parses. `StrictChannel`, `AdmittedChannel` and `Channel` add what it lacks: exactly one Host header and no
folded ones, an answer to a TLS hello on a plain port; limits per source; a timeout for a request's head, a size limit
and a timeout for its body.
"""

import re
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IHandshakeListener, IPushProducer, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request
from zope.interface import implementer

from facaded.net.direct_writer import DirectWriter
from facaded.policy.limits import Limit
from facaded.policy.sources import NO_ADDRESS
from facaded.web.admission import Admission
from facaded.web.begun_answers import BegunAnswer
from facaded.web.client_address import host_of
from facaded.web.deadline import Deadline
from facaded.web.slow_readers import StallTimer, limit_buffers
from facaded.web.unsent_bytes import UnsentBytes

BODY_SIZE = 64 << 10
"""Bytes of a request's body that are read and discarded: no request that facaded answers has a body."""

BODY_TIME = 2.0
"""Seconds that a body may take until its connection is closed."""

PIPELINED = 4
"""Requests of one connection that are answered in one turn of the reactor; some 2,000 fit into one read."""

REFUSAL_PAUSE = 1.0
"""Seconds for which a connection is not read after a request too many, so that a flood costs next to nothing."""

PARAMETERS = 200
"""Parameters in the query of a request-target. The registry refuses fewer with a sentence; see `requests.is_query`."""

BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

_LENGTHS = {b"content-length": re.compile(rb"\d{1,18}"), b"transfer-encoding": re.compile(rb"chunked")}
_TLS_HANDSHAKE = b"\x16"
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
"""A valid Host header (RFC 9110 §7.2), which may be empty."""


class DirectAnswering(Protocol):
    """Answers simple requests without the Site and the Resource."""

    def answer(self, channel: Any, data: bytes) -> bool:
        """Answer the request that `data` consists of; return False if that is nothing simple."""


class ChannelSite(Protocol):
    """What a channel needs of its site: the clock, the limits (`unsent` may be None), and the set of open channels.

    `direct` is None if all requests take the ordinary path.
    """

    reactor: IReactorTime
    admission: Admission
    channels: set[Any]
    unsent: UnsentBytes | None
    is_stopping: bool
    direct: "DirectAnswering | None"

    def remove(self, channel: Any) -> None:
        """Remove a connection that has ended."""


class StrictChannel(HTTPChannel):
    """Refuses what is not HTTP by RFC 9112 with a bare 400, and closes the connection."""

    site: ChannelSite
    closed = False
    expects_continue = False
    _has_received = False

    def connectionMade(self) -> None:
        HTTPChannel.connectionMade(self)
        self.abort_deadline = Deadline(self.site.reactor, self.abort)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.abort_deadline.clear()
        HTTPChannel.connectionLost(self, reason)

    def dataReceived(self, data: bytes) -> None:
        """Refuse a TLS hello at once.

        Docker tries plain HTTP on a loopback address only if the answer to its hello begins with `HTTP/`.
        """
        if not self._has_received and data.startswith(_TLS_HANDSHAKE):
            self.refuse()
        if not self.closed:
            self._has_received = True
            HTTPChannel.dataReceived(self, data)

    def lineLengthExceeded(self, line: bytes) -> None:
        self.refuse()

    def lineReceived(self, line: bytes) -> None:
        """Refuse a folded header (RFC 9112 §5.2): a proxy may read it differently."""
        if line.startswith((b" ", b"\t")):
            self.refuse()
        else:
            HTTPChannel.lineReceived(self, line)

    def headerReceived(self, line: bytes) -> bool:
        """Refuse control characters and invalid lengths. Drop Expect: Twisted would answer it with 100 Continue."""
        name, _, value = line.lower().partition(b":")
        length = _LENGTHS.get(name)
        if _CONTROL.search(line) or (length and not length.fullmatch(value.strip(b" \t"))):
            self.refuse()
            return False
        if name == b"expect":
            self.expects_continue = True
            return True
        return bool(HTTPChannel.headerReceived(self, line))

    def allHeadersReceived(self) -> None:
        hosts = self.requests[-1].requestHeaders.getRawHeaders(b"Host", [])
        if len(hosts) != 1 or not HOST.fullmatch(hosts[0]):
            self.refuse()
        HTTPChannel.allHeadersReceived(self)

    def refuse(self) -> None:
        """Write a bare 400, because there is no request to answer, and close."""
        if not self.closed:
            assert self.transport is not None
            self.transport.write(BAD_REQUEST)
            self.close()

    def close(self) -> None:
        """Close the connection. After the first call, nothing that arrives is answered.

        Unsent data is dropped after `abortTimeout`, so a client that does not read cannot keep the connection open.
        """
        if not self.closed:
            self.closed = True
            self.abort_deadline.set(self.abortTimeout)
            HTTPChannel.loseConnection(self)

    def abort(self) -> None:
        """Close the connection without sending what is in flight. Nothing that has arrived is answered."""
        self.closed = True
        ITCPTransport(self.transport).abortConnection()

    def timeoutConnection(self) -> None:
        """Close an idle connection. Twisted would log each, which may be thousands per hour."""
        self.close()


class AdmittedChannel(StrictChannel):
    """Counts as a connection of its source, and limits the requests of that.

    `address` is that of the peer; it changes at the first bytes if a proxy sends another one in the PROXY protocol.
    """

    address = NO_ADDRESS
    _is_attributed = False
    _is_answering = False
    _is_parsing = False
    _is_unread = False
    _requests_in_turn = 0
    _may_answer_directly = True
    _is_one_request = False
    passed_on = False
    is_secure = False
    _begun: BegunAnswer | None = None
    _write_directly: Callable[[bytes], None] | None = None

    def connectionMade(self) -> None:
        StrictChannel.connectionMade(self)
        self.pause = Deadline(self.site.reactor, self._end_pause)
        assert self.transport is not None
        limit_buffers(self.transport)
        self._stall_timer = StallTimer(self.transport, self.site.reactor, self.site.unsent, self._drop_stalled)
        self.site.admission.join(self, self.address)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.pause.clear()
        self._stall_timer.stop()
        self.site.admission.leave(self)
        StrictChannel.connectionLost(self, reason)

    def attribute(self) -> None:
        """Count the connection for the address that its transport has now, if that has changed."""
        if not self._is_attributed:
            self._is_attributed = True
            assert self.transport is not None
            if (address := host_of(self.transport.getPeer())) != self.address:
                self.address = address
                self.site.admission.move(self, address)

    def dataReceived(self, data: bytes) -> None:
        """Answer requests. Twisted also passes on here what it kept while a request was being answered."""
        if self._is_parsing:
            self.parse(data)
            return
        is_free = not (self._is_answering or self.closed or self.pause.is_set)
        if is_free and (delay := self.site.admission.turn_delay(self.address)) is not None:
            self._pause_for(delay)
            is_free = False
        self._requests_in_turn = 0
        direct = self.site.direct if is_free and self._may_answer_directly else None
        if direct is None or self._is_unread or self.site.is_stopping or not direct.answer(self, data):
            self._parse_requests(data)

    def parse(self, data: bytes) -> None:
        """Parse what has arrived, on the ordinary path."""
        StrictChannel.dataReceived(self, data)

    def answer_directly(self, answer: bytes, closes: bool) -> None:
        """Write a whole answer, and close the connection after it if it `closes`."""
        if self._write_directly is None:
            self._write_directly = self.direct_write()
        self._write_directly(answer)
        TimeoutMixin.resetTimeout(self)
        self.site.admission.make_recent(self)
        if closes:
            self.close()

    def refuse_directly(self, answer: bytes, closes: bool, address: str) -> None:
        """Do the same with the refusal of a request too many of a client at `address`, and read nothing for a while."""
        self.answer_directly(answer, closes)
        if not closes and address == self.address:
            self._pause_for(REFUSAL_PAUSE)

    def pass_on(self, data: bytes, begun: BegunAnswer | None) -> None:
        """Let the ordinary path answer a request that has been admitted, with what has begun of its answer."""
        self._begun, self.passed_on, self._is_one_request = begun, True, True
        try:
            self._parse_requests(data)
        finally:
            self.passed_on = False
            if (unused := self.take_begun()) is not None and unused.work is not None:
                unused.work.cancel()

    def take_begun(self) -> BegunAnswer | None:
        """Return what has begun of the answer to the request that was passed on, once."""
        begun, self._begun = self._begun, None
        return begun

    def direct_write(self) -> Callable[[bytes], None]:
        """Return what writes direct answers, as long as nothing else writes."""
        assert self.transport is not None
        return DirectWriter(self.transport).write

    def _parse_requests(self, data: bytes) -> None:
        """Let the ordinary path answer. Direct answers go on when one request was passed on, and nothing came since."""
        assert self.transport is not None
        self._write_directly = self.transport.write  # nothing may overtake what the ordinary path writes
        if data:
            self._may_answer_directly = False
            self._is_one_request = self._is_one_request and self.passed_on
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
        self._may_answer_directly = self._is_one_request
        self.paused = self._is_unread or self.pause.is_set
        self.site.admission.make_idle(self)
        self._requests_in_turn += 1
        if self._requests_in_turn >= PIPELINED and self.persistent and not self.pause.is_set:
            self._pause_for(0.0)
        HTTPChannel.requestDone(self, request)

    def refuse_request(self, request: Request, answer: bytes, address: str) -> None:
        """Answer a request too many of a client at `address` with these bytes, and read nothing more for a while.

        The connection of a proxy goes on, because it carries requests of other clients too.
        """
        assert self.transport is not None
        self.transport.write(answer)
        if self.persistent and address == self.address:
            self._pause_for(REFUSAL_PAUSE)
        self.requestDone(request)

    def close(self) -> None:
        self._stall_timer.stop()
        if not self.closed and (self.pause.is_set or self._is_unread):
            self.pause.clear()
            IPushProducer(self.transport).resumeProducing()  # TLS reads the peer's farewell
        self.site.admission.make_idle(self)
        StrictChannel.close(self)

    def pauseProducing(self) -> None:
        """Stop reading and parsing requests while the client does not read its answers, and drop it if that lasts.

        By itself, Twisted would continue to read, and to answer pipelined requests that it has already read.
        """
        if not self._is_unread:
            self._stall_timer.start()
        self._is_unread = True
        self._stop_parsing()

    def resumeProducing(self) -> None:
        """Continue with the requests that are already here, and read more."""
        self._is_unread = False
        self._stall_timer.stop()
        if not self.pause.is_set:
            self._continue()

    def _drop_stalled(self) -> None:
        if self.site.unsent is not None:
            self.site.unsent.note_stall(self.address)
        self.abort()

    def _pause_for(self, seconds: float) -> None:
        self.pause.set(seconds)
        self._stop_parsing()

    def _end_pause(self) -> None:
        if not self._is_unread:
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


class Channel(AdmittedChannel):
    """One connection, with a timeout for each request's head, and a size limit and a timeout for its body."""

    _draining = False
    _discarding = False
    _discarded = 0
    _has_discarded = False
    _request_line = b""
    limit_in_time = Limit.HEAD_TIME

    def connectionMade(self) -> None:
        self.deadline = Deadline(self.site.reactor, self._time_out)
        AdmittedChannel.connectionMade(self)
        self.site.channels.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.deadline.clear()
        AdmittedChannel.connectionLost(self, reason)
        self.site.remove(self)

    def dataReceived(self, data: bytes) -> None:
        self.attribute()
        AdmittedChannel.dataReceived(self, data)

    def parse(self, data: bytes) -> None:
        if data and not self.closed and not self.deadline.is_set and not self.requests:
            self._limit_head()
        AdmittedChannel.parse(self, data)

    def lineReceived(self, line: bytes) -> None:
        requests_before = len(self.requests)
        AdmittedChannel.lineReceived(self, line)
        if len(self.requests) > requests_before:
            self._request_line = line
            if not self.deadline.is_set:
                self._limit_head()

    def allHeadersReceived(self) -> None:
        AdmittedChannel.allHeadersReceived(self)
        self.deadline.clear()
        if self._draining:
            self._make_last()
        if self.closed or self.length == 0:
            return
        self.deadline.set(BODY_TIME)
        if self.length is None or self.length > BODY_SIZE or self.expects_continue:
            self._answer_early()

    def allContentReceived(self) -> None:
        self.deadline.clear()
        self.expects_continue = False
        if not self.closed:
            HTTPChannel.allContentReceived(self)

    def rawDataReceived(self, data: bytes) -> None:
        if not self._discarding:
            HTTPChannel.rawDataReceived(self, data)
            return
        self._discarded += len(data)
        if self._discarded > BODY_SIZE:
            self._end_discarding()

    def loseConnection(self) -> None:
        """Close when the answer has been written, but not while a body is being discarded.

        A client that is still sending its body may read the answer only after that.
        """
        if not self._discarding or self._has_discarded:
            self.close()

    def close(self) -> None:
        self.deadline.clear()
        AdmittedChannel.close(self)

    def close_when_idle(self) -> None:
        """Close now if no request is in progress, else after its answer."""
        self._draining = True
        self.persistent = False
        if not self.requests:
            self.close()

    def _limit_head(self) -> None:
        self.deadline.set(self.site.admission.limits.head_time)

    def _answer_early(self) -> None:
        """Answer before the body has arrived, discard the body within its limits, and close."""
        self._discarding = True
        self._make_last()
        self.requests[-1].requestReceived(*self._request_line.split(b" "))

    def _end_discarding(self) -> None:
        """Close, now or when the answer has been written, whatever arrives of the body."""
        self._has_discarded = True
        if not self.requests:
            self.close()

    def _make_last(self) -> None:
        """Make the current request the last one of this connection."""
        self.persistent = False
        self.requests[-1].responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def _time_out(self) -> None:
        is_head = not self.requests or self.requests[-1].content is None
        if is_head and not self._discarding:
            self.site.admission.note(self.limit_in_time, self.address)
        elif not self._discarding:
            self._answer_early()
        if self._discarding:
            self._end_discarding()
        else:
            self.close()


@implementer(IHandshakeListener)
class SecureChannel(Channel):
    """One connection over TLS, with a timeout for its handshake too."""

    is_handshaking = True
    is_secure = True
    limit_in_time = Limit.HANDSHAKE_TIME

    def connectionMade(self) -> None:
        Channel.connectionMade(self)
        self.deadline.set(self.site.admission.limits.handshake_time)

    def handshakeCompleted(self) -> None:
        """End the handshake's timeout; part of IHandshakeListener."""
        self.is_handshaking, self.limit_in_time = False, Limit.HEAD_TIME
        self.deadline.clear()

    def direct_write(self) -> Callable[[bytes], None]:
        """Return the transport's: TLS encrypts what is written, and sends that itself."""
        assert self.transport is not None
        return self.transport.write
