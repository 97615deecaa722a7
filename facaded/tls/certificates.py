"""The certificates in service: one is chosen by the name that a client asks for, and they are replaced as they change.

Those from files are read again when the files change, those that were obtained are handed over, and while there is no
other a self-signed one answers. A handshake reads no file: it looks into a map, which is replaced whole.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from attrs import define, field, frozen
from OpenSSL import SSL
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from facaded.tls import contexts, selfsigned
from facaded.tls.acme.challenges import ACME_TLS
from facaded.tls.challenges import Challenges
from facaded.tls.contexts import Pair, UnusableError, check_time, parse
from facaded.tls.files import Files, Signature, read, sign

LOOK_INTERVAL = 1.0
"""Seconds between looks at the files: what is new is in service within two. For 200 pairs a look is 400 stat(2)."""

RETRY_INTERVAL = 60.0
"""Seconds after which files that could not be used are read again, unchanged: a certificate becomes valid with time."""

SOON = 7 * 86400.0
"""Seconds before its end from which a certificate is warned of; for one that lives shortly, a quarter of its life. All
that renew certificates have done it by then.
"""

HTTP = b"http/1.1"
"""The one protocol that is spoken over TLS."""

SELF_SIGNED = "self-signed"


@frozen
class Obtained:
    """A certificate that is handed over from memory.

    `names` are those that it was ordered for, `source` is how it was got, as a person reads it.
    """

    names: tuple[str, ...]
    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    source: str = "ACME"


@frozen(eq=False)
class Certificate:
    """One that can be spoken with."""

    pair: Pair
    context: SSL.Context
    source: str

    @property
    def what(self) -> str:
        """It in a log."""
        return f"{', '.join(self.pair.names) or 'no name'} ({self.pair.issuer}), from {self.source}"


@define(eq=False)
class _Watched:
    """A pair of files, what was last read of them, and what is in service of it.

    `suspected` is a problem that was seen once: of two files, one is written first.
    """

    files: Files
    signature: Signature | None = None
    certificate: Certificate | None = None
    problem: str | None = None
    suspected: str | None = None
    read_at: float = 0.0


_Read: TypeAlias = tuple[_Watched, Signature, Certificate | str]

InThread: TypeAlias = Callable[[Callable[[], list[_Read]]], Deferred[list[_Read]]]


@implementer(IOpenSSLServerConnectionCreator)
class Certificates(Service):
    """Makes the TLS connections of every listener, each with the certificate that its client asks for.

    `clock` times the looks at the files, `now` gives seconds since the epoch, `in_thread` calls a function where it
    may wait for a disk. `files` and `hosts` are as in `configure`.
    """

    _log = Logger()

    def __init__(
        self,
        challenges: Challenges,
        clock: IReactorTime,
        now: Callable[[], float],
        in_thread: InThread,
        files: Iterable[Files],
        hosts: tuple[str, ...],
    ) -> None:
        self._challenges = challenges
        self._clock = clock
        self._now = now
        self._in_thread = in_thread
        self._hosts: tuple[str, ...] | None = None
        self._watched: list[_Watched] = []
        self._obtained: dict[tuple[str, ...], Certificate] = {}
        self._refused: dict[tuple[str, ...], str] = {}
        self._expired: set[Certificate] = set()
        self._looking = LoopingCall(self.look)
        self._looking.clock = clock
        self.configure(files, hosts)

    def configure(self, files: Iterable[Files], hosts: tuple[str, ...]) -> None:
        """Go by these settings: read every pair that has changed now, in this thread.

        A pair that cannot be used keeps what is in service of it. `hosts` are the names of the self-signed one.
        """
        if hosts != self._hosts:
            self._hosts = hosts
            self._self_signed = self._certificate(selfsigned.make(hosts, self._now()), SELF_SIGNED)
        known = {each.files: each for each in self._watched}
        self._watched = [known.get(each) or _Watched(each) for each in dict.fromkeys(files)]
        unread = [each for each in self._watched if sign(each.files) != each.signature or each.problem]
        for found in self._read(unread):
            self._found(found, say=True)
        self._arrange()

    def replace_obtained(self, obtained: Iterable[Obtained]) -> tuple[str, ...]:
        """Have these in service instead of those handed over before.

        Gives a sentence for each that cannot be used; then what was in service for its order stays. Expired ones are
        taken: nothing better may be there.
        """
        problems, made = {}, {}
        for each in obtained:
            old = self._obtained.get(each.names)
            try:
                pair = parse(each.chain_pem, each.key_pem)
                if old is None or old.pair.fingerprint != pair.fingerprint:
                    old = self._certificate(pair, each.source)
                    self._log.info("certificate for {what}", what=old.what)
            except UnusableError as error:
                problems[each.names] = str(error)
            if old is not None:
                made[each.names] = old
        self._obtained, self._refused = made, problems
        self._arrange()
        return tuple(f"{', '.join(names)}: {problem}" for names, problem in problems.items())

    def startService(self) -> None:
        Service.startService(self)
        self._looking.start(LOOK_INTERVAL, now=False)

    def stopService(self) -> None:
        Service.stopService(self)
        if self._looking.running:
            self._looking.stop()

    def look(self) -> Deferred[None]:
        """Look at the files once, and read those that have changed."""
        watched = list(self._watched)
        looking = self._in_thread(lambda: self._read_changed(watched)).addCallback(self._looked, watched)
        return looking.addErrback(
            lambda failure: self._log.failure("a look at the certificates' files failed", failure)
        )

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol | None) -> SSL.Connection:
        """A connection that begins with the default certificate. Part of IOpenSSLServerConnectionCreator."""
        return SSL.Connection(self._default.context)

    def chosen(self, name: str | None) -> Certificate:
        """The certificate for a client that asks for `name`."""
        return self._choose(None if name is None else name.encode("ascii"))

    def document(self, orders: Mapping[tuple[str, ...], Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
        """What is in service, and what should be: as the status document has it.

        `orders` say more of what is obtained, by its names: `error`, and `next_renewal` in seconds since the epoch.
        """
        now = self._now()
        shown = [_shown(each.certificate, str(each.files.chain), each.problem, now) for each in self._watched]
        for names in dict.fromkeys([*self._obtained, *(orders or {})]):
            certificate = self._obtained.get(names)
            entry = _shown(certificate, certificate.source if certificate else "ACME", None, now)
            more = (orders or {}).get(names, {})
            error = more.get("error") or self._refused.get(names)
            shown.append({**entry, "names": list(names), **more, "error": error})
        if self._self_signed is self._default or self._self_signed in self._by_name.values():
            shown.append(_shown(self._self_signed, SELF_SIGNED, None, now))
        return shown

    # In a handshake

    def _switch(self, connection: SSL.Connection) -> None:
        """The client has said a name."""
        context = self._choose(connection.get_servername()).context
        if context is not connection.get_context():
            connection.set_context(context)

    def _select(self, connection: SSL.Connection, offered: list[bytes]) -> bytes:
        """The client has said its protocols (RFC 7301); without one in common the handshake fails."""
        if ACME_TLS in offered and self._challenges.present(connection):
            return ACME_TLS
        if HTTP in offered:
            return HTTP
        raise SSL.Error([("TLS", "ALPN", "no application protocol")])

    def _choose(self, name: bytes | None) -> Certificate:
        if not name:
            return self._default
        name = name.lower()
        found = self._by_name.get(name) or self._by_name.get(b"*." + name.partition(b".")[2])
        return found or self._default

    # What is in service

    def _arrange(self) -> None:
        """Make the map anew: what is valid first, then as the settings have it, and the self-signed one last."""
        now = self._now()
        from_files = [each.certificate for each in self._watched if each.certificate]
        found = sorted([*from_files, *self._obtained.values()], key=lambda each: each.pair.ends <= now)
        found.append(self._self_signed)
        by_name: dict[bytes, Certificate] = {}
        for certificate in found:
            names = certificate.pair.names
            for name in names:
                by_name.setdefault(name.encode("ascii", "replace"), certificate)
        self._by_name, self._default = by_name, found[0]

    def _certificate(self, pair: Pair, source: str) -> Certificate:
        return Certificate(pair, contexts.make(pair, self._select, self._switch), source)

    # Files

    def _read_changed(self, watched: list[_Watched]) -> list[_Read]:
        """Runs in a thread, and changes nothing."""
        due = self._clock.seconds() - RETRY_INTERVAL
        return self._read(
            each
            for each in watched
            if sign(each.files) != each.signature or ((each.problem or each.suspected) and each.read_at <= due)
        )

    def _read(self, watched: Iterable[_Watched]) -> list[_Read]:
        return [(each, sign(each.files), self._outcome(each)) for each in watched]

    def _outcome(self, watched: _Watched) -> Certificate | str:
        try:
            pair = read(watched.files)
            check_time(pair, self._now())
            if watched.certificate and watched.certificate.pair.fingerprint == pair.fingerprint:
                return watched.certificate
            return self._certificate(pair, str(watched.files.chain))
        except UnusableError as error:
            return str(error)

    def _looked(self, found: list[_Read], watched: list[_Watched]) -> None:
        changed = {each[0] for each in found}
        for each in watched:
            if each.suspected and each not in changed:
                self._say(each, each.suspected)
        for each_found in found:
            self._found(each_found, say=False)
        now = self._now()
        held = [*(each.certificate for each in watched if each.certificate), *self._obtained.values()]
        expired = {each for each in held if each.pair.ends <= now}
        for certificate in expired - self._expired:
            self._log.warn("expired, and there is no other: certificate for {what}", what=certificate.what)
        if found or expired != self._expired:
            self._expired = expired
            self._arrange()

    def _found(self, found: _Read, say: bool) -> None:
        watched, signature, outcome = found
        watched.signature, watched.read_at = signature, self._clock.seconds()
        if isinstance(outcome, str):
            if say or watched.problem:
                self._say(watched, outcome)
            else:
                watched.suspected = outcome
            return
        watched.problem = watched.suspected = None
        if outcome is not watched.certificate:
            watched.certificate = outcome
            self._log.info("certificate for {what}", what=outcome.what)

    def _say(self, watched: _Watched, problem: str) -> None:
        watched.suspected = None
        if problem == watched.problem:
            return
        watched.problem = problem
        kept = "the one before stays in service" if watched.certificate else "there is none in service from there"
        self._log.warn("{problem}; {kept}", problem=problem, kept=kept)


def _shown(certificate: Certificate | None, source: str, problem: str | None, now: float) -> dict[str, Any]:
    entry: dict[str, Any] = {"names": [], "issuer": None, "until": None, "expired": False, "expires_soon": False}
    if certificate is not None:
        pair = certificate.pair
        entry = {
            "names": list(pair.names),
            "issuer": pair.issuer,
            "until": pair.ends,
            "expired": pair.ends <= now,
            "expires_soon": pair.ends - now <= min(SOON, (pair.ends - pair.begins) / 4),
        }
    return {**entry, "from": source, "next_renewal": None, "error": problem}
