"""The ladder: the steps of a probe, in the order in which a pull needs them.

The steps and their expected responses:
1. `GET /v2/`: 200, or 401 with a challenge.
2. A new token from the challenge's realm, for the canary if there is one. Skipped for a registry without a token
   server.
3. `HEAD` of the canary's manifest: 200.
4. `GET` of the canary's smallest blob: a redirect, and one byte from its target. Only every `deep_interval`.

One timeout applies to steps 1 to 3 together, and one to step 4.
"""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from facaded.backends.authorized_client import read_quota
from facaded.backends.failures import RealmError, describe_status
from facaded.backends.manifests import EVERY_TYPE, MANIFEST_SIZE, digest_of, find_smallest_blob
from facaded.backends.tokens import build_token_url, read_token
from facaded.net.client import (
    REDIRECTS,
    BoundedClient,
    LocationError,
    Response,
    ResponseHead,
    StreamedResponse,
    describe_error,
)
from facaded.net.connections import fresh_client
from facaded.net.reactor import INetworkReactor
from facaded.net.text import printable
from facaded.oci import indexes, www_authenticate
from facaded.oci.requests import Blob, Image, ManifestRead, is_digest
from facaded.oci.www_authenticate import Challenge
from facaded.policy import health
from facaded.policy.health import Canary, ProbeDepth, Quota, Result, Step, Verdict

BODY_SIZE = 64 << 10
"""Largest response to a probe in bytes: error documents and tokens have a few kilobytes."""

PING_STATUSES = (200, 401)
"""Statuses of a working registry's response to `GET /v2/`."""

HOPS = 5
"""Redirects that are followed for a blob; clients follow ten."""

ONE_BYTE = {"Range": "bytes=0-0"}

Probe = Callable[[ProbeDepth], Deferred[Result]]


