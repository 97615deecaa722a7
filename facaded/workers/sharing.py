"""What the first process shares with the workers: settings, the state of the backends, certificates and challenges."""

from collections.abc import Callable, Mapping

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime

from facaded.backends.watch import Watch
from facaded.config.loading import SettingsText
from facaded.policy.evidence import Attempt
from facaded.policy.snapshot import RoutingView
from facaded.tls.server_certificate import ServerCertificate
from facaded.workers.codec import MalformedError, SentCertificate, SentView, from_message, to_message
from facaded.workers.process_channel import Message, Tell
from facaded.workers.shared_proofs import SharedProofs

Receive = Callable[[int, Message], None]
"""Takes a message of the worker with this number. Raises MalformedError."""


@frozen
class Topic:
    """A kind of message: what a new worker is told in it, and what is done with what a worker says."""

    greet: Callable[[Tell], None] = field(default=lambda tell: None)
    receive: Receive = field(default=lambda number, message: None)
    lose: Callable[[int], None] = field(default=lambda number: None)


class Sharing:
    """Tells the workers what changes, and takes what they find; it is the Greeter of their pool.

    `broadcast` reaches all workers. `topics` are by the kinds of their messages.
    """

    def __init__(self, clock: IReactorTime, watch: Watch, broadcast: Tell, settings: SettingsText) -> None:
        self.topics: dict[str, Topic] = {}
        self._watch = watch
        self._broadcast = broadcast
        self._settings = settings
        self._generation = 1
        self._certificates: tuple[SentCertificate, ...] = ()
        self._proofs = SharedProofs(clock, watch, broadcast)
        watch.subscribe(lambda change: self._send_view(change.view))
        watch.when_settled().addCallback(lambda _: self._send_view(watch.snapshot().view))

    def greet(self, send: Tell) -> None:
        """Tell a worker everything."""
        send("certificates", self._describe_certificates())
        send("settings", self._describe_settings())
        self._proofs.send_all(send)
        for topic in self.topics.values():
            topic.greet(send)

    def receive(self, number: int, kind: str, message: Message, reply: Tell) -> None:
        """Take a message of a worker. Raises MalformedError."""
        match kind:
            case "attempt":
                url = message.get("url")
                attempt = from_message(message.get("attempt"), Attempt)
                self._watch.report(attempt, None if url is None else str(url))
            case "hint":
                self._watch.probe_soon(str(message.get("backend")))
            case "check":
                name = str(message.get("backend"))
                checking = self._watch.checks.demand(name)
                checking.addCallback(lambda _: self._end_check(name, reply))
            case _ if kind in self.topics:
                self.topics[kind].receive(number, message)
            case _:
                raise MalformedError("unknown kind")

    def lose(self, number: int) -> None:
        """Forget what only a worker knew that has ended."""
        for topic in self.topics.values():
            topic.lose(number)

    def begin_reload(self) -> None:
        """Send no state from now on that belongs to new settings, until these are sent."""
        self._proofs.is_paused = True

    def end_reload(self, settings: SettingsText) -> None:
        """Send new settings, which are in force here."""
        self._settings, self._proofs.is_paused = settings, False
        self._generation += 1
        self._proofs.follow()
        self._broadcast("settings", self._describe_settings())
        self._proofs.send_all(self._broadcast)

    def send_certificates(self, obtained: Mapping[tuple[str, ...], ServerCertificate]) -> None:
        """Send the certificates that ACME obtained, by their names."""
        sent = tuple(SentCertificate.of(names, certificate) for names, certificate in obtained.items())
        if sent != self._certificates:
            self._certificates = sent
            self._broadcast("certificates", self._describe_certificates())

    def send_changed_files(self) -> None:
        """Say that files of certificates have changed."""
        self._broadcast("files", {})

    def _end_check(self, name: str, reply: Tell) -> None:
        """Say that a check has ended, after the proofs that it has found."""
        self._proofs.send_changed()
        reply("checked", {"backend": name})

    def _send_view(self, view: RoutingView) -> None:
        if not self._proofs.is_paused:
            sent = to_message(SentView.of(view, self._watch.settled))
            self._broadcast("view", {"generation": self._generation, "view": sent})

    def _describe_settings(self) -> Message:
        view = to_message(SentView.of(self._watch.snapshot().view, self._watch.settled))
        return {"generation": self._generation, "settings": to_message(self._settings), "view": view}

    def _describe_certificates(self) -> Message:
        return {"certificates": to_message(self._certificates)}
