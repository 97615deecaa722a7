"""The ladder: the steps of a probe, in the order in which a pull needs them.

The steps and their expected responses:
1. `GET /v2/`: 200 with nothing or a JSON object, or 401 with a challenge.
2. A new token from the challenge's realm, for the canary if there is one. Skipped for a registry without a token
   server.
3. `HEAD` of the canary's manifest: 200 with the media type of a manifest and a digest. Without a digest, `GET`.
4. `GET` of the canary's manifest by its digest: if the depth says so, or to find the smallest blob of a new canary.
5. `GET` of the canary's smallest blob: a redirect. Only every `deep_interval`, as step 6.
6. One byte from the redirect's target, the CDN.

One timeout applies to steps 1 to 3 together, and to step 4 if the depth says so; another one to the rest. A step that
fails is confirmed by more requests, which have a timeout of their own.
"""

from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from attrs import define, evolve, field, frozen
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from facaded.backends import manifest_steps
from facaded.backends.blob_steps import climb_to_cdn
from facaded.backends.failures import RealmError, describe_status, is_cancelled
from facaded.backends.manifests import digest_of, find_smallest_blob
from facaded.backends.probe_requests import (
    DriftError,
    ProbeRequests,
    Question,
    StepFailedError,
    failed_step,
    unexpected_content,
)
from facaded.backends.tokens import build_token_url, read_token
from facaded.net.client import Response, describe_error, is_local_error
from facaded.net.connections import ClientSession, session_opener
from facaded.net.json_objects import is_json
from facaded.net.reactor import INetworkReactor
from facaded.net.text import printable
from facaded.oci import indexes, www_authenticate
from facaded.oci.requests import Blob, Image
from facaded.oci.www_authenticate import Challenge
from facaded.policy.health import Canary, ProbeDepth, Quota, Result, Step, Verdict

BODY_SIZE = 64 << 10
"""Largest response to a probe in bytes: error documents and tokens have a few kilobytes."""

Probe = Callable[[ProbeDepth], Deferred[Result]]


@define
class CanaryBlob:
    """The digests of the canary's smallest blob and of its manifest, remembered between deep probes."""

    manifest: str = ""
    digest: str = ""


@frozen
class ProbeTarget:
    """The registry at `url` to probe, its canary if there is one, and the timeout in seconds.

    `open_session` returns a client with connections of its own. `has_account` is True if facaded serves with its own
    account, so that the address's own quota does not matter.
    """

    url: str
    open_session: Callable[[], ClientSession]
    canary: Image | None
    timeout: float
    has_account: bool = False
    canary_blob: CanaryBlob = field(factory=CanaryBlob)


def build_probe(
    reactor: INetworkReactor, url: str, ca_file: Path | None, canary: Image | None, timeout: float, has_account: bool
) -> Probe:
    """Return a function that probes the registry at `url` once. Raises as `connections.trust_policy` does."""
    target = ProbeTarget(url, session_opener(reactor, url, ca_file, timeout), canary, timeout, has_account)
    return lambda depth: Deferred.fromCoroutine(probe(target, depth, reactor))


async def probe(target: ProbeTarget, depth: ProbeDepth, clock: IReactorTime) -> Result:
    """Climb the ladder once and return the result. No connection stays open.

    Does not raise. The result of a probe that the caller cancels has no meaning.
    """
    session = target.open_session()
    try:
        requests = ProbeRequests(target.url, target.open_session, session)
        ladder = _Ladder(requests, target.canary, depth, target.canary_blob)
        result, can_be_confirmed = await _climb_with_timeouts(ladder, target, clock)
        if depth.confirm and can_be_confirmed:
            confirmations = await requests.confirm(clock)
            result = evolve(result, confirmations=confirmations, requests=requests.sent)
        return result
    finally:
        await session.close()


async def _climb_with_timeouts(ladder: "_Ladder", target: ProbeTarget, clock: IReactorTime) -> tuple[Result, bool]:
    """Return the result without confirmations, and whether it can be confirmed: it is bad, and nobody cancelled it."""
    start = clock.seconds()

    async def with_timeout(steps: Coroutine[Deferred[Any], Any, str]) -> str:
        return await Deferred.fromCoroutine(steps).addTimeout(target.timeout, clock, onTimeoutCancel=_raise_timeout)

    verdict, retry_after, was_cancelled = Verdict.GOOD, 0.0, False
    try:
        reason = await with_timeout(ladder.climb())
        if ladder.leads_to_blob:
            reason = await with_timeout(ladder.climb_to_blob())
    except StepFailedError as failure:
        verdict, reason, retry_after = failure.verdict, failure.reason, failure.retry_after
    except Exception as error:
        verdict = Verdict.LOCAL if is_local_error(error) else Verdict.BAD
        reason, was_cancelled = describe_error(error), is_cancelled(error)
    requests, quota = ladder.requests, ladder.quota
    step, can_be_confirmed = requests.step, verdict is Verdict.BAD and not was_cancelled
    if verdict is Verdict.GOOD and quota is not None and quota.remaining == 0 and not target.has_account:
        verdict, step, reason = Verdict.LIMITED, Step.MANIFEST, "no pulls left"
    result = Result(verdict, step, reason, clock.seconds() - start, retry_after, requests.sent)
    learned = evolve(result, canary=ladder.observed_canary, quota=quota, deep=ladder.depth.deep)
    return evolve(learned, passed=tuple(requests.passed)), can_be_confirmed


