"""Clients that ask again: the success of a redirect is invisible, but after a failure the client comes back.

It is then served for a while. One client is a source, a User-Agent and a repository, and many machines may share these
behind one address. So what several machines send is no repetition:

- A request for a digest or a blob shows that the manifest before it arrived, at whichever machine.
- Requests for a manifest that come within `AT_ONCE` are those of several machines, which may all send a second one.
- A blob may be asked for as often as the manifests of its repository were: each machine asks for both.
"""

import math
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from attrs import field

from facaded.oci.clients import Client
from facaded.oci.frozen_values import frozen
from facaded.oci.requests import Blob, ManifestRead, Ping, Read, is_digest
from facaded.policy.pull_traces import (
    MEMORY,
    USER_AGENT_LENGTH,
    Avoided,
    BlobTrace,
    ManifestTrace,
    Pinged,
    PullTrace,
    PullTraces,
    Return,
    TraceKey,
)
from facaded.policy.sources import source_of

SERVED = 60.0
"""Seconds for which a client that asked again is served, at first; twice as long after each return."""

LONGEST_SERVED = 3600.0
"""Most seconds for which it is served."""

PAUSE = 1.0
"""Seconds after a request before the same one is a repetition.

containerd and Docker send a request again at once when they have a token, and wait after an error; and what comes
sooner may be parallel.
"""

AT_ONCE = 1.0
"""Seconds from the first request within which others for the same manifest come from other machines."""

STEADY_PAUSE = 2.0
"""Seconds from the first request after which it counts how many came, although there was no `PAUSE`."""

MANIFEST_TIME = 120.0
"""Seconds after a redirect within which the same request for a manifest is a repetition.

A client notices a backend that hangs after 30 s, and kubelet then waits 10 s, and 20 and 40 the next times.
"""

REPEAT_TIME = 60.0
"""Seconds after a redirect within which the same ping, or request for a blob, is a repetition."""

DOUBTS = 2
"""Repetitions in vain after which a blob is fetched from another backend: with the first request, the third time."""

DOUBLINGS = 7
"""Returns after which a client is served for the longest time: one minute doubled six times is over an hour."""

SHOWN = 5
"""The latest returns that status and explanation show."""


@frozen
class Asking:
    """A request and who sends it. `key` is the trace that it belongs to, with a source as by `source_of`.

    `first_byte` is where the part of a blob begins that is asked for; None if that is unknown. `hashed` is what the
    request is known by, see `hash_with`.
    """

    key: TraceKey
    client: Client
    method: str
    target: Ping | Read
    first_byte: int | None
    hashed: int = field(repr=False, eq=False)

    @classmethod
    def of(
        cls,
        address: str,
        user_agent: str,
        client: Client,
        method: str,
        target: Ping | Read,
        first_byte: int | None = 0,
    ) -> "Asking":
        """Return a request that comes from this address, with this User-Agent."""
        key = source_of(address), user_agent[:USER_AGENT_LENGTH], "" if isinstance(target, Ping) else target.name
        return cls(key, client, method, target, first_byte, hash((method, _reference(target), first_byte)))

    def hash_with(self, method: str) -> int:
        """Return what this request would be known by, with another method."""
        return hash((method, _reference(self.target), self.first_byte))

    @property
    def subject(self) -> str:
        """What is asked for, as a person writes it."""
        if isinstance(self.target, Ping):
            return "GET /v2/"
        reference = _reference(self.target)
        return f"{self.target.name}{'@' if is_digest(reference) else ':'}{reference}"


@frozen
class Judgement:
    """What a request shows of the ones before it.

    `asked_again`: its client is served. `hint` is a backend whose check should start, empty if there is none.
    `doubted`: the address that was handed out for the blob may be bad. `avoided` is the backend that the blob is better
    not fetched from, empty if there is none.
    """

    asked_again: bool = False
    hint: str = ""
    doubted: bool = False
    avoided: str = ""


NOTHING = Judgement()


@frozen
class Returns:
    """How many clients asked again since the start, and the latest of them, the last one first."""

    count: int = 0
    latest: tuple[Return, ...] = ()


class AskedAgainFollower(Protocol):
    """Tells other processes what this one has noted."""

    def follow_answer(self, asking: Asking, backend: str, redirected: bool, now: float) -> None:
        """Follow what `AskedAgain.note` was called with. It is called for nearly every request."""

    def follow_return(self, key: TraceKey, returned: Return) -> None:
        """Follow that a client asked again, and is served."""


