"""A body that is written in slices, as the client reads it."""

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.web.http import Request
from zope.interface import implementer

from facaded.web.channel import Channel
from facaded.web.deadline import Deadline

SLICE_SIZE = 32 << 10
"""Bytes that are copied from the body at a time: more than the transport's buffer, so that each slice waits until the
client has read the one before."""


@implementer(IPushProducer)
class SlicedBody:
    """Writes `body` as the answer to a request on `channel`, and finishes it. The head has been prepared.

    The next slice is written in the next turn of the reactor, unless the transport has paused the body meanwhile.
    """

    def __init__(self, request: Request, channel: Channel, body: bytes, clock: IReactorTime) -> None:
        self._request = request
        self._channel = channel
        self._body = body
        self._next = Deadline(clock, self._write_slice)
        self._position = 0
        self._paused = False
        self._ended = False

    def start(self) -> None:
        """Write the first slice. Call it once."""
        self._request.notifyFinish().addBoth(lambda _: self.stopProducing())
        self._request.registerProducer(self, True)
        self._write_slice()

    def pauseProducing(self) -> None:
        """Wait, because the transport's buffer is full; part of IPushProducer."""
        self._paused = True
        self._next.clear()

    def resumeProducing(self) -> None:
        """Continue, because the client has read what was in the buffer; part of IPushProducer."""
        self._paused = False
        if not self._ended:
            self._next.set(0)

    def stopProducing(self) -> None:
        """Write no more, because all is written or the connection has ended; part of IPushProducer."""
        self._ended = True
        self._body = b""
        self._next.clear()

    def _write_slice(self) -> None:
        if self._channel.closed:  # what is written now would only be buffered
            self.stopProducing()
            return
        end = self._position + SLICE_SIZE
        self._request.write(self._body[self._position : end])
        self._position = end
        if self._ended:
            return
        if end >= len(self._body):
            self._request.unregisterProducer()
            self._request.finish()
        elif not self._paused:
            self._next.set(0)
