"""The ladder: the steps of a probe, each of which a pull needs, and what one climb finds.

The steps, and what is good at each:
1. `GET /v2/`: 200, or 401 with a challenge.
2. a fresh token from the challenge's realm, for the canary if there is one. A registry without a token server has
no such step.
3. `HEAD` of the canary's manifest: 200.
4. `GET` of the canary's smallest blob: a redirect, and one byte at the place it leads to. Only now and then.

Steps 1 to 3 together are bounded in time, and step 4 by itself.
"""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from facaded.backends.manifests import EVERY_TYPE, MANIFEST_SIZE, digest_of, smallest_blob
from facaded.backends.tokens import RealmError, read_quota, read_token, token_url
from facaded.net.client import REDIRECTS, BoundedClient, LocationError, Response, ResponseHead, StreamedResponse, reason
from facaded.net.connections import fresh_client
from facaded.net.reactor import INetworkReactor
from facaded.net.text import printable
from facaded.oci import indexes, www_authenticate
from facaded.oci.requests import Blob, Image, ManifestRead, is_digest
from facaded.oci.www_authenticate import Challenge
from facaded.policy import health
from facaded.policy.health import Canary, ProbeDepth, Quota, Result, Step, Verdict

BODY_SIZE = 64 << 10
"""Bytes read of an answer to a probe: error documents and tokens have a few kilobytes."""

WORKING = (200, 401)

HOPS = 5
"""Redirects of a blob that are followed; clients follow ten."""

ONE_BYTE = {"Range": "bytes=0-0"}

Probe = Callable[[ProbeDepth], Deferred[Result]]


