"""Certificates from files, which are read again when the files change."""

from collections.abc import Callable, Iterable, Sequence

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from facaded.tls.certificate_files import CertificateFiles, Signature, read, sign
from facaded.tls.handshakes import ActiveCertificate, Handshakes
from facaded.tls.server_certificate import UnusableError, check_time

RETRY_INTERVAL = 60.0
"""Seconds after which files that could not be used are read again, unchanged: a certificate becomes valid with time."""


@define(eq=False)
class WatchedPair:
    """A chain and a key, what was last read of them, and what is in service of it.

    `suspected` is a problem that was seen once: of two files, one is written first. `read_at` is by the clock.
    """

    files: CertificateFiles
    signature: Signature | None = field(default=None, init=False)
    active: ActiveCertificate | None = field(default=None, init=False)
    problem: str | None = field(default=None, init=False)
    suspected: str | None = field(default=None, init=False)
    read_at: float = field(default=0.0, init=False)


@frozen
class Reading:
    """What came of reading a pair: a certificate that can be in service, or a sentence that says why not."""

    pair: WatchedPair
    signature: Signature
    outcome: ActiveCertificate | str


@frozen
class PreparedFiles:
    """The pairs of other settings, and what was read for them."""

    pairs: tuple[WatchedPair, ...]
    readings: tuple[Reading, ...]


class WatchedFiles:
    """The pairs of files of the settings. A pair that cannot be used keeps in service what was read of it before.

    `clock` times the readings, `now` gives seconds since the epoch.
    """

    _log = Logger()

    def __init__(self, handshakes: Handshakes, clock: IReactorTime, now: Callable[[], float]) -> None:
        self.pairs: tuple[WatchedPair, ...] = ()
        self._handshakes = handshakes
        self._clock = clock
        self._now = now

    def active(self) -> list[ActiveCertificate]:
        """Return what is in service, in the order of the settings."""
        return [pair.active for pair in self.pairs if pair.active]

    def prepare(self, files: Iterable[CertificateFiles]) -> PreparedFiles:
        """Read every pair of other settings that has changed; nothing else changes."""
        known = {pair.files: pair for pair in self.pairs}
        pairs = tuple(known.get(each) or WatchedPair(each) for each in dict.fromkeys(files))
        changed = [pair for pair in pairs if sign(pair.files) != pair.signature or pair.problem]
        return PreparedFiles(pairs, self._read(changed))

    def reconfigure(self, prepared: PreparedFiles) -> None:
        """Go on with what was prepared."""
        self.pairs = prepared.pairs
        for reading in prepared.readings:
            self._note(reading, suspicious=False)

    def read_changed(self, pairs: Sequence[WatchedPair]) -> tuple[Reading, ...]:
        """Read what has changed since the last look. It may run in a thread, and changes nothing."""
        due = self._clock.seconds() - RETRY_INTERVAL
        return self._read(
            pair
            for pair in pairs
            if sign(pair.files) != pair.signature or ((pair.problem or pair.suspected) and pair.read_at <= due)
        )

    def take(self, readings: Sequence[Reading], pairs: Sequence[WatchedPair]) -> None:
        """Have in service what was read in a look at `pairs`; a problem that is seen twice is one."""
        changed = {reading.pair for reading in readings}
        for pair in pairs:
            if pair.suspected and pair not in changed:
                self._say(pair, pair.suspected)
        for reading in readings:
            self._note(reading, suspicious=True)

    def _read(self, pairs: Iterable[WatchedPair]) -> tuple[Reading, ...]:
        return tuple(Reading(pair, sign(pair.files), self._outcome(pair)) for pair in pairs)

    def _outcome(self, pair: WatchedPair) -> ActiveCertificate | str:
        try:
            certificate = read(pair.files)
            check_time(certificate, self._now())
            if pair.active and pair.active.certificate.fingerprint == certificate.fingerprint:
                return pair.active
            return self._handshakes.activate(certificate, str(pair.files.chain))
        except UnusableError as error:
            return str(error)

    def _note(self, reading: Reading, suspicious: bool) -> None:
        pair, outcome = reading.pair, reading.outcome
        pair.signature, pair.read_at = reading.signature, self._clock.seconds()
        if isinstance(outcome, str):
            if suspicious and not pair.problem:
                pair.suspected = outcome
            else:
                self._say(pair, outcome)
            return
        pair.problem = pair.suspected = None
        if outcome is not pair.active:
            pair.active = outcome
            self._log.info("certificate for {what}", what=str(outcome))

    def _say(self, pair: WatchedPair, problem: str) -> None:
        pair.suspected = None
        if problem == pair.problem:
            return
        pair.problem = problem
        kept = "the one before stays in service" if pair.active else "there is none in service from there"
        self._log.warn("{problem}; {kept}", problem=problem, kept=kept)
