"""The ladder: the result of a probe for each response of a registry, over treq in memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.backends.access_steps import BODY_SIZE
from facaded.net.client import LONGEST_RETRY_AFTER
from facaded.oci.requests import Image
from facaded.policy.health import Canary, ProbeDepth, Quota, Step, Verdict
from tests.backends.probing import (
    BAD,
    BLOB,
    CANARY,
    DEEP,
    FOUND,
    GATE,
    GOOD,
    INDEX,
    INDEX_BODY,
    LATEST,
    LIMITED,
    MANIFESTS,
    PAGE,
    SEEN,
    SHALLOW,
    TOKEN,
    WHOLE,
    Answer,
    Table,
    climb,
    digested,
    found,
    unauthorized,
)

TABLE: list[tuple[Table, Verdict, Step, str]] = [
    ({"/v2/": (200, {}, b"{}")}, GOOD, Step.PING, "no authentication required"),
    ({"/v2/": (200, {}, b"")}, GOOD, Step.PING, "no authentication required"),
    ({"/v2/": PAGE}, BAD, Step.PING, "answered with something that is no registry (text/html)"),
    ({"/v2/": (200, {"Content-Type": ""}, b"true")}, GOOD, Step.PING, "no authentication required"),
    ({"/v2/": (200, {"Content-Type": ""}, b"[")}, BAD, Step.PING, "answered with something that is no registry"),
    ({"/v2/": unauthorized('Basic realm="x"')}, GOOD, Step.PING, "requires basic authentication"),
    ({"/v2/": unauthorized(), "/token": TOKEN}, GOOD, Step.TOKEN, "token granted"),
    ({"/v2/": unauthorized(), "/token": (200, {}, b'{"access_token": "t"}')}, GOOD, Step.TOKEN, "token granted"),
    ({"/v2/": unauthorized(), "/token": (403, {}, b"")}, GOOD, Step.TOKEN, "answered 403"),
    ({"/v2/": unauthorized(), "/token": (401, {}, b"")}, GOOD, Step.TOKEN, "answered 401"),
    ({"/v2/": unauthorized(), "/token": (200, {}, b"{}")}, BAD, Step.TOKEN, "no token in the response"),
    ({"/v2/": unauthorized(), "/token": PAGE}, BAD, Step.TOKEN, "no token in the response"),
    ({"/v2/": unauthorized(), "/token": (200, {}, b"[" * 9999)}, BAD, Step.TOKEN, "no token in the response"),
    ({"/v2/": unauthorized(), "/token": (200, {}, b'{"token": 5}')}, BAD, Step.TOKEN, "no token in the response"),
    ({"/v2/": unauthorized(), "/token": (500, {}, b"")}, BAD, Step.TOKEN, "answered 500"),
    (
        {"/v2/": unauthorized(), "/token": (429, {"Retry-After": "7"}, b"")},
        LIMITED,
        Step.TOKEN,
        "rate-limited (429), retry in 7 s",
    ),
    ({"/v2/": unauthorized()}, BAD, Step.TOKEN, "timeout"),
    (
        {"/v2/": unauthorized('Bearer realm="file:///etc/passwd"')},
        BAD,
        Step.TOKEN,
        "the challenge's realm is an invalid URL",
    ),
    ({"/v2/": (401, {}, b"")}, BAD, Step.PING, "401 without a WWW-Authenticate challenge"),
    ({"/v2/": (429, {}, b"")}, LIMITED, Step.PING, "rate-limited (429)"),
    ({"/v2/": (503, {}, b"")}, BAD, Step.PING, "answered 503"),
    ({"/v2/": (302, {"Location": "/elsewhere"}, b"")}, BAD, Step.PING, "answered 302"),
    ({"/v2/": (404, {}, b"")}, BAD, Step.PING, "answered 404"),
    ({"/v2/": (200, {}, b"x" * (BODY_SIZE + 1))}, BAD, Step.PING, f"response body exceeds {BODY_SIZE} bytes"),
    ({}, BAD, Step.PING, "timeout"),
]


@pytest.mark.parametrize(("table", "verdict", "step", "reason"), TABLE)
def test_the_table_of_answers(table: Table, verdict: Verdict, step: Step, reason: str) -> None:
    result, _ = climb(table)
    assert (result.verdict, result.step, result.reason) == (verdict, step, reason)
    assert (result.latency == 3.0) == (reason == "timeout")


SEEN_BEFORE = "which it served before"

CANARY_TABLE: list[tuple[Table, ProbeDepth, Verdict, Step, str, str]] = [
    # responses, depth of the probe: verdict, step, reason, drift
    ({**GATE, LATEST: FOUND}, SHALLOW, GOOD, Step.MANIFEST, "manifest found", ""),
    ({"/v2/": (200, {}, b"{}"), LATEST: FOUND}, SHALLOW, GOOD, Step.MANIFEST, "manifest found", ""),
    ({**GATE, LATEST: (500, {}, b"")}, SHALLOW, BAD, Step.MANIFEST, "answered 500", ""),
    ({**GATE, LATEST: (500, {}, b"")}, SEEN, BAD, Step.MANIFEST, "answered 500", ""),
    (
        {**GATE, LATEST: (429, {"Retry-After": "9"}, b"")},
        SEEN,
        LIMITED,
        Step.MANIFEST,
        "rate-limited (429), retry in 9 s",
        "",
    ),
    ({**GATE}, SHALLOW, BAD, Step.MANIFEST, "timeout", ""),
    *(
        ({**GATE, LATEST: (status, {}, b"")}, SHALLOW, GOOD, Step.MANIFEST, reason, reason)
        for status in (401, 403, 404, 400, 307)
        for reason in [f"answered {status} for the canary"]
    ),
    *(
        ({**GATE, LATEST: (status, {}, b"")}, SEEN, BAD, Step.MANIFEST, reason, "")
        for status in (401, 403, 400, 307)
        for reason in [f"answered {status} for the canary, {SEEN_BEFORE}"]
    ),
    (
        {**GATE, LATEST: (404, {}, b"")},
        SEEN,
        GOOD,
        Step.MANIFEST,
        "answered 404 for the canary",
        "answered 404 for the canary",
    ),
    *(
        ({**GATE, "/token": (status, {}, b"")}, SHALLOW, GOOD, Step.TOKEN, reason, reason)
        for status in (400, 401, 403, 404)
        for reason in [f"token server answered {status} for the canary"]
    ),
    *(
        ({**GATE, "/token": (status, {}, b"")}, SEEN, BAD, Step.TOKEN, reason, "")
        for status in (400, 401, 403, 404)
        for reason in [f"answered {status} for the canary, {SEEN_BEFORE}"]
    ),
    (
        {**GATE, LATEST: found(INDEX, RateLimit_Limit="100;w=21600", RateLimit_Remaining="0;w=21600")},
        SEEN,
        LIMITED,
        Step.MANIFEST,
        "no pulls left",
        "",
    ),
    (
        {**WHOLE, "/v2/": unauthorized('Basic realm="x"'), LATEST: (401, {}, b"")},
        SEEN,
        BAD,
        Step.MANIFEST,
        f"answered 401 for the canary, {SEEN_BEFORE}",
        "",
    ),
    ({**WHOLE, "/v2/": unauthorized('Basic realm="x"')}, SHALLOW, GOOD, Step.MANIFEST, "manifest found", ""),
]


@pytest.mark.parametrize(("table", "depth", "verdict", "step", "reason", "drift"), CANARY_TABLE)
def test_the_table_of_answers_for_the_canary(
    table: Table, depth: ProbeDepth, verdict: Verdict, step: Step, reason: str, drift: str
) -> None:
    result, _ = climb(table, CANARY, depth)
    assert (result.verdict, result.step, result.reason) == (verdict, step, reason)
    assert (result.canary.drift if result.canary else "") == drift
    assert result.deep == depth.deep
    if verdict is GOOD and not drift:
        assert result.canary == Canary(present=True, digest=INDEX)


@pytest.mark.parametrize("depth", [SHALLOW, SEEN])
@pytest.mark.parametrize(
    ("head", "description"),
    [
        (PAGE, " (text/html)"),
        ((200, {"Content-Type": "", "Docker-Content-Digest": INDEX}, b""), ""),
        (found(INDEX, "application/json"), " (application/json)"),
        (found(INDEX, "text/html\x1b"), " (text/html?)"),
    ],
)
def test_a_head_that_names_no_manifest_is_bad_also_if_the_canary_was_never_seen(
    head: Answer, description: str, depth: ProbeDepth
) -> None:
    result, _ = climb({**GATE, LATEST: head}, CANARY, depth)
    assert (result.verdict, result.step) == (BAD, Step.MANIFEST)
    assert result.reason == f"answered with something that is no manifest{description}"


@pytest.mark.parametrize(
    "kind",
    [
        "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
        "Application/VND.docker.distribution.manifest.v2+JSON",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.example.thing+json",
    ],
)
def test_media_types_of_manifests(kind: str) -> None:
    assert climb({**GATE, LATEST: found(INDEX, kind)}, CANARY)[0].verdict is GOOD


@pytest.mark.parametrize("digest", ["", "sha256:short"])
def test_without_a_digest_in_the_response_the_manifest_is_fetched_and_its_digest_computed(digest: str) -> None:
    table: Table = {**WHOLE, f"HEAD {LATEST}": found(digest), f"GET {LATEST}": (200, {}, INDEX_BODY)}
    result, registries = climb(table, CANARY)
    assert result.canary == Canary(present=True, digest=INDEX)
    assert (result.step, result.passed) == (Step.MANIFEST, (Step.PING, Step.TOKEN, Step.MANIFEST))
    result, registries = climb(table, CANARY, ProbeDepth(deep=True, body=True))
    assert (result.verdict, result.step) == (GOOD, Step.CDN)
    assert registries.paths.count(LATEST) == 2
    assert f"{MANIFESTS}{INDEX}" not in registries.paths, "its body is known already"


@pytest.mark.parametrize(
    ("answer", "depth", "verdict", "reason"),
    [
        (PAGE, SHALLOW, BAD, "answered with something that is no manifest (text/html)"),
        ((500, {}, b""), SHALLOW, BAD, "answered 500"),
        ((404, {}, b""), SHALLOW, GOOD, "answered 404 for the canary"),
        ((403, {}, b""), SEEN, BAD, f"answered 403 for the canary, {SEEN_BEFORE}"),
        ((429, {}, b""), SEEN, LIMITED, "rate-limited (429)"),
    ],
)
def test_without_a_digest_the_get_is_judged_too(
    answer: Answer, depth: ProbeDepth, verdict: Verdict, reason: str
) -> None:
    result, _ = climb({**GATE, f"HEAD {LATEST}": found(), f"GET {LATEST}": answer}, CANARY, depth)
    assert (result.verdict, result.step, result.reason) == (verdict, Step.MANIFEST, reason)


def passed(table: Table, canary: Image | None = CANARY, depth: ProbeDepth = SHALLOW) -> tuple[Step, ...]:
    return climb(table, canary, depth)[0].passed


def test_the_steps_that_passed_are_part_of_the_result_in_their_order() -> None:
    assert passed({}) == ()
    assert passed({"/v2/": (200, {}, b"{}")}, None) == (Step.PING,)
    assert passed(GATE, None) == (Step.PING, Step.TOKEN)
    assert passed({"/v2/": (200, {}, b"{}"), LATEST: FOUND}) == (Step.PING, Step.MANIFEST)
    assert passed({**GATE, LATEST: (404, {}, b"")}) == (Step.PING, Step.TOKEN)
    assert passed(WHOLE) == (Step.PING, Step.TOKEN, Step.MANIFEST)
    assert passed(WHOLE, CANARY, DEEP) == tuple(Step)
    assert passed({**WHOLE, BLOB: (200, {}, b"small")}, CANARY, DEEP) == tuple(Step)[:-1]
    assert passed({**WHOLE, "/blob": (500, {}, b"small")}, CANARY, DEEP) == tuple(Step)[:-1]


def test_the_address_s_quota_does_not_matter_with_an_account() -> None:
    exhausted = found(INDEX, RateLimit_Remaining="0;w=21600")
    result, _ = climb({**GATE, LATEST: exhausted}, CANARY, has_account=True)
    assert result.verdict is GOOD
    assert result.quota == Quota(0, None, 21600)


@pytest.mark.parametrize("reason", ["", "many", "-1;w=5", "1;w=", "7;w=21600;x", "9" * 400])
def test_a_quota_that_cannot_be_read_is_none(reason: str) -> None:
    assert climb({**GATE, LATEST: found(INDEX, RateLimit_Remaining=reason)}, CANARY)[0].quota is None


def test_an_exhausted_quota_does_not_hide_a_failing_cdn() -> None:
    exhausted = found(INDEX, RateLimit_Remaining="0;w=21600")
    result, _ = climb({**WHOLE, LATEST: exhausted, "/blob": (503, {}, b"")}, CANARY, DEEP)
    assert (result.verdict, result.step) == (BAD, Step.CDN)


@given(st.binary())
def test_no_response_breaks_a_probe(body: bytes) -> None:
    digest, _ = digested({})
    for path in ("/v2/", "/token", f"GET {LATEST}"):
        table: Table = {**GATE, f"HEAD {LATEST}": found(), path: (200, {}, body)}
        assert climb(table, CANARY)[0].verdict in (GOOD, BAD)
    assert climb({**GATE, LATEST: found(digest, body.decode("latin-1"))}, CANARY)[0].verdict in (GOOD, BAD)


def test_a_retry_after_is_part_of_the_result() -> None:
    assert climb({"/v2/": (503, {"Retry-After": "30"}, b"")})[0].retry_after == 30
    assert climb({"/v2/": (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"")})[0].retry_after == 0
    assert climb({"/v2/": (503, {"Retry-After": "9" * 400}, b"")})[0].retry_after == LONGEST_RETRY_AFTER


def test_the_token_s_scope_is_the_canary_s_and_not_the_challenge_s() -> None:
    table: Table = {"/v2/": unauthorized(), "/token": TOKEN}
    _, registries = climb(table, Image("org/app"))
    assert registries.paths[:2] == ["/v2/", "/token?x=1&service=registry.test&scope=repository%3Aorg%2Fapp%3Apull"]
    _, registries = climb(table)
    assert registries.paths[1] == "/token?x=1&service=registry.test"


def test_a_probe_sends_its_user_agent_and_no_cookies() -> None:
    table: Table = {
        "/v2/": (
            401,
            {"WWW-Authenticate": 'Bearer realm="http://registry.test/token"', "Set-Cookie": "a=b; Path=/"},
            b"",
        ),
        "/token": TOKEN,
    }
    _, registries = climb(table)
    assert [headers[b"User-Agent"][0].startswith(b"facaded/") for headers in registries.headers] == [True, True]
    assert all(b"Cookie" not in headers for headers in registries.headers)
    assert all(b"Accept-Encoding" not in headers for headers in registries.headers)


def test_a_compressed_body_is_not_decompressed() -> None:
    result, _ = climb({"/v2/": unauthorized(), "/token": (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b not a token")})
    assert (result.verdict, result.reason) == (BAD, "no token in the response")
