"""Connections whose simple requests are answered directly, as long as that keeps the order of answers."""

from collections.abc import Callable

from twisted.protocols.policies import TimeoutMixin
from twisted.web.http import Request

from facaded.net.direct_writer import DirectWriter
from facaded.web.admission import ORDINARY_UNITS
from facaded.web.admitted_channel import REFUSAL_PAUSE, AdmittedChannel
from facaded.web.begun_answers import BegunAnswer
from facaded.web.client_address import host_of
from facaded.web.request_head import Origin


class DirectlyAnsweredChannel(AdmittedChannel):
    """Answers simple requests directly; see `direct_answers`. All others take the ordinary path, through `HTTPChannel`.

    Once anything has been left to that, it keeps what it has not parsed yet. So from then on all requests take the
    ordinary path, unless it was one whole request, and nothing came while that was being answered.

    The address changes at the first bytes if a proxy sends another one in the PROXY protocol.
    """

    is_secure = False
    passed_on = False
    _is_attributed = False
    _origin: Origin | None = None
    _may_answer_directly = True
    _is_one_request = False
    _waiting = b""
    _begun: BegunAnswer | None = None
    _write_directly: Callable[[bytes], None] | None = None
    _writer: DirectWriter | None = None

    def attribute(self) -> None:
        """Count the connection for the address that its transport has now, if that has changed."""
        if not self._is_attributed:
            self._is_attributed = True
            assert self.transport is not None
            if (address := host_of(self.transport.getPeer())) != self.address:
                self.address = address
                self.site.admission.move(self, address)

    @property
    def origin(self) -> Origin:
        """Where requests come from, unless a trusted proxy says something else."""
        if self._origin is None or self._origin.address != self.address:
            self._origin = Origin(self.address, self.is_secure)
        return self._origin

    def dataReceived(self, data: bytes) -> None:
        if not self._is_attributed:
            self.attribute()
        if self._waiting:
            data, self._waiting = self._waiting + data, b""
        AdmittedChannel.dataReceived(self, data)

    def receive(self, data: bytes, is_free: bool) -> None:
        if self._may_answer_directly and self.pause.is_set and not self.closed:
            self._waiting = data  # what is read now would have to be left to Twisted's parser
            return
        direct = self.site.direct if is_free and self._may_answer_directly else None
        if direct is None or self.is_unread or self.site.is_stopping or not direct.answer(self, data):
            self._leave_to_twisted(data, is_free)

    def answer_directly(self, answer: bytes, closes: bool) -> None:
        """Write a whole answer, and close the connection after it if it `closes`."""
        if closes:
            assert self.transport is not None
            self._stop_writing_directly()
            self.transport.write(answer)  # which sends it when it closes
            self.close()
            return
        if self._write_directly is None:
            self._write_directly = self.direct_write()
        self._write_directly(answer)
        self._has_received = True  # no TLS hello follows
        TimeoutMixin.resetTimeout(self)
        self.site.admission.make_idle(self)

    def refuse_directly(self, answer: bytes, closes: bool, address: str) -> None:
        """Do the same with the refusal of a request too many of a client at `address`, and read nothing for a while."""
        self.answer_directly(answer, closes)
        if not closes and address == self.address:
            self.pause_for(REFUSAL_PAUSE)

    def pass_on(self, data: bytes, begun: BegunAnswer | None) -> None:
        """Let the ordinary path answer a request that has been admitted, with what has begun of its answer."""
        self._begun, self.passed_on, self._is_one_request = begun, True, True
        try:
            self._leave_to_twisted(data, is_free=True)
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
        self._writer = DirectWriter(self.transport)
        return self._writer.write

    def close(self) -> None:
        self._stop_writing_directly()
        AdmittedChannel.close(self)

    def abort(self) -> None:
        self._stop_writing_directly()
        AdmittedChannel.abort(self)

    def requestDone(self, request: Request) -> None:
        self._may_answer_directly = self._is_one_request
        AdmittedChannel.requestDone(self, request)

    def _leave_to_twisted(self, data: bytes, is_free: bool) -> None:
        assert self.transport is not None
        if is_free and data:
            self.site.admission.turn_delay(self.address, ORDINARY_UNITS - 1)  # one unit has been counted
        self._stop_writing_directly()
        if data:
            self._may_answer_directly = False
            self._is_one_request = self._is_one_request and self.passed_on
        AdmittedChannel.receive(self, data, is_free=False)

    def _stop_writing_directly(self) -> None:
        """Send what waits to be sent: nothing else that is written may overtake it, nor be overtaken later."""
        if self._writer is not None:
            self._writer.stop()
            self._writer = None
        if self.transport is not None:
            self._write_directly = self.transport.write
