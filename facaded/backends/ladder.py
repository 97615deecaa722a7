"""The ladder: the steps of a probe, in the order in which a pull needs them.

The steps and their expected responses:
1. `GET /v2/`: 200 with nothing or a JSON object, or 401 with a challenge.
2. A new token from the challenge's realm, for the canary if there is one. Skipped for a registry without a token
   server.
3. `HEAD` of the canary's manifest: 200 with the media type of a manifest and a digest. Without a digest, `GET`.
4. `GET` of the canary's manifest by its digest: if the depth says so, or to find the smallest blob of a new canary.
5. `GET` of the canary's smallest blob: a redirect. Only every `deep_interval`, as step 6.
6. One byte from the redirect's target, the CDN.

Each request has a timeout. A step that fails is confirmed by more requests, which have a timeout of their own.
"""

from collections.abc import Callable
from pathlib import Path

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from facaded.backends import manifest_steps
from facaded.backends.access_steps import ask_ping, ask_token, find_bearer
from facaded.backends.blob_steps import climb_to_cdn
from facaded.backends.manifests import digest_of, find_smallest_blob
from facaded.backends.probe_requests import DriftError, ProbeRequests
from facaded.backends.probe_target import (
    AFTER_MANIFEST,
    ProbeTarget,
    StepOutcome,
    build_target,
    is_used_up,
    judge_error,
)
from facaded.net.reactor import INetworkReactor
from facaded.net.text import printable
from facaded.oci import indexes
from facaded.oci.requests import Blob, Image
from facaded.policy.health import Canary, ProbeDepth, Quota, Result, Step, Verdict

Probe = Callable[[ProbeDepth], Deferred[Result]]


def build_probe(
    reactor: INetworkReactor, url: str, ca_file: Path | None, canary: Image | None, timeout: float, has_account: bool
) -> Probe:
    """Return a function that probes the registry at `url` once. Raises as `connections.trust_policy` does."""
    target = build_target(reactor, url, ca_file, canary, timeout, has_account)
    return lambda depth: Deferred.fromCoroutine(probe(target, depth, reactor))


async def probe(target: ProbeTarget, depth: ProbeDepth, clock: IReactorTime) -> Result:
    """Climb the ladder once and return the result. No connection stays open.

    Does not raise. The result of a probe that the caller cancels has no meaning.
    """
    session = target.open_session()
    try:
        requests = target.begin(session, clock)
        ladder = _Ladder(requests, target, depth)
        result, can_be_confirmed = await _climb_ladder(ladder, target, clock)
        if depth.confirm and can_be_confirmed:
            confirmations = await requests.confirm()
            result = evolve(result, confirmations=confirmations, requests=requests.sent)
        return result
    finally:
        await session.close()


async def _climb_ladder(ladder: "_Ladder", target: ProbeTarget, clock: IReactorTime) -> tuple[Result, bool]:
    """Return the result without confirmations, and whether it can be confirmed: it is bad, and nobody cancelled it."""
    start, requests = clock.seconds(), ladder.requests
    try:
        outcome = await ladder.climb()
        if ladder.leads_to_blob:
            outcome = await ladder.climb_to_blob()
    except Exception as error:
        outcome = judge_error(error)
    target.note_outcome(outcome, requests.step, clock.seconds())
    step, latency = requests.step, clock.seconds() - start
    if outcome.verdict is Verdict.GOOD and is_used_up(ladder.quota, target):
        outcome, step = StepOutcome(Verdict.LIMITED, "no pulls left"), Step.MANIFEST
    result = Result(outcome.verdict, step, outcome.reason, latency, outcome.retry_after, requests.sent)
    learned = evolve(result, canary=ladder.observed_canary, quota=ladder.quota, deep=ladder.depth.deep)
    return evolve(learned, passed=tuple(requests.passed), durations=requests.durations), outcome.can_be_confirmed


