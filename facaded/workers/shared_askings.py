"""Tells the other processes what clients asked this one for: their next request may come to any of them."""

from collections.abc import Callable
from itertools import islice

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from facaded.oci.clients import identify
from facaded.oci.requests import Blob, ManifestRead, Ping, Read
from facaded.policy.asked_again import MANIFEST_TIME, REPEAT_TIME, AskedAgain, Asking
from facaded.policy.pull_traces import Return, TraceKey
from facaded.workers.codec import from_message, to_message
from facaded.workers.process_channel import Message

KIND = "askings"
"""The kind of the message."""

MOST_ANSWERS, MOST_RETURNS = 500, 100
"""Most answers and returns sent in a second: an answer takes 10 µs here, and 14 µs in each other process."""

QUIET_TIME = 10.0
"""Seconds in which no answers are sent after there were too many: that would cost a busy process 6 % of its time."""

MOST_CLIENTS = 4000
"""Most clients within MANIFEST_TIME whose answers are sent to the other processes."""

MOST_SERVED = 1000
"""Most clients in the message to a new process, which says who is served."""


@frozen
class AskingRow:
    """An answered request; `client` is the source and the beginning of the User-Agent. See `Asking`.

    Without a repository it is a ping; `at` is in monotonic seconds, which all processes of a machine share.
    """

    client: tuple[str, str]
    method: str
    repository: str
    reference: str
    is_blob: bool
    first_byte: int | None
    backend: str
    redirected: bool
    at: float

    @classmethod
    def of(cls, asking: Asking, backend: str, redirected: bool, at: float) -> "AskingRow | None":
        """Describe an answered request; None if nothing follows from it."""
        source, agent, _ = asking.key
        match asking.target:
            case Ping():
                name, reference, is_blob = "", "", False
            case ManifestRead(name, reference):
                is_blob = False
            case Blob(name, reference):
                is_blob = True
            case _:
                return None
        first_byte = asking.first_byte
        return cls((source, agent), asking.method, name, reference, is_blob, first_byte, backend, redirected, at)

    @property
    def asking(self) -> Asking:
        """The request, by which this process knows it too."""
        target: Ping | Read = Ping()
        if self.repository:
            target = (Blob if self.is_blob else ManifestRead)(self.repository, self.reference)
        source, agent = self.client
        return Asking.of(source, agent, identify(agent), self.method, target, self.first_byte)


@frozen
class SharedReturn:
    """A client that asked again: see `Return`."""

    client: tuple[str, str]
    repository: str
    subject: str
    since: float
    until: float
    times: int

    @classmethod
    def of(cls, key: TraceKey, returned: Return) -> "SharedReturn":
        """Describe it; `key` is that of its trace."""
        return cls(key[:2], key[2], returned.subject, returned.since, returned.until, returned.times)

    @property
    def returned(self) -> Return:
        """The same for this process."""
        source, agent = self.client
        client = identify(agent)
        return Return(source, client, self.subject, self.since, self.until, self.times, self.repository)


@frozen
class AskingsBody:
    """What a process has noted since its last message.

    Of the clients of `forgotten`, an answer is missing, so that earlier ones mean nothing. With `forgets_all`, those of
    any client may be missing before this message.
    """

    answers: tuple[AskingRow, ...] = ()
    returns: tuple[SharedReturn, ...] = ()
    forgotten: tuple[tuple[str, str], ...] = ()
    forgets_all: bool = False


