"""What answered requests show about pulls, as the facade answers them."""

import pytest
from attrs import evolve

from facaded.oci.clients import find_client
from facaded.policy.manifests_trace import WINDOW
from facaded.policy.pull_kinds import PullKind
from facaded.web.answered_requests import AnsweredRequest, Decision, Kind, Outcome
from facaded.web.pulls import Pulls

DIGEST = f"sha256:{'a' * 64}"

REDIRECTED = Decision(Kind.MANIFEST, Outcome.REDIRECTED, "main", "org/app", "v1")

SERVED = evolve(REDIRECTED, outcome=Outcome.SERVED)


def answered(decision: Decision, status: int = 307, method: str = "GET", client: str = "docker") -> AnsweredRequest:
    return AnsweredRequest("192.0.2.7", method, "/v2/x", find_client(client), decision, status, 0, 0.1, 1000.0)


def count(*requests: AnsweredRequest, is_counting: bool = True) -> dict[tuple[PullKind, str, bool], int]:
    pulls = Pulls(is_counting=is_counting)
    pulls.count(requests)
    taken = pulls.counts.take(1000.0 + WINDOW + 1, 100)
    return {(key.kind, key.reference, key.is_proven): number for key, number in taken}


@pytest.mark.parametrize(
    ("request_", "counted"),
    [
        (answered(REDIRECTED), {(PullKind.IMAGE, "v1", False): 1}),
        (answered(SERVED, 200), {(PullKind.IMAGE, "v1", True): 1}),
        (answered(SERVED, 304), {(PullKind.CHECK, "v1", True): 1}),
        (answered(REDIRECTED, method="HEAD"), {(PullKind.CHECK, "v1", False): 1}),
        (answered(SERVED, 404), {}),
        (answered(SERVED, 503), {}),
        (answered(evolve(REDIRECTED, outcome=Outcome.FORWARDED), 200), {}),
        (answered(evolve(REDIRECTED, outcome=Outcome.ANSWERED_HERE), 200), {}),
        (answered(evolve(SERVED, kind=Kind.TAGS), 200), {}),
        (answered(evolve(SERVED, kind=Kind.BLOB, reference=DIGEST), 307), {}),
        (answered(evolve(SERVED, kind=Kind.REFERRERS, reference=DIGEST), 200), {(PullKind.SIGNATURE, "", True): 1}),
        (answered(evolve(SERVED, reference=f"sha256-{'a' * 64}.att"), 200), {(PullKind.SIGNATURE, "", True): 1}),
        (answered(evolve(SERVED, reference="sha256-short"), 200), {(PullKind.IMAGE, "sha256-short", True): 1}),
    ],
)
def test_only_what_a_client_got_is_counted(
    request_: AnsweredRequest, counted: dict[tuple[PullKind, str, bool], int]
) -> None:
    assert count(request_) == counted
    assert count(request_, is_counting=False) == {}


def test_a_blob_shows_that_a_redirected_pull_worked() -> None:
    blob = answered(evolve(REDIRECTED, kind=Kind.BLOB, reference=DIGEST))
    assert count(answered(REDIRECTED), blob) == {(PullKind.IMAGE, "v1", True): 1}
    other = evolve(blob, decision=evolve(blob.decision, repository="org/other"))
    assert count(answered(REDIRECTED), other) == {(PullKind.IMAGE, "v1", False): 1}