class AskedAgain:
    """Recognises clients that ask again. Call `judge` for each request, and `note` after its answer.

    With a `follower`, other processes can `learn` the same: a client's next request may come to any of them. What they
    asked for is in `traces`.
    """

    follower: AskedAgainFollower | None = None

    def __init__(self) -> None:
        self.traces = PullTraces()
        self._count = 0
        self._latest: deque[Return] = deque(maxlen=SHOWN)

    def judge(self, asking: Asking, serves: bool, now: float) -> Judgement:
        """Return what a request shows of earlier ones. Without `serves`, no client is served because it asked again."""
        if asking.client.takes_token_from_ping and not isinstance(asking.target, Ping):
            self._note_use_of_ping(asking, now)
        trace = self.traces.find(asking.key, now)
        if trace is None:
            return NOTHING
        _note_arrival(asking, trace, now)
        if isinstance(asking.target, Blob):
            return self._judge_blob(asking, trace, serves, now)
        failed = _find_failure(asking, trace, now)
        if failed:
            self._return(asking, trace, serves, now)
        is_served = serves and trace.is_served(now)
        return Judgement(is_served, failed) if is_served or failed else NOTHING

    def note(self, asking: Asking, backend: str, redirected: bool, now: float) -> None:
        """Note that a request was redirected to a backend, or answered with what that backend has."""
        self._record(asking, backend, redirected, now)
        if self.follower is not None:
            trace = self.traces.find(asking.key, now)
            if trace is not None and not isinstance(asking.target, Ping):
                _note_arrival(asking, trace, now)  # others may tell later what came before, also if there was no trace
            self.follower.follow_answer(asking, backend, redirected, now)

    def learn(self, asking: Asking, backend: str, redirected: bool, at: float) -> None:
        """Note what another process has answered, and what the request shows of the ones before it."""
        if asking.client.takes_token_from_ping and not isinstance(asking.target, Ping):
            self._note_use_of_ping(asking, at)
        if (trace := self.traces.find(asking.key, at)) is not None:
            redirected = redirected and at >= trace.progressed  # it may be told later than what followed it
            _note_arrival(asking, trace, at)
            if isinstance(asking.target, Blob):
                self._note_repetition(asking, trace, at)
        self._record(asking, backend, redirected, at)

    def learn_return(self, key: TraceKey, returned: Return) -> None:
        """Serve a client that asked another process again, unless it is served for longer. It is counted by `add`."""
        trace = self.traces.use(key, returned.since)
        if trace.returned is None or returned.until > trace.returned.until:
            _serve(trace, returned, returned.since)

    def _record(self, asking: Asking, backend: str, redirected: bool, now: float) -> None:
        """Note an answer in the trace of its client."""
        match asking.target:
            case Ping() if redirected and asking.client.takes_token_from_ping:
                trace = self.traces.use(asking.key, now)
                if trace.ping is None or now - trace.ping.first > REPEAT_TIME:
                    trace.ping = Pinged(now, backend)
            case ManifestRead() if redirected or asking.method == "GET":
                manifest = self.traces.manifest(asking.key, asking.hashed, not asking.target.is_by_digest, now)
                _note_manifest(asking, manifest, backend, redirected, now)
            case Blob() if asking.first_byte is not None:
                _note_blob(self.traces.blob(asking.key, asking.hashed, now), backend, redirected, now)

    def add(self, count: int, latest: Iterable[Return]) -> None:
        """Count clients that asked another process again. `latest` are the latest of them, in their order."""
        self._count += count
        self._latest.extend(latest)

    def returns(self) -> Returns:
        """Return who asked again, for the status."""
        return Returns(self._count, tuple(reversed(self._latest)))

    def served(self, repository: str, client: Client, now: float) -> tuple[Return, ...]:
        """Return the clients of the same family that are served in a repository, or at their ping, because of it."""
        served = (trace.returned for trace in self.traces.of_repository(repository, now) if trace.is_served(now))
        return tuple(one for one in served if one is not None and one.client.family is client.family)[:SHOWN]

    @property
    def size(self) -> int:
        """The bytes of memory that the requests of clients take."""
        return self.traces.size

    def _note_use_of_ping(self, asking: Asking, now: float) -> None:
        """Note that a client came from its ping to a request for a repository, so it got a token."""
        trace = self.traces.find((*asking.key[:2], ""), now)
        if trace is not None:
            trace.ping = None

    def _judge_blob(self, asking: Asking, trace: PullTrace, serves: bool, now: float) -> Judgement:
        """Judge a request for a blob: the second one in vain is served, the third comes from another backend.

        If it may be the first one of another machine, only blobs are served: their CDN is checked first, and no quota
        of pulls is used.
        """
        assert isinstance(asking.target, Blob)
        blob, is_in_vain = self._note_repetition(asking, trace, now)
        if blob is not None and is_in_vain and blob.was_redirected:
            self._return(asking, trace, serves, now)
        avoided = trace.avoided.get(asking.target.digest)
        return Judgement(
            serves and (trace.is_served(now) or now < trace.blobs_served_until),
            "" if blob is None else blob.backend,
            blob is not None,
            avoided.backend if avoided is not None and now < avoided.until else "",
        )

    def _note_repetition(self, asking: Asking, trace: PullTrace, now: float) -> tuple[BlobTrace | None, bool]:
        """Return the requests for a blob that is asked for again, and whether they were in vain; None if it is not."""
        blob = trace.blobs.get(asking.hashed) if asking.first_byte is not None else None
        if blob is None or not PAUSE <= now - blob.last <= REPEAT_TIME:
            return None, False
        if blob.was_redirected:
            trace.blobs_served_until = now + SERVED
        is_in_vain = blob.requests >= _pulls(trace)
        if is_in_vain:
            blob.doubts += 1
        if is_in_vain and blob.doubts >= DOUBTS and isinstance(asking.target, Blob):
            self.traces.avoid(asking.key, asking.target.digest, Avoided(blob.backend, now + SERVED), now)
        return blob, is_in_vain

    def _return(self, asking: Asking, trace: PullTrace, serves: bool, now: float) -> None:
        """Serve a client for a while, and twice as long after each return."""
        if not serves or trace.is_served(now):
            _serve(trace, trace.returned, now)
            return
        recent = trace.returned is not None and now - trace.returned.until <= MEMORY
        times = trace.returned.times + 1 if trace.returned and recent else 1
        seconds = min(SERVED * 2 ** (min(times, DOUBLINGS) - 1), LONGEST_SERVED)
        source, _, repository = asking.key
        returned = Return(source, asking.client, asking.subject, now, now + seconds, times, repository)
        _serve(trace, returned, now)
        self._count += 1
        self._latest.append(returned)
        if self.follower is not None:
            self.follower.follow_return(asking.key, returned)


