"""The traces of pulls: what one client asked for in one repository. Their memory is bounded, per source and in all."""

import math
from collections import OrderedDict
from collections.abc import Iterator
from typing import TypeAlias, TypeVar

from attrs import define, field, frozen

from facaded.oci.clients import Client
from facaded.policy.reasons import spell

MEMORY = 3600.0
"""Seconds for which an idle trace is remembered: a layer of a large image may be asked for long after its manifest."""

MANIFESTS = 24
"""Requests for manifests in one trace: an index, its manifests, and a few tags. The oldest are evicted first."""

BLOBS = 40
"""Requests for blobs in one trace: nearly all images have fewer layers. The oldest are evicted first."""

TRACE_BYTES = 1100
"""Bytes that a trace without requests takes, with the names of its client and repository (measured)."""

REQUEST_BYTES = 300
"""Bytes that each request in a trace takes (measured)."""

BYTES = 16_000_000
"""Bytes of all traces: those of some 4,000 pulls with ten requests each."""

SHARE = 1_000_000
"""Bytes of the traces of one source: hundreds of pulls behind one address."""

USER_AGENT_LENGTH = 200
"""Characters of a User-Agent that tell clients apart."""

Name = TypeVar("Name", int, str)
Entry = TypeVar("Entry")


@define
class ManifestTrace:
    """The requests of one method for one manifest.

    `order` is its place among the digests of the trace as they came first, 0 for a tag. `gets` is the number of GETs
    that were answered. The rest is about redirects with no request for a digest or a blob after them: their number, how
    many came at once, when the first and the last one came, and the backend of the last one.
    """

    order: int
    gets: int = 0
    redirects: int = 0
    at_once: int = 0
    first: float = -math.inf
    last: float = -math.inf
    backend: str = ""


@define
class BlobTrace:
    """The requests for one blob from one byte on: their number, the last one's time and backend.

    `was_redirected` is whether the last one was redirected to the backend, not served; `doubts` is how many came
    although the pull did not need them.
    """

    requests: int = 0
    last: float = -math.inf
    backend: str = ""
    was_redirected: bool = False
    doubts: int = 0


@frozen
class Pinged:
    """The first redirected ping with no request for a repository after it: when it came, and where it led."""

    first: float
    backend: str


@frozen
class Avoided:
    """A backend that one blob is better not fetched from, and until when."""

    backend: str
    until: float


@frozen
class Return:
    """A client that is served from `since` to `until`, because it asked again for `subject`, the last time of `times`.

    Times are monotonic seconds. `repository` is empty if it asked for `/v2/` again.
    """

    source: str
    client: Client
    subject: str
    since: float
    until: float
    times: int = 1
    repository: str = ""

    def describe(self) -> str:
        """Return a sentence for a person."""
        times = f", {self.times} times" if self.times > 1 else ""
        length = spell(self.until - self.since)
        return f"{self.source} ({self.client.family.value}) asked again for {self.subject}{times}: served for {length}"


@define
class PullTrace:
    """What one client asked for in one repository, or its pings.

    Requests are known by a hash of Python's, which differs from run to run. `avoided` has the backend of each blob that
    is better fetched from another one. Until `blobs_served_until`, requests for blobs are served. `returned` is the
    last time that the client asked again. `progressed` is since when redirects count: those before it have worked, or
    were followed by a return. `used` is when the trace was last used, and `counted` the bytes that its source is
    charged for it.
    """

    manifests: dict[int, ManifestTrace] = field(factory=dict)
    blobs: dict[int, BlobTrace] = field(factory=dict)
    avoided: dict[str, Avoided] = field(factory=dict)
    blobs_served_until: float = field(default=-math.inf, init=False)
    orders: int = 0
    ping: Pinged | None = None
    returned: Return | None = None
    progressed: float = field(default=-math.inf, init=False)
    used: float = -math.inf
    counted: int = field(default=0, init=False)

    @property
    def size(self) -> int:
        """The bytes that the trace takes."""
        return TRACE_BYTES + REQUEST_BYTES * (len(self.manifests) + len(self.blobs) + len(self.avoided))

    def is_served(self, now: float) -> bool:
        """Return whether the client is served because it asked again."""
        return self.returned is not None and now < self.returned.until

    def is_forgotten(self, now: float) -> bool:
        """Return whether nothing of the trace counts any more."""
        return now > max(self.used, self.returned.until if self.returned else self.used) + MEMORY


TraceKey: TypeAlias = tuple[str, str, str]
"""Who a trace is about: the source, the beginning of the User-Agent, and the repository; empty for pings."""


