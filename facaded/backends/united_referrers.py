"""The referrers of a manifest that several backends list, as one list.

A signature may be at one registry alone, or listed in another way there, so the first answer is not enough.
"""

from collections.abc import Callable, Mapping
from typing import NoReturn

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from facaded.backends.failures import RESTING, CrowdedError, FailingError, ReservedError, UnaskedError
from facaded.backends.recent_answers import RecentAnswers
from facaded.backends.referrers_cache import Entries
from facaded.backends.referrers_reader import AnsweredList, ReferrersReader
from facaded.backends.registry import Registry
from facaded.backends.shares import Asker, Shares
from facaded.net.single_flight import together
from facaded.oci.referrers import Referrer, artifact_types, select, unite
from facaded.oci.requests import Referrers
from facaded.policy.decision import Serve
from facaded.policy.evidence import Attempt
from facaded.policy.health import Step

LONGEST = 12.0
"""Seconds for the lists of all backends: clients give up after 15."""

LONGEST_OF_FAILING = 2.0
"""Seconds for a backend that fails, if another one does not: its last list stands in for it anyway."""


@frozen
class UnitedList:
    """The referrers that backends list.

    `filtered` is whether the request asked for artifact types. `elsewhere` are the digests that not every backend
    lists. `failures` maps the backends whose referrers may be missing to the reasons, and `answered` are the others.
    """

    referrers: tuple[Referrer, ...]
    filtered: bool
    elsewhere: tuple[str, ...]
    failures: Mapping[str, str]
    answered: tuple[str, ...]


class ReferrersSearch:
    """One request for the referrers of a manifest, which asks all backends at the same time.

    `recent` is what the backends answered to earlier requests. For the other arguments see `Fetcher`.
    """

    def __init__(
        self,
        registries: Mapping[str, Registry],
        clock: IReactorTime,
        report: Callable[[Attempt], None],
        recent: RecentAnswers,
        shares: Shares,
        serve: Serve,
        source: str,
    ) -> None:
        self._registries = registries
        self._clock = clock
        self._report = report
        self._recent = recent
        self._shares = shares
        self._serve = serve
        self._source = source

    async def run(self) -> UnitedList:
        """Return what the backends list: the entries of the route's first one first, because the end may be cut off.

        The others follow in the order of the answer. Raises OverRateError.
        """
        read, names = self._serve.read, self._serve.backends
        assert isinstance(read, Referrers)
        asker = self._shares.asker(self._source)
        doubtful = {name for name in names if name in self._serve.failing or self._recent.is_suspect(name, read)}
        works = [
            Deferred.fromCoroutine(
                self._ask(name, read, asker, LONGEST_OF_FAILING if name in doubtful < {*names} else LONGEST)
            )
            for name in names
        ]
        readings = dict(zip(names, await together(works), strict=True))
        lists = [readings[name].entries for name in sorted(names, key=lambda name: name != self._serve.preferred)]
        everywhere = set.intersection(*({entry.digest for entry in entries} for entries in lists))
        united, types = unite(lists), artifact_types(read.query)
        elsewhere = tuple(entry.digest for entry in united if entry.digest not in everywhere)
        failures = {name: str(reading.failure) for name, reading in readings.items() if reading.failure}
        answered = tuple(name for name in names if name not in failures)
        return UnitedList(select(united, types), bool(types), elsewhere, failures, answered)

    async def _ask(self, name: str, read: Referrers, asker: Asker, seconds: float) -> AnsweredList:
        """Return what one backend lists, or listed last if it fails. Raises OverRateError."""
        reader = self._registries[name].referrers.asked_by(asker)
        fresh = reader.fresh(read)
        if fresh is not None:
            return AnsweredList(fresh)
        if name in self._serve.resting or self._recent.is_resting(name):
            return _stand_in(reader, read, (), FailingError(RESTING, backend_wide=True))
        asker.count()
        try:
            reading = await self._read_within(seconds, name, reader, read, asker)
        except FailingError as error:
            reading = AnsweredList((), error)
        if reading.failure is None:
            return reading
        self._note_failure(name, read, reading.failure)
        return _stand_in(reader, read, reading.entries, reading.failure)

    def _read_within(
        self, seconds: float, name: str, reader: ReferrersReader, read: Referrers, asker: Asker
    ) -> Deferred[AnsweredList]:
        """Ask one backend within `seconds`. A timeout is a FailingError."""

        def time_out(outcome: object, _: float) -> NoReturn:
            gate = self._registries[name].gate
            if asker.has_waited(gate):
                raise CrowdedError("too many requests to it are in progress", "" if gate.is_crowded() else asker.source)
            raise FailingError("timeout", backend_wide=False, step=Step.MANIFEST)

        return Deferred.fromCoroutine(reader.read(read)).addTimeout(seconds, self._clock, time_out)

    def _note_failure(self, name: str, read: Referrers, error: FailingError) -> None:
        """Make the backend suspect for this list, and start a check of it."""
        if isinstance(error, ReservedError):
            self._shares.note_reserved(error)
        elif isinstance(error, CrowdedError):
            self._shares.note_crowded(name, error.source)
        if isinstance(error, UnaskedError):
            return
        self._recent.note_failure(name, read, error)
        retry_after = error.retry_after if error.limited else 0.0
        self._report(
            Attempt(name, Step.MANIFEST, False, read.name, self._source, str(error), retry_after, sample=False)
        )


def _stand_in(reader: ReferrersReader, read: Referrers, entries: Entries, failure: FailingError) -> AnsweredList:
    """Return the last list of a backend that fails; without one, the entries that it answered, and its failure."""
    last = reader.last(read)
    return AnsweredList(unite((entries, last))) if last is not None else AnsweredList(entries, failure)
