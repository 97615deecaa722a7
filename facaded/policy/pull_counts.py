"""Counts of pulls, from requests for manifests, until they are taken for the history."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import TypeAlias

from facaded.oci.clients import Family
from facaded.policy.manifests_trace import WINDOW, ManifestsTrace
from facaded.policy.pull_kinds import CHECKERS, VERIFIERS, CountKey, ManifestRequest, PullKey, PullKind

TRACES = 1000
"""Most traces after a batch of requests: 3 MB at most. Those that were not used lately are forgotten first.

With 500 new askers a second, there is still a second for a pull. More traces would not stay in the processor's cache:
with 4,000, each request took a fifth longer.
"""

FASTEST, FEW = 5000, 125
"""New askers a second above which no client asks again soon enough to be still followed, and half the traces then."""

IMAGE, CHECK = PullKind.IMAGE, PullKind.CHECK
"""Names of their own: to look a member up in its class takes Python longer than all else here."""

NOT_PULLING = CHECKERS | VERIFIERS
"""Families whose GETs are no pulls."""

WAITING = 2000
"""Most different counts that wait to be taken: strangers can ask for any number of names."""

AskerKey: TypeAlias = tuple[str, Family, str]
"""Who a trace is about: address, family, and repository."""

Traces: TypeAlias = dict[AskerKey, ManifestRequest | ManifestsTrace]
"""What each asker asked for. One that is a request is of an asker that has asked for nothing else."""

BLOB_REQUEST: ManifestRequest | None = None
"""Stands for a request for a blob: a proof that this client's redirected pulls in the repository worked."""


class PullCounts:
    """Counts pulls. Its memory is bounded, whatever clients send; an address is forgotten a minute after its pull.

    It is called for every request, so it is built for the most frequent case under load, which is an asker with one
    request: that takes dictionaries, and no object of a class. Such a request is a trace as it is, because a
    `ManifestsTrace` takes five times as long.

    `_older` has the traces that were not used since `_traces` was begun. When there are enough in `_traces`, the older
    ones are counted and forgotten, and those are the older ones from then on.
    """

    def __init__(self) -> None:
        self._traces: Traces = {}
        self._older: Traces = {}
        self._enough = TRACES // 2
        self._began_at = 0.0
        self._counts: dict[CountKey, int] = {}

    def follow(self, requests: Iterable[tuple[AskerKey, ManifestRequest | None]]) -> None:
        """Follow requests for manifests and, as BLOB_REQUEST, for blobs."""
        traces, older = self._traces, self._older
        begin, find = traces.setdefault, traces.get
        latest: ManifestRequest | None = None
        for asker, request in requests:
            if request is not None:
                latest = request
                trace = begin(asker, request)
                if trace is not request:
                    self._go_on(asker, trace).note(request)
                elif asker in older:
                    self._go_on(asker, older.pop(asker)).note(request)
            elif (followed := find(asker) or self._use_again(asker)) is not None:
                if isinstance(followed, tuple):
                    if followed[3]:  # it was redirected
                        self._go_on(asker, followed).prove()
                elif followed.awaits_proof:
                    followed.prove()
        if len(traces) >= self._enough and latest is not None:
            self._begin_others(latest[0])

    def add(self, key: CountKey, count: int) -> None:
        """Count pulls, here or in another process."""
        counts = self._counts
        if key not in counts and len(counts) >= WAITING:
            _, _, family, kind, _ = key
            key = "", "", family, kind, False
        counts[key] = counts.get(key, 0) + count

    def take(self, now: float, most: int) -> list[tuple[PullKey, int]]:
        """Remove counts, at most so many different ones, and return them: of pulls that cannot go on at `now`."""
        self._finish_old(now)
        return [(PullKey(*key), self._counts.pop(key)) for key in list(islice(self._counts, most))]

    def finish(self) -> None:
        """Count what is followed as it is, because the process ends."""
        for traces in (self._older, self._traces):
            self._count(traces)
            traces.clear()

    def _go_on(self, asker: AskerKey, trace: ManifestRequest | ManifestsTrace) -> ManifestsTrace:
        """Return the trace of an asker that has asked before."""
        if isinstance(trace, ManifestsTrace):
            self._traces[asker] = trace
            return trace
        begun = self._traces[asker] = ManifestsTrace(asker[1], asker[2], self.add)
        begun.note(trace)
        return begun

    def _use_again(self, asker: AskerKey) -> ManifestRequest | ManifestsTrace | None:
        """Return the older trace of an asker, which is one of the others then."""
        trace = self._older.pop(asker, None)
        if trace is not None:
            self._traces[asker] = trace
        return trace

    def _begin_others(self, now: float) -> None:
        """Count and forget the older traces; the others are the older ones from now on."""
        self._count(self._older)
        is_fast = self._enough > FASTEST * abs(now - self._began_at)
        self._enough, self._began_at = FEW if is_fast else TRACES // 2, now
        self._older, self._traces = self._traces, {}

    def _finish_old(self, now: float) -> None:
        """Count and forget the traces that have not been used for WINDOW."""
        for traces in (self._older, self._traces):
            old = {asker: trace for asker, trace in traces.items() if abs(now - _used_at(trace)) > WINDOW}
            self._count(old)
            for asker in old:
                del traces[asker]

    def _count(self, traces: Traces) -> None:
        """Count what traces are about as it is."""
        counts = self._counts
        find, unnamed = counts.get, list[tuple[Family, bool]]()
        for asker, trace in traces.items():
            if not isinstance(trace, tuple):
                trace.finish()
                continue
            _, family, repository = asker
            _, reference, is_get, was_redirected, is_signature = trace
            if is_signature or family in NOT_PULLING:
                self._count_alone(asker, trace)
                continue
            # What a trace would do, for most requests for made-up names
            key = repository, reference, family, (IMAGE if is_get else CHECK), not was_redirected
            if (count := find(key)) is not None:
                counts[key] = count + 1
            elif len(counts) < WAITING:
                counts[key] = 1
            else:
                unnamed.append((family, is_get))
        for (family, is_get), count in Counter(unnamed).items():
            self.add(("", "", family, IMAGE if is_get else CHECK, False), count)

    def _count_alone(self, asker: AskerKey, request: ManifestRequest) -> None:
        """Count a request that nothing has followed."""
        trace = ManifestsTrace(asker[1], asker[2], self.add)
        trace.note(request)
        trace.finish()


def _used_at(trace: ManifestRequest | ManifestsTrace) -> float:
    return trace[0] if isinstance(trace, tuple) else trace.at