@define
class _SourceTraces:
    """The traces of one source, the one that grew least recently first, and their size."""

    traces: OrderedDict[TraceKey, PullTrace] = field(factory=OrderedDict)
    size: int = 0


class PullTraces:
    """All traces. Of too many, those of the source that used one least recently are evicted first."""

    def __init__(self) -> None:
        self._sources: OrderedDict[str, _SourceTraces] = OrderedDict()
        self._used = 0
        self._last: tuple[TraceKey, PullTrace | None] | None = None  # what was found last, of the source used last

    def find(self, key: TraceKey, now: float) -> PullTrace | None:
        """Return a trace, None if there is none. Only the methods of this class may add to it."""
        last = self._last
        if last is not None and last[0] is key:  # it is looked up several times for one request
            trace = last[1]
        elif (of_source := self._sources.get(key[0])) is None:
            return None
        else:
            self._sources.move_to_end(key[0])
            trace = of_source.traces.get(key)
            self._last = key, trace
        return None if trace is None or trace.is_forgotten(now) else trace

    def use(self, key: TraceKey, now: float) -> PullTrace:
        """Return a trace, a new one if there is none."""
        trace = self.find(key, now)
        if trace is None:
            trace = PullTrace()
            self._count(key, trace)
        trace.used = now
        return trace

    def manifest(self, key: TraceKey, request: int, is_tag: bool, now: float) -> ManifestTrace:
        """Return a trace's requests for a manifest, new ones if there are none. `request` is a hash of one."""
        trace = self.find(key, now) or PullTrace()
        trace.used = now
        manifest = trace.manifests.get(request)
        if manifest is None:
            trace.orders += 1
            manifest = ManifestTrace(0 if is_tag else trace.orders)
            _add_entry(trace.manifests, request, manifest, MANIFESTS)
            self._count(key, trace)
        return manifest

    def blob(self, key: TraceKey, request: int, now: float) -> BlobTrace:
        """Return a trace's requests for a blob, new ones if there are none. `request` is a hash of one."""
        trace = self.use(key, now)
        blob = trace.blobs.get(request)
        if blob is None:
            blob = BlobTrace()
            _add_entry(trace.blobs, request, blob, BLOBS)
            self._count(key, trace)
        return blob

    def avoid(self, key: TraceKey, digest: str, avoided: Avoided, now: float) -> None:
        """Note the backend that a blob is better not fetched from."""
        trace = self.use(key, now)
        _add_entry(trace.avoided, digest, avoided, BLOBS)
        self._count(key, trace)

    def items(self) -> Iterator[tuple[TraceKey, PullTrace]]:
        """Iterate over all traces."""
        for of_source in self._sources.values():
            yield from of_source.traces.items()

    def forget_requests(self, client: tuple[str, str] | None) -> None:
        """Forget what a client, its source and User-Agent, asked for; with None, what all did."""
        if client is None:
            forgotten = self.items()
        else:
            of_source = self._sources.get(client[0])
            forgotten = iter(of_source.traces.items()) if of_source is not None else iter(())
        for (_, user_agent, _), trace in forgotten:
            if client is None or user_agent == client[1]:
                trace.manifests.clear()
                trace.blobs.clear()
                trace.ping = None

    def of_repository(self, repository: str, now: float) -> Iterator[PullTrace]:
        """Iterate over the traces of all clients in one repository, and of their pings."""
        for of_source in reversed(self._sources.values()):
            for (_, _, name), trace in of_source.traces.items():
                if name in (repository, "") and not trace.is_forgotten(now):
                    yield trace

    @property
    def size(self) -> int:
        """The bytes that all traces take."""
        return self._used

    def _count(self, key: TraceKey, trace: PullTrace) -> None:
        """Put a trace that has grown in the last place of its source, count its bytes, and evict others for them."""
        of_source = self._sources.get(key[0])
        if of_source is None:
            of_source = self._sources[key[0]] = _SourceTraces()
        replaced, size = of_source.traces.pop(key, None), trace.size
        growth = size if replaced is None else size - replaced.counted
        of_source.traces[key] = trace
        of_source.size += growth
        self._used += growth
        trace.counted = size
        self._last = key, trace
        while of_source.size > SHARE:
            _, evicted = of_source.traces.popitem(last=False)
            of_source.size -= evicted.counted
            self._used -= evicted.counted
        while self._used > BYTES:
            self._used -= self._sources.popitem(last=False)[1].size


def _add_entry(entries: dict[Name, Entry], name: Name, entry: Entry, most: int) -> None:
    """Add an entry, and evict the oldest one of too many."""
    entries[name] = entry
    if len(entries) > most:
        del entries[next(iter(entries))]
