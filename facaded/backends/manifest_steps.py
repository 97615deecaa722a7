"""The steps of a probe that concern the canary's manifest: its HEAD, and the GET of its body."""

from functools import partial

from attrs import frozen

from facaded.backends.authorized_client import read_quota
from facaded.backends.manifests import EVERY_TYPE, MANIFEST_SIZE, digest_of
from facaded.backends.media_types import SIGNED_SCHEMA_1, is_manifest_type
from facaded.backends.probe_requests import (
    DriftError,
    ProbeRequests,
    Question,
    StepFailedError,
    failed_step,
    media_type,
    unexpected_content,
)
from facaded.net.client import Response
from facaded.net.json_objects import read_object
from facaded.oci.requests import Image, ManifestRead, is_digest
from facaded.policy import health
from facaded.policy.health import Quota, Step, Verdict

HEAD_LIMIT = 64 << 10
"""Bytes that may follow the head of a response to HEAD; there should be none."""


@frozen
class ManifestHead:
    """What the HEAD of a manifest says: its digest, empty if the registry sends none, and the quota."""

    digest: str
    quota: Quota | None


async def ask_head(requests: ProbeRequests, canary: Image, canary_seen: bool) -> ManifestHead:
    """Send the HEAD of the canary's manifest. Raises StepFailedError or DriftError, or what Twisted raises."""
    url, headers = _address(requests, canary.name, canary.reference)
    return await requests.ask(Question("HEAD", url, headers, partial(_judge_head, canary_seen), HEAD_LIMIT))


async def fetch_tag(requests: ProbeRequests, canary: Image, canary_seen: bool) -> bytes:
    """Fetch the canary's manifest by its tag, because the HEAD had no digest. Raises as `ask_head` does."""
    url, headers = _address(requests, canary.name, canary.reference)
    return await requests.ask(Question("GET", url, headers, partial(_judge_tagged, canary_seen), MANIFEST_SIZE))


async def fetch_body(requests: ProbeRequests, name: str, digest: str, canary_seen: bool) -> bytes:
    """Fetch a manifest of the canary by its digest. Raises as `ask_head` does."""
    url, headers = _address(requests, name, digest)
    return await requests.ask(Question("GET", url, headers, partial(_judge_body, canary_seen, digest), MANIFEST_SIZE))


def refuse_canary(step: Step, status: int, canary_seen: bool, subject: str = "") -> StepFailedError | DriftError:
    """Return the error for a canary that the backend does not serve: drift, or a failed step."""
    if health.judge_refusal(step, status, canary_seen) is Verdict.GOOD:
        return DriftError(f"{subject}answered {status} for the canary", status)  # also shown without the step's name
    return StepFailedError(Verdict.BAD, f"answered {status} for the canary, which it served before")


def _judge_head(canary_seen: bool, response: Response) -> ManifestHead:
    _check_served(canary_seen, response)
    if not is_manifest_type(media_type(response)):
        raise unexpected_content(response, "manifest")
    digest = response.value("Docker-Content-Digest")
    return ManifestHead(digest if is_digest(digest) else "", read_quota(response))


def _judge_tagged(canary_seen: bool, response: Response) -> bytes:
    _check_served(canary_seen, response)
    if read_object(response.body) is None:
        raise unexpected_content(response, "manifest")
    return response.body


def _check_served(canary_seen: bool, response: Response) -> None:
    if response.status == 429 or response.status >= 500:
        raise failed_step(response)
    if response.status != 200:
        raise refuse_canary(Step.MANIFEST, response.status, canary_seen)


def _judge_body(canary_seen: bool, digest: str, response: Response) -> bytes:
    status = response.status
    if status == 429 or status >= 500:
        raise failed_step(response)
    if status != 200:
        reason = f"answered {status} to the GET of the canary's manifest"
        if health.judge_refusal(Step.BODY, status, canary_seen) is Verdict.GOOD:
            raise DriftError(reason, status)
        raise StepFailedError(Verdict.BAD, reason)
    if media_type(response) == SIGNED_SCHEMA_1:  # its digest does not cover the signatures
        matches = read_object(response.body) is not None
    else:
        matches = digest_of(response.body, digest.partition(":")[0]) == digest
    if not matches:
        raise StepFailedError(Verdict.BAD, "manifest does not match its digest")
    return response.body


def _address(requests: ProbeRequests, name: str, reference: str) -> tuple[str, dict[str, str]]:
    """Return the URL of a manifest, and the headers of a request for it."""
    return requests.locate(ManifestRead(name, reference)), requests.authorized({"Accept": EVERY_TYPE.value})
