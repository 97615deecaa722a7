"""The last steps of a probe: the registry's answer to a request for a blob, and the CDN that it redirects to."""

from functools import partial

from facaded.backends.probe_requests import DriftError, ProbeRequests, Question, StepFailedError, failed_step
from facaded.net.client import ONE_BYTE, REDIRECTS, BoundedClient, LocationError, Response, ResponseHead
from facaded.oci.requests import Blob
from facaded.policy import health
from facaded.policy.health import Step, Verdict

HOPS = 5
"""Redirects that are followed for a blob; clients follow ten."""

"""The header of a request to a CDN, whose URLs are signed for GET alone."""


async def climb_to_cdn(requests: ProbeRequests, blob: Blob, canary_seen: bool) -> None:
    """Request a blob's first byte from the registry, and follow its redirects as clients do.

    Raises StepFailedError, or what Twisted raises, or DriftError if the registry does not have the blob of a canary
    that was never seen.
    """
    client = requests.session.client
    requests.begin(Step.BLOB)
    url = requests.locate(blob)
    judge = partial(_judge_blob, client, url, canary_seen)
    location = await requests.ask(Question("GET", url, requests.authorized(ONE_BYTE), judge))
    if not location:
        requests.end(Step.CDN)  # the registry sends the blob itself
        return
    requests.end()
    requests.begin(Step.CDN)
    for hop in range(HOPS):
        url, is_last = location, hop == HOPS - 1
        headers = requests.authorized(ONE_BYTE) if client.is_own(url) else ONE_BYTE
        location = await requests.ask(Question("GET", url, headers, partial(_judge_hop, client, url, is_last)))
        if not location:
            break
    requests.end()


def _judge_blob(client: BoundedClient, url: str, canary_seen: bool, response: Response) -> str:
    """Return the Location of the registry's redirect; empty if it sends the blob itself."""
    if response.status != 404:
        return _judge_hop(client, url, False, response)
    reason = "answered 404 for a blob of the canary"
    if health.judge_refusal(Step.BLOB, 404, canary_seen) is Verdict.GOOD:
        raise DriftError(reason, 404)
    raise StepFailedError(Verdict.BAD, reason, response.retry_after())


def _judge_hop(client: BoundedClient, url: str, is_last: bool, response: Response) -> str:
    if response.status in REDIRECTS and not is_last:
        return _read_location(client, url, response)
    if response.status not in (200, 206):
        raise failed_step(response)
    return ""


def _read_location(client: BoundedClient, url: str, head: ResponseHead) -> str:
    try:
        return client.location(url, head.value("Location"))
    except LocationError as error:
        raise StepFailedError(Verdict.BAD, str(error)) from None
