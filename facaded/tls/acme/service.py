"""Certificates for as long as the daemon runs: what is held, what is due, and one order after the other.

This is where the pure schedule meets time, the disk and the CAs.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

from attrs import define
from OpenSSL import crypto
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from facaded.tls.acme import documents, schedule
from facaded.tls.acme.accounts import Accounts
from facaded.tls.acme.challenges import Answers, Responders, rsa_key
from facaded.tls.acme.documents import Suggestion
from facaded.tls.acme.issued import Certificate
from facaded.tls.acme.orders import Ordering, Wanted
from facaded.tls.acme.problems import AcmeError
from facaded.tls.acme.schedule import Failure, Progress, Stage, moment
from facaded.tls.acme.settings import Ca, Kind, Settings
from facaded.tls.acme.store import Store, StoreError
from facaded.tls.acme.wire import Connect, Wire

LOOK = 60.0
"""Seconds between looks at the wall clock and the disk: a machine may have been suspended, and another daemon may
have got a certificate."""

SOONEST = 5.0
"""Seconds to the next look where an order is due and cannot begin: another daemon is at it, or the disk is full."""

ORDER_TIME = 300.0
"""Seconds for one order at one CA: authorizations take seconds, and a CA that is overloaded a few minutes."""

UNREAD = object()
"""The stamp of a certificate whose file could not be read."""

Names = tuple[str, ...]


@define
class _Held:
    """One certificate that is wanted: what there is of it, and when its CA is asked again about its renewal.

    The certificate is `new`, its progress `untold`, until they are on the disk: it may be full.
    """

    names: Names
    chance: float
    progress: Progress
    certificate: Certificate | None = None
    stamp: object = None
    suggestion: Suggestion | None = None
    ask_at: float = 0.0
    trouble: str | None = None
    new: bool = False
    untold: bool = False

    def renew_at(self, cas: Sequence[str]) -> float:
        """When a certificate is wanted: at once if there is none, or one of a CA that is not wanted any more, as when
        the settings leave a staging CA."""
        if self.certificate is None or self.progress.ca not in (None, *cas):
            return 0.0
        return self.scheduled()

    def scheduled(self) -> float:
        """When it is to be renewed whoever made it."""
        if self.certificate is None:
            return 0.0
        window = self.suggestion.window if self.suggestion else None
        return schedule.renewal(self.certificate.life, window, self.chance, self.progress.obtained)

    def __str__(self) -> str:
        return ", ".join(self.names[:3]) + (f" and {len(self.names) - 3} more" if len(self.names) > 3 else "")


class Acme(Service):
    """Gets and renews the certificates of `settings`, which it keeps in `directory`.

    `clock` gives timers, `wall` seconds since the epoch, `random` the jitter. `responders` answer challenges from
    when this service starts. `changed` is called when `current` has changed. Raises StoreError if the directory
    cannot be used.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        wall: Callable[[], float],
        random: Random,
        settings: Settings,
        directory: Path,
        responders: Responders,
        changed: Callable[[], None],
        connect: Connect,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._random = random
        self._settings = settings
        self._store = Store(directory, self._warn)
        self._answers = Answers(responders, rsa_key())
        self._changed = changed
        self._connect = connect
        self._rounds = 0
        self._due: IDelayedCall | None = None
        self._working: Deferred[None] = succeed(None)
        self._held: list[_Held] = []
        self._held = self._read_all(settings)

    def startService(self) -> None:
        Service.startService(self)
        self._look_in(0)

    def stopService(self) -> Deferred[None]:
        """Abandon the order that is under way; it is begun anew at the next start."""
        Service.stopService(self)
        return self._abandon()

    def adopt(self, settings: Settings) -> None:
        """Go on by other settings. Certificates that are still wanted are kept. Raises as the constructor does."""
        if settings == self._settings:
            return
        self._held, self._settings = self._read_all(settings), settings
        abandoned = self._abandon()
        abandoned.addCallback(lambda _: self._look_in(0) if self.running else None)

    def current(self) -> Mapping[Names, Certificate]:
        """The certificates that there are, by the names of the settings; one may have expired."""
        return {held.names: held.certificate for held in self._held if held.certificate is not None}

    def status(self) -> list[dict[str, Any]]:
        """What is known of each certificate. Times are in seconds since the epoch; None where there is nothing."""
        return [self._status(held) for held in self._held]

    def renew(self) -> tuple[str, ...]:
        """Renew all certificates now. Gives a sentence for each that cannot be."""
        refusals = [refusal for held in self._held if (refusal := self._ask_by_hand(held))]
        if self.running and self._working.called:
            self._look_in(0)
        return tuple(refusals)

    def _ask_by_hand(self, held: _Held) -> str | None:
        """Note that an operator wants a renewal; a sentence if that would be too much for the CAs."""
        asked = schedule.asked_by_hand(held.progress, self._cas(), self._wall())
        if isinstance(asked, Progress):
            held.progress = asked
            return None
        return f"{held}: {asked}"

    # Looking

    def _look_in(self, seconds: float) -> None:
        if self._due is not None and self._due.active():
            self._due.cancel()
        self._due = self._clock.callLater(seconds, self._look)

    def _look(self) -> None:
        self._working = Deferred.fromCoroutine(self._round())
        self._working.addErrback(self._went_wrong).addCallback(self._rest, self._working)

    def _rest(self, _: object, working: Deferred[None]) -> None:
        if not self.running or self._working is not working:
            return
        now = self._wall()
        dues = [at for held in self._held for at in (self._due_at(held), held.ask_at)]
        self._look_in(min(max(min(dues, default=now + LOOK) - now, SOONEST), LOOK))

    def _went_wrong(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self._log.failure("certificates: this should not happen; it is tried again", failure)

    def _abandon(self) -> Deferred[None]:
        if self._due is not None and self._due.active():
            self._due.cancel()
        self._rounds += 1
        working, self._working = self._working, succeed(None)
        working.cancel()
        return working

    def _go_on(self, this_round: int) -> None:
        """Raises CancelledError if this round was abandoned: a connection may have ended in another way by it."""
        if self._rounds != this_round:
            raise CancelledError

    async def _round(self) -> None:
        """Ask about renewals, and order what is due: what a CA suggests decides when that is."""
        this_round = self._rounds
        for held in self._held:
            self._refresh(held)
        for held in self._held:
            if schedule.may_ask(held.ask_at, self._wall()):
                await self._ask_about(held)
                self._go_on(this_round)
        for held in sorted(self._held, key=self._due_at):
            if self._due_at(held) <= self._wall():
                await self._attempt(held)
                self._go_on(this_round)

    def _due_at(self, held: _Held) -> float:
        return schedule.due(held.progress, held.renew_at(self._cas()), self._cas(), self._wall())

    def _cas(self) -> list[str]:
        return [ca.directory for ca in self._settings.cas]

    # What is held

    def _read_all(self, settings: Settings) -> list[_Held]:
        """What is wanted by these settings: what is held already as it is, the rest from the disk."""
        known = {frozenset(held.names): held for held in self._held}
        found = [(names, known.get(frozenset(names)) or self._find(names)) for names in dict.fromkeys(settings.domains)]
        for names, held in found:  # in their new order
            held.names = names
        return [held for _, held in found]

    def _find(self, names: Names) -> _Held:
        held = _Held(names, self._random.random(), Progress())
        self._read(held)
        for other in self._held:  # a CA counts failures by name, in whatever certificate it is
            if set(names) & set(other.names) and other.progress.failed:
                held.progress, held.untold = schedule.shared(held.progress, other.progress), True
        return held

    def _read(self, held: _Held) -> bool:
        """Take what is on the disk; says whether there is another certificate."""
        progress, stamp = self._store.progress(held.names), self._store.stamp(held.names)
        found = self._store.certificate(held.names)
        held.progress, held.stamp = progress, stamp
        if found is None or found == held.certificate:
            return False
        held.certificate, held.suggestion, held.ask_at = found, None, self._wall()
        return True

    def _refresh(self, held: _Held) -> None:
        """Another daemon with the same directory may have got a certificate.

        What cannot be read now is read at the next look, and what is in memory holds until then.
        """
        try:
            if held.new or held.untold:
                with self._store.locked() as alone:
                    if alone:
                        self._save(held)
                        held.trouble = None
                return
            if self._store.stamp(held.names) == held.stamp:
                return
            if self._read(held):
                self._log.info("{names}: another daemon has renewed the certificate", names=str(held))
                self._changed()
            held.trouble = None
        except StoreError as error:
            held.stamp = UNREAD if not held.new else held.stamp
            self._trouble(held, str(error))

    # Ordering

    async def _attempt(self, held: _Held) -> None:
        """Order one certificate, unless another daemon does."""
        by_hand = held.progress.by_hand
        try:
            with self._store.locked() as alone:
                if not alone:
                    self._trouble(held, "another daemon with the same state.directory is ordering certificates")
                    return
                self._save(held)
                self._refresh(held)
                held.progress = self._store.progress(held.names)
                if by_hand:
                    self._ask_by_hand(held)
                if self._due_at(held) <= self._wall():
                    await self._order(held, held.progress)
                held.trouble = None
        except StoreError as error:
            self._trouble(held, str(error))

    async def _order(self, held: _Held, before: Progress) -> None:
        """Ask one CA after the other. `counts` is what they must not forget whatever comes of it."""
        self._keep(held, schedule.begun(before, self._wall()))
        failures: list[Failure] = []
        this_round, counts = self._rounds, before
        for ca in self._settings.cas:
            if schedule.opens_at(before, ca.directory, self._wall()) > self._wall():
                continue
            outcome = await self._ask(held, ca, counts)
            if isinstance(outcome, Certificate):
                self._obtained(held, outcome, ca, counts)
                return
            if self._rounds != this_round:
                held.progress, held.untold = schedule.interrupted(counts, outcome, self._wall()), True
                self._save(held)
            self._go_on(this_round)
            failures.append(outcome)
            counts = schedule.counted(counts, outcome, self._wall())
        self._failed(held, before, failures)

    async def _ask(self, held: _Held, ca: Ca, before: Progress) -> Certificate | Failure:
        """What one CA gives."""
        try:
            ordering = self._ordering(held, ca, before)
        except (OSError, crypto.Error) as error:
            why = error.strerror if isinstance(error, OSError) else "no certificate in PEM form"
            return Failure(ca.directory, f"ca_file: {ca.ca_file} cannot be used ({why})", Stage.REFUSED)
        try:
            return await Deferred.fromCoroutine(ordering.run()).addTimeout(ORDER_TIME, self._clock)
        except AcmeError as error:
            stage = ordering.stage if error.ill else ordering.stage.or_refused
            return Failure(ca.directory, self._of(ca, str(error)), stage, error.retry_after)
        except (TimeoutError, CancelledError):
            return Failure(ca.directory, self._of(ca, f"no end within {ORDER_TIME:g} s"), ordering.stage)
        except StoreError:
            raise
        except Exception:  # or it would be tried again and again beyond all limits
            self._log.failure("{names}: this should not happen", names=str(held))
            words = self._of(ca, "an error of facaded's own: see its log, and report it")
            return Failure(ca.directory, words, ordering.stage.or_refused)

    def _ordering(self, held: _Held, ca: Ca, before: Progress) -> Ordering:
        """Raises OSError or OpenSSL.crypto.Error if the CA's `ca_file` cannot be used."""
        wire = Wire(ca.directory, self._connect(ca), self._clock, self._wall)
        accounts = Accounts(ca, self._settings.email, wire, self._store, self._warn)
        replaces = held.certificate.identifier if held.certificate and before.ca == ca.directory else None
        wanted = Wanted(held.names, self._kinds(before), replaces)

        def reached(stage: Stage) -> None:  # on the disk before it happens: a daemon that is killed cannot say it later
            self._keep(held, schedule.reached(before, ca.directory, stage, self._wall()))

        return Ordering(wanted, ca, wire, accounts, self._answers, self._clock, self._wall, reached)

    def _kinds(self, progress: Progress) -> tuple[Kind, ...]:
        """All kinds of challenge, beginning with the one whose turn it is."""
        kinds = self._settings.challenges
        turn = progress.authorized % len(kinds)
        return kinds[turn:] + kinds[:turn]

    def _of(self, ca: Ca, words: str) -> str:
        """Where there are several CAs, a sentence says which one it is about."""
        host = urlsplit(ca.directory).hostname or ""
        return words if len(self._settings.cas) == 1 or host in words else f"{host}: {words}"

    def _obtained(self, held: _Held, certificate: Certificate, ca: Ca, before: Progress) -> None:
        now = self._wall()
        extra = held.scheduled() > now
        held.certificate, held.suggestion, held.ask_at, held.chance = certificate, None, now, self._random.random()
        held.progress = schedule.succeeded(before, ca.directory, now, extra)
        held.new = held.untold = True
        try:
            self._save(held)
        finally:  # it is good even if it cannot be kept
            self._changed()
        until, again = moment(certificate.life.ends), moment(held.renew_at(self._cas()))
        self._log.info(
            "{names}: a certificate of {issuer} until {until}, to be renewed {again}",
            names=str(held),
            issuer=certificate.issuer,
            until=until,
            again=again,
        )

    def _failed(self, held: _Held, before: Progress, failures: list[Failure]) -> None:
        now = self._wall()
        held.progress = schedule.failed(before, failures, now, self._random.random())
        held.untold = True
        self._warn(f"{held}: no certificate: {held.progress.error}; tried again {moment(self._due_at(held))}")
        self._save(held)

    def _save(self, held: _Held) -> None:
        """Write what has come of an order and is not on the disk yet; it has happened, and so memory comes first."""
        if held.new and held.certificate is not None:
            self._store.keep_certificate(held.names, held.certificate)
            held.stamp, held.new = self._store.stamp(held.names), False
        if held.untold:
            self._store.keep_progress(held.names, held.progress)
            held.untold = False

    def _keep(self, held: _Held, progress: Progress) -> None:
        """Take down what is about to happen; it must not if that cannot be done."""
        self._store.keep_progress(held.names, progress)
        held.progress = progress

    # Renewal information

    async def _ask_about(self, held: _Held) -> None:
        """Ask the CA when it suggests to renew a certificate (RFC 9773).

        While it cannot be asked, what it has said last holds.
        """
        ca = next((ca for ca in self._settings.cas if ca.directory == held.progress.ca), None)
        held.ask_at = self._wall() + schedule.asked_again(0)
        if ca is None or held.certificate is None or held.certificate.identifier is None:
            return
        try:
            wire = Wire(ca.directory, self._connect(ca), self._clock, self._wall)
            info = (await wire.directory()).renewal_info
            if info is None:
                held.suggestion = None
                return
            answer = await wire.get(f"{info.rstrip('/')}/{held.certificate.identifier}")
            suggestion = documents.read_suggestion(documents.parse(answer.body))
        except (AcmeError, OSError, crypto.Error) as error:
            self._log.debug("{names}: no renewal information: {why}", names=str(held), why=str(error))
            held.ask_at = self._wall() + schedule.asked_again(getattr(error, "retry_after", 0.0))
            return
        held.ask_at = self._wall() + schedule.asked_again(wire.retry_after(answer))
        self._suggested(held, suggestion)

    def _suggested(self, held: _Held, suggestion: Suggestion) -> None:
        if suggestion == held.suggestion:
            return
        held.suggestion = suggestion
        self._log.info(
            "{names}: the CA suggests a time for the renewal{why}: {again}",
            names=str(held),
            why=f" ({suggestion.explanation})" if suggestion.explanation else "",
            again=moment(self._due_at(held)),
        )

    # Saying

    def _status(self, held: _Held) -> dict[str, Any]:
        certificate, progress = held.certificate, held.progress
        return {
            "names": list(held.names),
            "issuer": certificate.issuer if certificate else None,
            "not_after": certificate.life.ends if certificate else None,
            "next_renewal": max(self._due_at(held), self._wall()),
            "suggested_because": held.suggestion.explanation if held.suggestion else None,
            "error": held.trouble or progress.error,
            "error_at": progress.error_at,
            "attempts": progress.attempts,
            "ca": progress.ca,
        }

    def _trouble(self, held: _Held, words: str) -> None:
        """What keeps an order from beginning is looked at again and again, and said once."""
        if words != held.trouble:
            held.trouble = words
            self._warn(f"{held}: {words}")

    def _warn(self, words: str) -> None:
        self._log.warn("{words}", words=words)