class SharedAskings:
    """Tells other processes what `table` notes, with `send`, and lets it learn what they have noted.

    `send` returns False if the others cannot be reached. An answer that is missing could make a pull that worked look
    as if it had failed. So all answers to a client are sent, or the other processes forget it. Nothing is sent after
    more than MOST_ANSWERS in a second, nor for more than MOST_CLIENTS: then a process recognises a client only by its
    own answers.
    """

    def __init__(self, clock: IReactorTime, table: AskedAgain, send: Callable[[Message], bool | None]) -> None:
        self._clock = clock
        self._table = table
        self._send = send
        self._answers: list[AskingRow] = []
        self._returns: list[SharedReturn] = []
        self._forgotten: list[tuple[str, str]] = []
        self._forgets_all = False
        self._clients: dict[tuple[str, str], float] = {}  # when an answer to each was last sent, the oldest first
        self._timer: IDelayedCall | None = None
        self._second, self._quiet_until, self._dropped_at = 0.0, 0.0, -REPEAT_TIME
        self._answers_left, self._returns_left = MOST_ANSWERS, MOST_RETURNS
        table.follower = self

    def stop(self) -> None:
        """Tell nothing more."""
        self._table.follower = None
        self._cancel_timer()

    def follow_answer(self, asking: Asking, backend: str, redirected: bool, now: float) -> None:
        """Tell others of an answer, if there are not too many."""
        if now < self._quiet_until:
            return
        if now >= self._second + 1:
            self._begin_second(now)
        if self._answers_left <= 0:
            self._be_quiet(now)
            return
        clients, client = self._clients, asking.key[:2]
        if client not in clients:
            if len(clients) >= MOST_CLIENTS:
                self._dropped_at = now
                return
            if isinstance(asking.target, Blob) and now - self._dropped_at <= REPEAT_TIME:
                return  # others may not know its manifest
        if (row := AskingRow.of(asking, backend, redirected, now)) is not None:
            self._answers_left -= 1
            clients.pop(client, None)
            clients[client] = now
            self._answers.append(row)
            self._send_soon()

    def follow_return(self, key: TraceKey, returned: Return) -> None:
        """Tell others at once of a client that asked again, if there are not too many: it goes on in milliseconds."""
        if returned.since >= self._second + 1:
            self._begin_second(returned.since)
        if self._returns_left > 0:
            self._returns_left -= 1
            self._returns.append(SharedReturn.of(key, returned))
            self._send_news()

    def known(self) -> Message:
        """Return a message of the clients that are served, for a process that has just started."""
        now = self._clock.seconds()
        served = (
            SharedReturn.of(key, trace.returned)
            for key, trace in self._table.traces.items()
            if trace.returned is not None and trace.is_served(now)
        )
        return {KIND: to_message(AskingsBody(returns=tuple(islice(served, MOST_SERVED))))}

    def receive(self, message: Message) -> None:
        """Learn what another process has noted. Raises MalformedError."""
        body = from_message(message.get(KIND), AskingsBody)
        now = self._clock.seconds()
        if body.forgets_all:
            self._table.traces.forget_requests(None)
        for row in body.answers:
            self._table.learn(row.asking, row.backend, row.redirected, min(row.at, now))
        for shared in body.returns:
            self._table.learn_return((*shared.client, shared.repository), shared.returned)
        for client in body.forgotten:
            self._table.traces.forget_requests(client)

    def _be_quiet(self, now: float) -> None:
        """Send no answers for QUIET_TIME, and let the other processes forget the clients whose answers were sent."""
        self._quiet_until = now + QUIET_TIME
        self._dropped_at = self._quiet_until
        self._forgotten.extend(self._clients)
        self._clients.clear()
        self._send_soon()

    def _begin_second(self, now: float) -> None:
        self._second, self._answers_left, self._returns_left = now, MOST_ANSWERS, MOST_RETURNS
        clients = self._clients
        while clients and next(iter(clients.values())) < now - MANIFEST_TIME:
            del clients[next(iter(clients))]

    def _send_soon(self) -> None:
        """Send what is there after this turn of the reactor."""
        if self._timer is None:
            self._timer = self._clock.callLater(0, self._send_news)

    def _send_news(self) -> None:
        self._cancel_timer()
        body = AskingsBody(tuple(self._answers), tuple(self._returns), tuple(self._forgotten), self._forgets_all)
        for sent in (self._answers, self._returns, self._forgotten):
            sent.clear()
        self._forgets_all = self._send({KIND: to_message(body)}) is False
        if self._forgets_all:
            self._clients.clear()

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