@define
class _Ladder:
    """One climb. The fields after `depth` are what it has learned."""

    requests: ProbeRequests
    target: ProbeTarget
    depth: ProbeDepth
    canary_exists: bool = field(default=False, init=False)
    is_deleted: bool = field(default=False, init=False)
    digest: str = field(default="", init=False)
    body: bytes | None = field(default=None, init=False)
    drift: str = field(default="", init=False)
    quota: Quota | None = field(default=None, init=False)

    @property
    def observed_canary(self) -> Canary | None:
        """What the climb learned about the canary; None if it did not get that far."""
        return Canary(self.canary_exists, self.digest, self.drift) if self.canary_exists or self.drift else None

    @property
    def leads_to_blob(self) -> bool:
        """Whether the climb goes on to the blob: a canary that was deleted must not hide a failing CDN."""
        is_remembered = self.is_deleted and bool(self.target.memory.blob)
        return self.depth.deep and (is_remembered or (self.canary_exists and not self.drift))

    async def climb(self) -> StepOutcome:
        """Climb to the canary's manifest, and return what the last step found. Drift ends the climb."""
        try:
            reason = await self._authenticate()
            if self.target.canary:
                reason = await self._check_manifest(self.target.canary)
        except DriftError as drift:
            self.is_deleted = self.requests.step is Step.MANIFEST and drift.status == 404
            self.drift = str(drift)
            return judge_error(drift)
        return StepOutcome(Verdict.GOOD, reason)

    async def climb_to_blob(self) -> StepOutcome:
        """Climb to the canary's blob and the CDN, and return what the last step found."""
        canary, memory = self.target.canary, self.target.memory
        assert canary is not None
        canary_seen = self.depth.canary_seen and not self.is_deleted
        try:
            is_known = bool(memory.blob) and memory.manifest == self.digest
            if not (self.is_deleted or is_known):
                await self._find_blob(canary)
            await climb_to_cdn(self.requests, Blob(canary.name, memory.blob), canary_seen)
        except DriftError as drift:
            self.requests.note_pass(*AFTER_MANIFEST)
            if self.is_deleted:
                self.requests.step = Step.MANIFEST
            self.drift = self.drift or str(drift)
        return StepOutcome(Verdict.GOOD, self.drift or "all steps passed", drift=self.drift)

    async def _authenticate(self) -> str:
        """Climb steps 1 and 2."""
        requests, target = self.requests, self.target
        challenges = await ask_ping(requests)
        bearer = find_bearer(challenges)
        target.memory.challenges = challenges
        if bearer is None:
            requests.end(Step.TOKEN, *target.after_token)
            scheme = printable(challenges[0].scheme) if challenges else ""
            return f"requires {scheme} authentication" if scheme else "no authentication required"
        requests.end()
        requests.begin(Step.TOKEN)
        reason = await ask_token(requests, bearer, target.canary, self.depth.canary_seen)
        target.memory.authorization = requests.authorization
        requests.end(*target.after_token)
        return reason

    async def _check_manifest(self, canary: Image) -> str:
        """Climb step 3, and step 4 if the depth says so."""
        requests, canary_seen = self.requests, self.depth.canary_seen
        requests.begin(Step.MANIFEST)
        head = await manifest_steps.ask_head(requests, canary, canary_seen)
        self.digest, self.quota = head.digest, head.quota
        if not head.digest:
            self.body = await manifest_steps.fetch_tag(requests, canary, canary_seen)
            self.digest = digest_of(self.body)
        self.canary_exists = True
        requests.end(*self.target.after_manifest)
        if not self.depth.body:
            return "manifest found"
        requests.begin(Step.BODY)
        await self._fetch_body(canary)
        requests.end()
        return "manifest fetched"

    async def _fetch_body(self, canary: Image) -> bytes:
        if self.body is None:
            self.body = await manifest_steps.fetch_body(self.requests, canary.name, self.digest, self.depth.canary_seen)
        return self.body

    async def _find_blob(self, canary: Image) -> None:
        """Find the smallest blob in the canary's manifest; if that is an index, in its first platform's manifest."""
        self.requests.begin(Step.BODY)
        body = await self._fetch_body(canary)
        for entry in (indexes.read(body) or ())[:1]:
            body = await manifest_steps.fetch_body(self.requests, canary.name, entry.digest, self.depth.canary_seen)
        blob = find_smallest_blob(body)
        if blob is None:
            raise DriftError("the canary's manifest lists no blob")
        self.target.memory.manifest, self.target.memory.blob = self.digest, blob
        self.requests.end()
