"""The steps of a probe after the HEAD of the canary: its manifest, its blob, and the CDN."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.backends.manifests import digest_of
from facaded.backends.media_types import SIGNED_SCHEMA_1
from facaded.backends.probe_target import ProbeMemory
from facaded.policy.health import Canary, ProbeDepth, Step, Verdict
from tests.backends.probing import (
    BAD,
    BLOB,
    CANARY,
    DEEP,
    GATE,
    GOOD,
    INDEX,
    LARGE,
    LATEST,
    LIMITED,
    MANIFESTS,
    PAGE,
    PLATFORM,
    WHOLE,
    Answer,
    Table,
    climb,
    digested,
    found,
)


def json_values() -> st.SearchStrategy[Any]:
    return st.none() | st.integers() | st.text() | st.just(digest_of(b"some"))


def lists_and_objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.sampled_from(["manifests", "layers", "config", "digest", "size"])
    return st.lists(inner) | st.dictionaries(keys, inner)


DEEP_SEEN = ProbeDepth(deep=True, canary_seen=True)

BODY = ProbeDepth(body=True)

BODY_SEEN = ProbeDepth(body=True, canary_seen=True)

ALL = "all steps passed"

GONE = "answered 404 to the GET of the canary's manifest"

BLOB_GONE = "answered 404 for a blob of the canary"

HEAD_GONE = "answered 404 for the canary"

BLOB_TABLE: list[tuple[Table, ProbeDepth, Verdict, Step, str, str]] = [
    # responses, depth of the probe: verdict, step, reason, drift
    (WHOLE, DEEP, GOOD, Step.CDN, ALL, ""),
    ({**WHOLE, "/blob": (200, {}, b"small")}, DEEP, GOOD, Step.CDN, ALL, ""),
    ({**WHOLE, BLOB: (200, {}, b"small")}, DEEP, GOOD, Step.BLOB, ALL, ""),
    ({**WHOLE, BLOB: (307, {"Location": "/blob"}, b"")}, DEEP, GOOD, Step.CDN, ALL, ""),
    ({**WHOLE, "/blob": (503, {}, b"")}, DEEP, BAD, Step.CDN, "answered 503", ""),
    ({**WHOLE, "/blob": (403, {}, b"")}, DEEP, BAD, Step.CDN, "answered 403", ""),
    ({**WHOLE, "/blob": (404, {}, b"")}, DEEP_SEEN, BAD, Step.CDN, "answered 404", ""),
    ({**WHOLE, "/blob": (429, {}, b"")}, DEEP, LIMITED, Step.CDN, "rate-limited (429)", ""),
    ({**WHOLE, BLOB: (500, {}, b"")}, DEEP, BAD, Step.BLOB, "answered 500", ""),
    ({**WHOLE, BLOB: (401, {}, b"")}, DEEP, BAD, Step.BLOB, "answered 401", ""),
    ({**WHOLE, BLOB: (429, {}, b"")}, DEEP, LIMITED, Step.BLOB, "rate-limited (429)", ""),
    ({**WHOLE, BLOB: (307, {"Location": BLOB}, b"")}, DEEP, BAD, Step.CDN, "answered 307", ""),
    (
        {**WHOLE, BLOB: (302, {"Location": "http://lb.test/a"}, b""), "/a": (302, {"Location": "/blob"}, b"")},
        DEEP,
        GOOD,
        Step.CDN,
        ALL,
        "",
    ),
    ({**WHOLE, BLOB: (307, {}, b"")}, DEEP, BAD, Step.BLOB, "redirects a blob to an invalid URL", ""),
    (
        {**WHOLE, "/blob": (307, {"Location": "file:///"}, b"")},
        DEEP,
        BAD,
        Step.CDN,
        "redirects a blob to an invalid URL",
        "",
    ),
    ({**WHOLE, BLOB: (404, {}, b"")}, DEEP, GOOD, Step.BLOB, BLOB_GONE, BLOB_GONE),
    ({**WHOLE, BLOB: (404, {}, b"")}, DEEP_SEEN, BAD, Step.BLOB, BLOB_GONE, ""),
    ({key: WHOLE[key] for key in WHOLE if key != BLOB}, DEEP, BAD, Step.BLOB, "timeout", ""),
    ({key: WHOLE[key] for key in WHOLE if key != "/blob"}, DEEP, BAD, Step.CDN, "timeout", ""),
    *(
        ({**WHOLE, f"{MANIFESTS}{missing}": (404, {}, b"")}, depth, verdict, Step.BODY, GONE, drift)
        for missing in (INDEX, PLATFORM)
        for depth, verdict, drift in ((DEEP, GOOD, GONE), (DEEP_SEEN, BAD, ""))
    ),
    ({**WHOLE, f"{MANIFESTS}{INDEX}": (500, {}, b"")}, DEEP, BAD, Step.BODY, "answered 500", ""),
    ({**WHOLE, f"{MANIFESTS}{INDEX}": PAGE}, DEEP, BAD, Step.BODY, "manifest does not match its digest", ""),
    ({**WHOLE, LATEST: (404, {}, b"")}, DEEP, GOOD, Step.MANIFEST, HEAD_GONE, HEAD_GONE),
    (WHOLE, BODY, GOOD, Step.BODY, "manifest fetched", ""),
    ({**WHOLE, f"{MANIFESTS}{INDEX}": (500, {}, b"")}, BODY, BAD, Step.BODY, "answered 500", ""),
    ({**WHOLE, f"{MANIFESTS}{INDEX}": (429, {}, b"")}, BODY_SEEN, LIMITED, Step.BODY, "rate-limited (429)", ""),
    ({**WHOLE, f"{MANIFESTS}{INDEX}": PAGE}, BODY_SEEN, BAD, Step.BODY, "manifest does not match its digest", ""),
    *(
        (
            {**WHOLE, f"{MANIFESTS}{INDEX}": (status, {}, b"")},
            depth,
            verdict,
            Step.BODY,
            reason,
            reason if verdict is GOOD else "",
        )
        for status in (401, 403, 404)
        for depth, verdict, drifts in ((BODY, GOOD, 1), (BODY_SEEN, BAD, 0))
        for reason in [f"answered {status} to the GET of the canary's manifest"]
    ),
    ({key: WHOLE[key] for key in WHOLE if INDEX not in key}, BODY, BAD, Step.BODY, "timeout", ""),
]


@pytest.mark.parametrize(("table", "depth", "verdict", "step", "reason", "drift"), BLOB_TABLE)
def test_the_table_of_answers_after_the_head(
    table: Table, depth: ProbeDepth, verdict: Verdict, step: Step, reason: str, drift: str
) -> None:
    result, _ = climb(table, CANARY, depth)
    assert (result.verdict, result.step, result.reason) == (verdict, step, reason)
    assert (result.canary.drift if result.canary else "") == drift
    assert result.deep == depth.deep
    assert (result.latency == 3.0) == (reason == "timeout")
    if verdict is GOOD and not drift:
        assert result.canary == Canary(present=True, digest=INDEX)


def remembered(table: Table) -> ProbeMemory:
    memory = ProbeMemory()
    climb(table, CANARY, DEEP, memory=memory)
    return memory


DELETED: Table = {**WHOLE, LATEST: (404, {}, b"")}

BEFORE = (Step.PING, Step.TOKEN)


@pytest.mark.parametrize(
    ("changes", "verdict", "step", "reason", "passed"),
    [
        ({}, GOOD, Step.CDN, HEAD_GONE, (*BEFORE, Step.BLOB, Step.CDN)),
        ({BLOB: (200, {}, b"s")}, GOOD, Step.BLOB, HEAD_GONE, (*BEFORE, Step.BLOB)),
        ({"/blob": (503, {}, b"")}, BAD, Step.CDN, "answered 503", (*BEFORE, Step.BLOB)),
        ({BLOB: (503, {}, b"")}, BAD, Step.BLOB, "answered 503", BEFORE),
        ({BLOB: (404, {}, b"")}, GOOD, Step.MANIFEST, HEAD_GONE, BEFORE),
    ],
)
def test_a_deleted_canary_does_not_hide_a_failing_cdn(
    changes: Table, verdict: Verdict, step: Step, reason: str, passed: tuple[Step, ...]
) -> None:
    result, _ = climb({**DELETED, **changes}, CANARY, DEEP_SEEN, memory=remembered(WHOLE))
    assert (result.verdict, result.step, result.reason) == (verdict, step, reason)
    assert result.passed == passed
    assert result.canary == Canary(present=False, drift=HEAD_GONE)


def test_a_canary_that_is_refused_otherwise_ends_the_probe() -> None:
    for status in (401, 403):
        table: Table = {**WHOLE, LATEST: (status, {}, b"")}
        result, registries = climb(table, CANARY, DEEP, memory=remembered(WHOLE))
        assert (result.verdict, result.step, registries.paths[-1]) == (GOOD, Step.MANIFEST, LATEST)


def test_the_manifest_is_fetched_once_for_its_body_and_for_the_blob() -> None:
    result, registries = climb(WHOLE, CANARY, ProbeDepth(deep=True, body=True))
    assert registries.paths.count(f"{MANIFESTS}{INDEX}") == 1
    assert (result.step, result.passed, result.requests) == (Step.CDN, tuple(Step), 7)


def test_a_platform_s_manifest_that_is_missing_takes_back_that_the_body_passed() -> None:
    table: Table = {**WHOLE, f"{MANIFESTS}{PLATFORM}": (404, {}, b"")}
    result, _ = climb(table, CANARY, ProbeDepth(deep=True, body=True, canary_seen=True))
    assert (result.verdict, result.step) == (BAD, Step.BODY)
    assert Step.BODY not in result.passed


def test_a_signed_manifest_of_schema_1_is_not_compared_with_its_digest() -> None:
    signed: Answer = (200, {"Content-Type": SIGNED_SCHEMA_1}, b'{"schemaVersion": 1, "signatures": []}')
    table: Table = {**GATE, LATEST: found(INDEX, SIGNED_SCHEMA_1), f"{MANIFESTS}{INDEX}": signed}
    result, _ = climb(table, CANARY, BODY)
    assert (result.verdict, result.step) == (GOOD, Step.BODY)
    page: Answer = (200, {"Content-Type": SIGNED_SCHEMA_1}, b"<html>")
    result, _ = climb({**table, f"{MANIFESTS}{INDEX}": page}, CANARY, BODY)
    assert (result.verdict, result.step) == (BAD, Step.BODY)


def test_the_token_goes_to_the_registry_and_not_to_its_cdn() -> None:
    _, registries = climb(WHOLE, CANARY, DEEP)
    sent = {
        path: headers.get(b"Authorization") for path, headers in zip(registries.paths, registries.headers, strict=True)
    }
    assert sent[LATEST] == sent[BLOB] == [b"Bearer t"]
    assert sent["/blob?sig=1"] is None
    ranges = [headers.get(b"Range") for headers in registries.headers[-2:]]
    assert ranges == [[b"bytes=0-0"], [b"bytes=0-0"]]


def test_a_location_on_the_registry_s_own_host_is_followed_with_the_token() -> None:
    _, registries = climb({**WHOLE, BLOB: (307, {"Location": "/blob"}, b"")}, CANARY, DEEP)
    assert registries.headers[-1][b"Authorization"] == [b"Bearer t"]


def test_the_manifest_is_fetched_again_only_if_its_digest_has_changed() -> None:
    memory = ProbeMemory()
    _, first = climb(WHOLE, CANARY, DEEP, memory=memory)
    result, second = climb(WHOLE, CANARY, DEEP, memory=memory)
    assert first.paths[3:5] == [f"{MANIFESTS}{INDEX}", f"{MANIFESTS}{PLATFORM}"]
    assert second.paths == [first.paths[0], first.paths[1], LATEST, BLOB, "/blob?sig=1"]
    assert Step.BODY not in result.passed
    changed: Table = {**WHOLE, LATEST: found(PLATFORM)}
    _, third = climb(changed, CANARY, DEEP, memory=memory)
    assert f"{MANIFESTS}{PLATFORM}" in third.paths


def test_a_manifest_without_a_blob_is_drift() -> None:
    digest, body = digested({"config": {"digest": LARGE, "size": 0}})
    table: Table = {**GATE, LATEST: found(digest), f"{MANIFESTS}{digest}": (200, {}, body)}
    result, _ = climb(table, CANARY, DEEP)
    assert (result.verdict, result.step, result.reason) == (GOOD, Step.BODY, "the canary's manifest lists no blob")


def test_the_blob_steps_have_their_own_timeout() -> None:
    result, _ = climb({key: WHOLE[key] for key in WHOLE if key != "/blob"}, CANARY, DEEP)
    assert (result.reason, result.latency) == ("timeout", 3.0)
    assert result.requests == 7


@given(st.binary() | st.recursive(json_values(), lists_and_objects).map(lambda value: json.dumps(value).encode()))
def test_no_manifest_of_a_registry_breaks_a_probe(body: bytes) -> None:
    digest = digest_of(body)
    table: Table = {**GATE, LATEST: found(digest), f"{MANIFESTS}{digest}": (200, {}, body)}
    assert climb(table, CANARY, DEEP)[0].verdict in (GOOD, BAD)
