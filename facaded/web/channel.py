"""Connections of HTTP/1.1 clients: they refuse what is malformed, too large or too slow before a resource sees it.

`HTTPChannel` parses. `StrictChannel`, `AdmittedChannel` and `Channel` add what it lacks: exactly one Host header and no
folded ones, an answer to a TLS hello on a plain port; limits per source; a timeout for a request's head, a size limit
and a timeout for its body. `DirectlyAnsweredChannel` goes past it where that is possible.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from zope.interface import implementer

from facaded.policy.limits import Limit
from facaded.web.deadline import Deadline
from facaded.web.directly_answered_channel import DirectlyAnsweredChannel

BODY_SIZE = 64 << 10
"""Bytes of a request's body that are read and discarded: no request that facaded answers has a body."""

BODY_TIME = 2.0
"""Seconds that a body may take until its connection is closed."""


class Channel(DirectlyAnsweredChannel):
    """One connection, with a timeout for each request's head, and a size limit and a timeout for its body."""

    _draining = False
    _discarding = False
    _discarded = 0
    _has_discarded = False
    _request_line = b""
    limit_in_time = Limit.HEAD_TIME

    def connectionMade(self) -> None:
        self.deadline = Deadline(self.site.reactor, self._time_out)
        DirectlyAnsweredChannel.connectionMade(self)
        self.site.channels.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.deadline.end()
        DirectlyAnsweredChannel.connectionLost(self, reason)
        self.site.remove(self)

    def parse(self, data: bytes) -> None:
        if data and not self.closed and not self.deadline.is_set and not self.requests:
            self._limit_head()
        DirectlyAnsweredChannel.parse(self, data)

    def lineReceived(self, line: bytes) -> None:
        requests_before = len(self.requests)
        DirectlyAnsweredChannel.lineReceived(self, line)
        if len(self.requests) > requests_before:
            self._request_line = line
            if not self.deadline.is_set:
                self._limit_head()

    def allHeadersReceived(self) -> None:
        DirectlyAnsweredChannel.allHeadersReceived(self)
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
        DirectlyAnsweredChannel.close(self)

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