class StepFailedError(Exception):
    """A step of the ladder failed. `retry_after` is in seconds, 0 without a Retry-After."""

    def __init__(self, verdict: Verdict, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.verdict = verdict
        self.reason = reason
        self.retry_after = retry_after


class _DriftError(Exception):
    """The canary is not as expected, although the backend works. The text says why."""


@define
class CanaryBlob:
    """The digests of the canary's smallest blob and of its manifest, remembered between deep probes."""

    manifest: str = ""
    digest: str = ""


@frozen
class ProbeTarget:
    """The registry to probe, its canary if there is one, and the timeout in seconds.

    `has_account` is True if facaded serves with its own account, so that the address's own quota does not matter.
    """

    registry: BoundedClient
    canary: Image | None
    timeout: float
    has_account: bool = False
    canary_blob: CanaryBlob = field(factory=CanaryBlob)


def build_probe(
    reactor: INetworkReactor, url: str, ca_file: Path | None, canary: Image | None, timeout: float, has_account: bool
) -> Probe:
    """Return a function that probes the registry at `url` once. Raises as `connections.trust_policy` does."""
    target = ProbeTarget(fresh_client(reactor, url, ca_file, timeout), canary, timeout, has_account)
    return lambda depth: Deferred.fromCoroutine(probe(target, depth, reactor))


async def probe(target: ProbeTarget, depth: ProbeDepth, clock: IReactorTime) -> Result:
    """Climb the ladder once and return the result. The timeout applies to steps 1 to 3, and again to step 4.

    Does not raise. The result of a probe that the caller cancels has no meaning.
    """
    ladder = _Ladder(target.registry, target.canary, depth, target.canary_blob)
    start = clock.seconds()

    async def with_timeout(steps: Coroutine[Deferred[Any], Any, str]) -> str:
        return await Deferred.fromCoroutine(steps).addTimeout(target.timeout, clock)

    verdict, retry_after = Verdict.GOOD, 0.0
    try:
        reason = await with_timeout(ladder.climb())
        if depth.deep and ladder.canary_exists:
            reason = await with_timeout(ladder.climb_to_blob())
    except _DriftError as drift:
        reason, ladder.drift = str(drift), str(drift)
    except StepFailedError as failure:
        verdict, reason, retry_after = failure.verdict, failure.reason, failure.retry_after
    except Exception as error:
        verdict, reason = Verdict.BAD, describe_error(error)
    step, quota = ladder.step, ladder.quota
    if verdict is Verdict.GOOD and quota is not None and quota.remaining == 0 and not target.has_account:
        verdict, step, reason = Verdict.LIMITED, Step.MANIFEST, "no pulls left"
    result = Result(verdict, step, reason, clock.seconds() - start, retry_after, ladder.requests)
    return evolve(result, canary=ladder.observed_canary, quota=quota, deep=depth.deep)


@define
class _Ladder:
    """One climb: `step` is the step in progress, and the fields after it are what the climb has learned."""

    registry: BoundedClient
    canary: Image | None
    depth: ProbeDepth
    canary_blob: CanaryBlob
    step: Step = field(default=Step.PING, init=False)
    requests: int = field(default=0, init=False)
    canary_exists: bool = field(default=False, init=False)
    digest: str = field(default="", init=False)
    drift: str = field(default="", init=False)
    quota: Quota | None = field(default=None, init=False)
    authorization: str = field(default="", init=False)

    @property
    def observed_canary(self) -> Canary | None:
        """What the climb learned about the canary; None if it did not get that far."""
        return Canary(self.canary_exists, self.digest, self.drift) if self.canary_exists or self.drift else None

    async def climb(self) -> str:
        """Climb steps 1 to 3, and return what the last one found."""
        response = await self._request(
            "GET", f"{self.registry.url}/v2/", {}, accept=lambda status: status in PING_STATUSES
        )
        reason = "no authentication required"
        if response.status == 401:
            values = response.values("WWW-Authenticate")
            challenges = [challenge for value in values for challenge in www_authenticate.parse(value)]
            if not challenges:
                raise StepFailedError(Verdict.BAD, "401 without a WWW-Authenticate challenge")
            reason = printable(f"requires {challenges[0].scheme} authentication")
            bearer = next((challenge for challenge in challenges if challenge.scheme == "bearer"), None)
            if bearer is not None:
                self.step = Step.TOKEN
                reason = await self._obtain_token(bearer)
        return await self._check_manifest(self.canary) if self.canary else reason

    async def climb_to_blob(self) -> str:
        """Climb step 4, and return what it found."""
        assert self.canary is not None
        self.step = Step.BLOB
        if not self.digest or self.canary_blob.manifest != self.digest:
            await self._find_blob(self.canary)
        url = self._url(Blob(self.canary.name, self.canary_blob.digest))
        response = await self._open(url)
        if response.status == 404:
            raise _DriftError("a blob of the canary is missing")
        if response.status in REDIRECTS:
            response = await self._follow(url, response)
        if response.status not in (200, 206):
            raise _step_failed(response, "CDN: ")
        return "all steps passed"

    async def _obtain_token(self, bearer: Challenge) -> str:
        scope = f"repository:{self.canary.name}:pull" if self.canary else None
        try:
            url = build_token_url(bearer, self.registry.url, scope)
        except RealmError as error:
            raise StepFailedError(Verdict.BAD, str(error)) from None
        headers = {"Accept": "application/json"}
        response = await self._request("GET", url, headers, accept=lambda status: status < 500)
        if response.status != 200 and self.canary is None:
            return describe_status(response)
        if response.status != 200:
            raise self._canary_refused(response.status, "token server ")
        token = read_token(response)
        if token is None:
            raise StepFailedError(Verdict.BAD, "no token in the response")
        self.authorization = f"Bearer {token[0]}"
        return "token granted"

    async def _check_manifest(self, canary: Image) -> str:
        self.step = Step.MANIFEST
        url = self._url(ManifestRead(canary.name, canary.reference))
        headers = self._authorized({"Accept": EVERY_TYPE.value})
        response = await self._request("HEAD", url, headers, accept=lambda status: status < 500)
        if response.status != 200:
            raise self._canary_refused(response.status)
        self.canary_exists = True
        digest = response.value("Docker-Content-Digest")
        self.digest = digest if is_digest(digest) else ""
        self.quota = read_quota(response)
        return "manifest found"

    async def _find_blob(self, canary: Image) -> None:
        """Find the smallest blob in the canary's manifest; if that is an index, in its first platform's manifest."""
        body = await self._fetch_manifest(canary.name, self.digest or canary.reference)
        digest = digest_of(body)
        for entry in (indexes.read(body) or ())[:1]:
            body = await self._fetch_manifest(canary.name, entry.digest)
        blob = find_smallest_blob(body)
        if blob is None:
            raise _DriftError("the canary's manifest lists no blob")
        self.digest = self.digest or digest
        self.canary_blob.manifest, self.canary_blob.digest = self.digest, blob

    async def _fetch_manifest(self, name: str, reference: str) -> bytes:
        url, headers = self._url(ManifestRead(name, reference)), self._authorized({"Accept": EVERY_TYPE.value})
        response = await self._request(
            "GET", url, headers, accept=lambda status: status in (200, 404), limit=MANIFEST_SIZE
        )
        if response.status == 404:
            raise _DriftError("a manifest of the canary is missing")
        if is_digest(reference) and digest_of(response.body, reference.partition(":")[0]) != reference:
            raise StepFailedError(Verdict.BAD, "manifest does not match its digest")
        return response.body

    async def _follow(self, url: str, response: StreamedResponse) -> StreamedResponse:
        """Follow a blob's redirects, as clients do."""
        for _ in range(HOPS):
            try:
                url = self.registry.location(url, response.value("Location"))
            except LocationError as error:
                raise StepFailedError(Verdict.BAD, str(error)) from None
            response = await self._open(url)
            if response.status not in REDIRECTS:
                break
        return response

    async def _open(self, url: str) -> StreamedResponse:
        """Request one byte, and return the response without its body. Only the registry's own host gets the token."""
        self.requests += 1
        is_own = self.registry.is_own(url)
        response = await self.registry.open("GET", url, self._authorized(ONE_BYTE) if is_own else ONE_BYTE)
        response.abandon()
        if is_own and response.status not in (*REDIRECTS, 200, 206, 404):
            raise _step_failed(response)
        return response

    async def _request(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        accept: Callable[[int], bool],
        limit: int = BODY_SIZE,
    ) -> Response:
        self.requests += 1
        response = await self.registry.ask(method, url, headers=headers, limit=limit)
        if response.status == 429 or not accept(response.status):
            raise _step_failed(response)
        return response

    def _authorized(self, headers: dict[str, str]) -> dict[str, str]:
        """Return headers with the token, which only the registry's own host may receive."""
        return {**headers, "Authorization": self.authorization} if self.authorization else headers

    def _url(self, read: ManifestRead | Blob) -> str:
        return f"{self.registry.url}{read.path}"

    def _canary_refused(self, status: int, subject: str = "") -> StepFailedError | _DriftError:
        """Return the error for a canary that the backend does not serve: drift, or a failed step."""
        if health.judge_refusal(status, self.depth.canary_seen) is Verdict.GOOD:
            return _DriftError(f"{subject}answered {status} for the canary")  # also shown without the step's name
        return StepFailedError(Verdict.BAD, f"answered {status} for the canary, which it served before")


def _step_failed(head: ResponseHead, prefix: str = "") -> StepFailedError:
    verdict = Verdict.LIMITED if head.status == 429 else Verdict.BAD
    return StepFailedError(verdict, f"{prefix}{describe_status(head)}", head.retry_after())