def _find_failure(asking: Asking, trace: PullTrace, now: float) -> str:
    """Return the backend of an earlier redirect that failed, as a ping or a request for a manifest shows; else ""."""
    match asking.target:
        case Ping() if trace.ping is not None and PAUSE <= now - trace.ping.first <= REPEAT_TIME:
            return trace.ping.backend
        case ManifestRead() as read:
            manifest = trace.manifests.get(asking.hashed)
            if not read.is_by_digest and asking.client.takes_token_from_ping and asking.method == "GET":
                head = trace.manifests.get(asking.hash_with("HEAD"))
                if head is not None and now - head.last <= MANIFEST_TIME:
                    return head.backend  # Docker asks for the digest after a HEAD that worked
            if manifest is not None and _is_repetition(manifest, asking.client.requests_per_manifest, now):
                return manifest.backend
    return ""


def _is_repetition(manifest: ManifestTrace, usual: int, now: float) -> bool:
    """Return whether one more request is more than the machines send by themselves that asked at once."""
    if manifest.redirects < usual or now - manifest.last > MANIFEST_TIME:
        return False
    machines = manifest.at_once if manifest.at_once > usual else 1
    is_steady = now - manifest.first >= STEADY_PAUSE and manifest.redirects >= usual * machines
    return is_steady or now - manifest.last >= PAUSE


def _note_arrival(asking: Asking, trace: PullTrace, now: float) -> None:
    """Note that a request has come: one for a digest or a blob shows that what came before it has worked."""
    match asking.target:
        case ManifestRead() as read if read.is_by_digest:
            manifest = trace.manifests.get(asking.hashed)
            _note_progress(trace, math.inf if manifest is None else manifest.order)
        case Blob():
            _note_progress(trace, math.inf)
        case _:
            return
    trace.progressed = max(trace.progressed, now)


def _serve(trace: PullTrace, returned: Return | None, now: float) -> None:
    """Serve a client that asked again: what was redirected before counts no more."""
    for manifest in trace.manifests.values():
        manifest.redirects = 0
    trace.ping, trace.returned, trace.progressed = None, returned, max(trace.progressed, now)


def _note_progress(trace: PullTrace, order: float) -> None:
    """Note a request for a digest that came first as the `order`-th: whatever came before it has worked."""
    for manifest in trace.manifests.values():
        if manifest.order < order:
            manifest.redirects = 0


def _note_manifest(asking: Asking, manifest: ManifestTrace, backend: str, redirected: bool, now: float) -> None:
    if asking.method == "GET":
        manifest.gets += 1
    if not redirected:
        return
    if manifest.redirects == 0 or now - manifest.last > MANIFEST_TIME:
        manifest.redirects, manifest.at_once, manifest.first = 0, 0, now
    manifest.redirects += 1
    if now - manifest.first < AT_ONCE:
        manifest.at_once += 1
    manifest.last, manifest.backend = now, backend


def _note_blob(blob: BlobTrace, backend: str, redirected: bool, now: float) -> None:
    if now - blob.last > REPEAT_TIME:
        blob.doubts = 0
    blob.requests += 1
    blob.last, blob.backend, blob.was_redirected = now, backend, redirected


def _pulls(trace: PullTrace) -> int:
    """Return how many machines pulled an image: each asks once for each manifest and each blob."""
    return max((manifest.gets for manifest in trace.manifests.values()), default=1) or 1


def _reference(target: Ping | Read) -> str:
    """Return the tag or the digest that a request names; empty if it names none."""
    if isinstance(target, ManifestRead):
        return target.reference
    return target.digest if isinstance(target, Blob) else ""