class StepFailed(Exception):  # noqa: N818
    """A step of the ladder was not good."""

    def __init__(self, verdict: Verdict, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.verdict = verdict
        self.reason = reason
        self.retry_after = retry_after


class _Absent(Exception):  # noqa: N818
    """The canary is not as it should be, and the backend is not at fault: drift. The text says how."""


@define
class Known:
    """What is remembered from one deep probe to the next: the smallest blob of the manifest with this digest."""

    digest: str = ""
    blob: str = ""


@frozen
class Probed:
    """What is probed: a registry, by its canary if there is one, within `timeout` seconds.

    `has_account`: what is served is asked with an account of the facade's own, so that it does not matter when the
    pulls of this machine's address are used up.
    """

    registry: BoundedClient
    canary: Image | None
    timeout: float
    has_account: bool = False
    known: Known = field(factory=Known)


def prober_of(
    reactor: INetworkReactor, url: str, ca_file: Path | None, canary: Image | None, timeout: float, has_account: bool
) -> Probe:
    """Return a function that makes one probe of the registry at `url`. Raises as `connections.trust_policy` does."""
    probed = Probed(fresh_client(reactor, url, ca_file, timeout), canary, timeout, has_account)
    return lambda climb: Deferred.fromCoroutine(probe(probed, climb, reactor))


async def probe(probed: Probed, climb: ProbeDepth, clock: IReactorTime) -> Result:
    """ProbeDepth the ladder once, and say what was found. The time-out is for steps 1 to 3, and again for step 4.

    Does not raise; what a probe that was cancelled from outside returns means nothing.
    """
    ladder = _Ladder(probed.registry, probed.canary, climb, probed.known)
    begun = clock.seconds()

    async def within(steps: Coroutine[Deferred[Any], Any, str]) -> str:
        return await Deferred.fromCoroutine(steps).addTimeout(probed.timeout, clock)

    verdict, retry_after = Verdict.GOOD, 0.0
    try:
        found = await within(ladder.climb())
        if climb.deep and ladder.found:
            found = await within(ladder.climb_to_blob())
    except _Absent as absent:
        found, ladder.drift = str(absent), str(absent)
    except StepFailed as failed:
        verdict, found, retry_after = failed.verdict, failed.reason, failed.retry_after
    except Exception as error:
        verdict, found = Verdict.BAD, reason(error)
    step, quota = ladder.step, ladder.quota
    if verdict is Verdict.GOOD and quota is not None and quota.remaining == 0 and not probed.has_account:
        verdict, step, found = Verdict.LIMITED, Step.MANIFEST, "no pulls left"
    result = Result(verdict, step, found, clock.seconds() - begun, retry_after, ladder.requests)
    return evolve(result, canary=ladder.canary_seen, quota=quota, deep=climb.deep)


@define
class _Ladder:
    """One climb; `step` is where it has got to, and the rest what it has learned."""

    registry: BoundedClient
    canary: Image | None
    how: ProbeDepth
    known: Known
    step: Step = field(default=Step.PING, init=False)
    requests: int = field(default=0, init=False)
    found: bool = field(default=False, init=False)
    digest: str = field(default="", init=False)
    drift: str = field(default="", init=False)
    quota: Quota | None = field(default=None, init=False)
    authorization: str = field(default="", init=False)

    @property
    def canary_seen(self) -> Canary | None:
        return Canary(self.found, self.digest, self.drift) if self.found or self.drift else None

    async def climb(self) -> str:
        """Steps 1 to 3."""
        answer = await self._ask("GET", f"{self.registry.url}/v2/", {}, accept=lambda status: status in WORKING)
        found = "answers without a token"
        if answer.status == 401:
            challenges = [each for value in answer.values("WWW-Authenticate") for each in www_authenticate.parse(value)]
            if not challenges:
                raise StepFailed(Verdict.BAD, "401 without a challenge")
            found = printable(f"wants {challenges[0].scheme} authentication")
            bearer = next((each for each in challenges if each.scheme == "bearer"), None)
            if bearer is not None:
                self.step = Step.TOKEN
                found = await self._token(bearer)
        return await self._manifest(self.canary) if self.canary else found

    async def climb_to_blob(self) -> str:
        """Step 4."""
        assert self.canary is not None
        self.step = Step.BLOB
        if not self.digest or self.known.digest != self.digest:
            await self._learn_blob(self.canary)
        url = self._url(Blob(self.canary.name, self.known.blob))
        opened = await self._open(url)
        if opened.status == 404:
            raise _Absent("a blob of the canary is not there")
        if opened.status in REDIRECTS:
            opened = await self._follow(url, opened)
        if opened.status not in (200, 206):
            raise _failed(opened, "the CDN answered")
        return "blob found"

    async def _token(self, bearer: Challenge) -> str:
        scope = f"repository:{self.canary.name}:pull" if self.canary else None
        try:
            url = token_url(bearer, self.registry.url, scope)
        except RealmError as error:
            raise StepFailed(Verdict.BAD, str(error)) from None
        accept = {"Accept": "application/json"}
        answer = await self._ask("GET", url, accept, accept=lambda status: status < 500)
        if answer.status != 200 and self.canary is None:
            return f"token server answers {answer.status}"
        if answer.status != 200:
            raise self._refused(answer.status, "the token server answers")
        token = read_token(answer)
        if token is None:
            raise StepFailed(Verdict.BAD, "200 without a token")
        self.authorization = f"Bearer {token[0]}"
        return "token granted"

    async def _manifest(self, canary: Image) -> str:
        self.step = Step.MANIFEST
        url = self._url(ManifestRead(canary.name, canary.reference))
        answer = await self._ask(
            "HEAD", url, self._own({"Accept": EVERY_TYPE.value}), accept=lambda status: status < 500
        )
        if answer.status != 200:
            raise self._refused(answer.status, "answered")
        self.found = True
        digest = answer.value("Docker-Content-Digest")
        self.digest = digest if is_digest(digest) else ""
        self.quota = read_quota(answer)
        return "manifest found"

    async def _learn_blob(self, canary: Image) -> None:
        """Read the canary's manifest, and of an index its first platform's too, for the smallest blob."""
        body = await self._body(canary.name, self.digest or canary.reference)
        digest = digest_of(body)
        for entry in (indexes.read(body) or ())[:1]:
            body = await self._body(canary.name, entry.digest)
        blob = smallest_blob(body)
        if blob is None:
            raise _Absent("the canary's manifest names no blob")
        self.digest = self.digest or digest
        self.known.digest, self.known.blob = self.digest, blob

    async def _body(self, name: str, reference: str) -> bytes:
        url, headers = self._url(ManifestRead(name, reference)), self._own({"Accept": EVERY_TYPE.value})
        answer = await self._ask("GET", url, headers, accept=lambda status: status in (200, 404), limit=MANIFEST_SIZE)
        if answer.status == 404:
            raise _Absent("a manifest of the canary is not there")
        if is_digest(reference) and digest_of(answer.body, reference.partition(":")[0]) != reference:
            raise StepFailed(Verdict.BAD, "a manifest with a wrong digest")
        return answer.body

    async def _follow(self, url: str, opened: StreamedResponse) -> StreamedResponse:
        """Go where a blob is redirected to, as clients do."""
        for _ in range(HOPS):
            try:
                url = self.registry.location(url, opened.value("Location"))
            except LocationError as error:
                raise StepFailed(Verdict.BAD, str(error)) from None
            opened = await self._open(url)
            if opened.status not in REDIRECTS:
                break
        return opened

    async def _open(self, url: str) -> StreamedResponse:
        """The head of an answer to a request for one byte; with the token on the registry's own host alone."""
        self.requests += 1
        opened = await self.registry.open("GET", url, self._own(ONE_BYTE) if self.registry.is_own(url) else ONE_BYTE)
        opened.abandon()
        if self.registry.is_own(url) and opened.status not in (*REDIRECTS, 200, 206, 404):
            raise _failed(opened, "answered")
        return opened

    async def _ask(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        accept: Callable[[int], bool],
        limit: int = BODY_SIZE,
    ) -> Response:
        self.requests += 1
        answer = await self.registry.ask(method, url, headers=headers, limit=limit)
        if answer.status == 429 or not accept(answer.status):
            raise _failed(answer, "answered")
        return answer

    def _own(self, headers: dict[str, str]) -> dict[str, str]:
        """Headers for the registry's own host."""
        return {**headers, "Authorization": self.authorization} if self.authorization else headers

    def _url(self, read: ManifestRead | Blob) -> str:
        return f"{self.registry.url}{read.path}"

    def _refused(self, status: int, who: str) -> StepFailed | _Absent:
        """What it means that the canary is not given."""
        if health.judge_refusal(status, self.how.canary_seen) is Verdict.GOOD:
            return _Absent(f"{who} {status} for the canary")
        return StepFailed(Verdict.BAD, f"{who} {status} for the canary, which it has had")


def _failed(head: ResponseHead, who: str) -> StepFailed:
    if head.status == 429:
        return StepFailed(Verdict.LIMITED, "429, asks for patience", head.retry_after())
    return StepFailed(Verdict.BAD, f"{who} {head.status}", head.retry_after())
