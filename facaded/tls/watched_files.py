"""Certificates from files, which are read again when the files change."""

from collections.abc import Callable, Iterable, Sequence

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from facaded.policy.events import EventKind
from facaded.tls.certificate_files import CertificateFiles, Stamp, read, stamp
from facaded.tls.handshakes import ActiveCertificate, Handshakes
from facaded.tls.server_certificate import UnusableError, check_time

RETRY_INTERVAL = 60.0
"""Seconds after which unusable files are read again even if unchanged: a certificate may have become valid."""


@define(eq=False)
class WatchedPair:
    """A chain and a key: what was last read from the files, and the certificate in service.

    `suspected` is a problem that only one check has seen: programs write one of the two files first. `read_at` is the
    time of the last reading by the clock.
    """

    files: CertificateFiles
    stamp: Stamp | None = field(default=None, init=False)
    active: ActiveCertificate | None = field(default=None, init=False)
    problem: str | None = field(default=None, init=False)
    suspected: str | None = field(default=None, init=False)
    read_at: float = field(default=0.0, init=False)


@frozen
class Reading:
    """The outcome of reading a pair: a certificate that can be served, or a message that says why there is none."""

    pair: WatchedPair
    stamp: Stamp
    outcome: ActiveCertificate | str


@frozen
class PreparedFiles:
    """The pairs of new settings, and the readings of those that have changed."""

    pairs: tuple[WatchedPair, ...]
    readings: tuple[Reading, ...]


class WatchedFiles:
    """The pairs of files in the settings. When a pair becomes unusable, its previous certificate stays in service.

    `clock` times the readings, `now` returns seconds since the epoch.
    """

    _log = Logger()

    def __init__(self, handshakes: Handshakes, clock: IReactorTime, now: Callable[[], float]) -> None:
        self.pairs: tuple[WatchedPair, ...] = ()
        self._handshakes = handshakes
        self._clock = clock
        self._now = now

    def active(self) -> list[ActiveCertificate]:
        """Return the certificates in service, in the order of the settings."""
        return [pair.active for pair in self.pairs if pair.active]

    def prepare(self, files: Iterable[CertificateFiles]) -> PreparedFiles:
        """Read every pair of new settings that has changed; nothing else changes."""
        known = {pair.files: pair for pair in self.pairs}
        pairs = tuple(known.get(paths) or WatchedPair(paths) for paths in dict.fromkeys(files))
        changed = [pair for pair in pairs if stamp(pair.files) != pair.stamp or pair.problem]
        return PreparedFiles(pairs, self._read_pairs(changed))

    def reconfigure(self, prepared: PreparedFiles) -> None:
        """Apply new settings. It cannot fail."""
        self.pairs = prepared.pairs
        for reading in prepared.readings:
            self._record(reading, may_be_partial=False)

    def read_changed(self, pairs: Sequence[WatchedPair]) -> tuple[Reading, ...]:
        """Read the pairs that have changed since the last check. It may run in a thread, and changes nothing."""
        due = self._clock.seconds() - RETRY_INTERVAL
        return self._read_pairs(
            pair
            for pair in pairs
            if stamp(pair.files) != pair.stamp or ((pair.problem or pair.suspected) and pair.read_at <= due)
        )

    def apply(self, readings: Sequence[Reading], pairs: Sequence[WatchedPair]) -> None:
        """Put in service what a check of `pairs` has read; a problem counts when two checks in a row have seen it."""
        changed = {reading.pair for reading in readings}
        for pair in pairs:
            if pair.suspected and pair not in changed:
                self._report(pair, pair.suspected)
        for reading in readings:
            self._record(reading, may_be_partial=True)

    def _read_pairs(self, pairs: Iterable[WatchedPair]) -> tuple[Reading, ...]:
        return tuple(Reading(pair, stamp(pair.files), self._read_pair(pair)) for pair in pairs)

    def _read_pair(self, pair: WatchedPair) -> ActiveCertificate | str:
        try:
            certificate = read(pair.files)
            check_time(certificate, self._now())
            if pair.active and pair.active.certificate.fingerprint == certificate.fingerprint:
                return pair.active
            return self._handshakes.activate(certificate, str(pair.files.chain))
        except UnusableError as error:
            return str(error)

    def _record(self, reading: Reading, may_be_partial: bool) -> None:
        pair, outcome = reading.pair, reading.outcome
        pair.stamp, pair.read_at = reading.stamp, self._clock.seconds()
        if isinstance(outcome, str):
            if may_be_partial and not pair.problem:
                pair.suspected = outcome
            else:
                self._report(pair, outcome)
            return
        pair.problem = pair.suspected = None
        if outcome is not pair.active:
            pair.active = outcome
            self._log.info("serving the certificate for {certificate}", certificate=str(outcome))

    def _report(self, pair: WatchedPair, problem: str) -> None:
        pair.suspected = None
        if problem == pair.problem:
            return
        pair.problem = problem
        in_service = "the previous certificate stays" if pair.active else "no certificate from these files is"
        self._log.warn(
            "{problem}; {in_service} in service",
            problem=problem,
            in_service=in_service,
            event_kind=EventKind.CERTIFICATE_TROUBLE,
        )