def _raise_timeout(outcome: object, seconds: float) -> NoReturn:
    """Raise the same error at every stage of a request, so that a timeout is not mistaken for the caller's cancel.

    A look-up that hangs keeps its own error, which says more.
    """
    if isinstance(outcome, Failure) and outcome.check(DNSLookupError):
        outcome.raiseException()
    raise defer.TimeoutError(seconds, "probe")


@define
class _Ladder:
    """One climb. The fields after `canary_blob` are what it has learned."""

    requests: ProbeRequests
    canary: Image | None
    depth: ProbeDepth
    canary_blob: CanaryBlob
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
        is_remembered = self.is_deleted and bool(self.canary_blob.digest)
        return self.depth.deep and (is_remembered or (self.canary_exists and not self.drift))

    async def climb(self) -> str:
        """Climb to the canary's manifest, and return what the last step found. Drift ends the climb."""
        try:
            reason = await self._authenticate()
            return await self._check_manifest(self.canary) if self.canary else reason
        except DriftError as drift:
            self.is_deleted = self.requests.step is Step.MANIFEST and drift.status == 404
            self.drift = str(drift)
            return self.drift

    async def climb_to_blob(self) -> str:
        """Climb to the canary's blob and the CDN, and return what the last step found."""
        assert self.canary is not None
        canary_seen = self.depth.canary_seen and not self.is_deleted
        try:
            if not self.is_deleted and (not self.digest or self.canary_blob.manifest != self.digest):
                await self._find_blob(self.canary)
            await climb_to_cdn(self.requests, Blob(self.canary.name, self.canary_blob.digest), canary_seen)
        except DriftError as drift:
            if self.is_deleted:
                self.requests.step = Step.MANIFEST
            self.drift = self.drift or str(drift)
        return self.drift or "all steps passed"

    async def _authenticate(self) -> str:
        """Climb steps 1 and 2."""
        url = f"{self.requests.url}/v2/"
        challenges = await self.requests.ask(Question("GET", url, {}, _judge_ping, BODY_SIZE))
        self.requests.end()
        if not challenges:
            return "no authentication required"
        bearer = next((challenge for challenge in challenges if challenge.scheme == "bearer"), None)
        if bearer is None:
            return printable(f"requires {challenges[0].scheme} authentication")
        self.requests.begin(Step.TOKEN)
        reason = await self._obtain_token(bearer)
        self.requests.end()
        return reason

    async def _obtain_token(self, bearer: Challenge) -> str:
        scope = f"repository:{self.canary.name}:pull" if self.canary else None
        try:
            url = build_token_url(bearer, self.requests.url, scope)
        except RealmError as error:
            raise StepFailedError(Verdict.BAD, str(error)) from None
        judge = partial(_judge_token, self.canary is not None, self.depth.canary_seen)
        token, reason = await self.requests.ask(Question("GET", url, {"Accept": "application/json"}, judge, BODY_SIZE))
        self.requests.authorization = f"Bearer {token}" if token else ""
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
        requests.end()
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
        self.canary_blob.manifest, self.canary_blob.digest = self.digest, blob
        self.requests.end()


def _judge_ping(response: Response) -> tuple[Challenge, ...]:
    """Return the challenges; none if the registry requires no authentication."""
    if response.status == 200:
        if response.body.strip() and not is_json(response.body):
            raise unexpected_content(response, "registry")
        return ()
    if response.status != 401:
        raise failed_step(response)
    values = response.values("WWW-Authenticate")
    challenges = tuple(challenge for value in values for challenge in www_authenticate.parse(value))
    if not challenges:
        raise StepFailedError(Verdict.BAD, "401 without a WWW-Authenticate challenge")
    return challenges


def _judge_token(has_canary: bool, canary_seen: bool, response: Response) -> tuple[str, str]:
    """Return the token and what is said about it. Without a canary, a refusal is good: the token server works."""
    if response.status == 429 or response.status >= 500:
        raise failed_step(response)
    if response.status != 200 and has_canary:
        raise manifest_steps.refuse_canary(Step.TOKEN, response.status, canary_seen, "token server ")
    if response.status != 200:
        return "", describe_status(response)
    token = read_token(response)
    if token is None:
        raise StepFailedError(Verdict.BAD, "no token in the response")
    return token[0], "token granted"
