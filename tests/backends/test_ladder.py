"""The ladder: the result of a probe for each response of a registry, over treq in memory."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.backends.ladder import BODY_SIZE, CanaryBlob, ProbeTarget, probe
from facaded.backends.manifests import digest_of
from facaded.net.client import LONGEST_RETRY_AFTER, BoundedClient
from facaded.oci.requests import Image
from facaded.policy.health import Canary, ProbeDepth, Quota, Result, Step, Verdict

CHALLENGE = 'Bearer realm="http://tokens.test/token?x=1",service="registry.test",scope="repository:user/image:pull"'


def json_values() -> st.SearchStrategy[Any]:
    return st.none() | st.integers() | st.text() | st.just(digest_of(b"some"))


def lists_and_objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.sampled_from(["manifests", "layers", "config", "digest", "size"])
    return st.lists(inner) | st.dictionaries(keys, inner)


Answer = tuple[int, dict[str, str], bytes]

SHALLOW = ProbeDepth()

DEEP = ProbeDepth(deep=True)


class Registries(Resource):
    """Registries that answer by path, and never for a path that is not in the table. `paths` records the requests."""

    isLeaf = True

    def __init__(self, table: dict[str, Answer]) -> None:
        Resource.__init__(self)
        self.table = table
        self.paths: list[str] = []
        self.headers: list[dict[bytes, list[bytes]]] = []

    def render(self, request: Request) -> Any:
        self.paths.append(request.uri.decode())
        self.headers.append({name: list(values) for name, values in request.requestHeaders.getAllRawHeaders()})
        if request.path.decode() not in self.table:
            return NOT_DONE_YET
        status, headers, body = self.table[request.path.decode()]
        request.setResponseCode(status)
        for name, value in headers.items():
            request.setHeader(name, value)
        return body


def climb(
    table: dict[str, Answer], canary: Image | None = None, depth: ProbeDepth = SHALLOW, **fields: Any
) -> tuple[Result, Registries]:
    registries, clock, results = Registries(table), Clock(), list[Result]()
    agent = RequestTraversalAgent(registries)
    target = ProbeTarget(BoundedClient("http://registry.test", agent), canary, timeout=3.0, **fields)
    work = Deferred.fromCoroutine(probe(target, depth, clock))
    work.addCallback(results.append)
    for _ in range(10):
        agent.flush()
    clock.advance(3.0)
    agent.flush()
    assert clock.getDelayedCalls() == []
    return results[0], registries


def unauthorized(challenge: str = CHALLENGE) -> Answer:
    return 401, {"WWW-Authenticate": challenge}, b"{}"


TOKEN: Answer = (200, {}, b'{"token": "t"}')

GOOD, LIMITED, BAD = Verdict.GOOD, Verdict.LIMITED, Verdict.BAD

TABLE: list[tuple[dict[str, Answer], Verdict, Step, str]] = [
    ({"/v2/": (200, {}, b"{}")}, GOOD, Step.PING, "no authentication required"),
    ({"/v2/": unauthorized('Basic realm="x"')}, GOOD, Step.PING, "requires basic authentication"),
    ({"/v2/": unauthorized(), "/token": TOKEN}, GOOD, Step.TOKEN, "token granted"),
    ({"/v2/": unauthorized(), "/token": (200, {}, b'{"access_token": "t"}')}, GOOD, Step.TOKEN, "token granted"),
    ({"/v2/": unauthorized(), "/token": (403, {}, b"")}, GOOD, Step.TOKEN, "answered 403"),
    ({"/v2/": unauthorized(), "/token": (401, {}, b"")}, GOOD, Step.TOKEN, "answered 401"),
    ({"/v2/": unauthorized(), "/token": (200, {}, b"{}")}, BAD, Step.TOKEN, "no token in the response"),
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
def test_the_table_of_answers(table: dict[str, Answer], verdict: Verdict, step: Step, reason: str) -> None:
    result, _ = climb(table)
    assert (result.verdict, result.step, result.reason) == (verdict, step, reason)
    assert (result.latency == 3.0) == (reason == "timeout")


CANARY = Image("org/app")

SEEN = ProbeDepth(canary_seen=True)

MANIFESTS = "/v2/org/app/manifests/"

LATEST = f"{MANIFESTS}latest"


def digested(document: dict[str, Any]) -> tuple[str, bytes]:
    body = json.dumps(document).encode()
    return digest_of(body), body


LARGE, SMALL = digest_of(b"large"), digest_of(b"small")

PLATFORM, PLATFORM_BODY = digested(
    {"config": {"digest": LARGE, "size": 9000}, "layers": [{"digest": SMALL, "size": 5}, {"digest": LARGE, "size": 0}]}
)

INDEX, INDEX_BODY = digested({"manifests": [{"digest": "no", "size": 1}, {"digest": PLATFORM, "size": 200}]})

BLOB = f"/v2/org/app/blobs/{SMALL}"

FOUND: Answer = (200, {"Docker-Content-Digest": INDEX}, b"")

GATE: dict[str, Answer] = {"/v2/": unauthorized(), "/token": TOKEN}

WHOLE: dict[str, Answer] = {
    **GATE,
    LATEST: FOUND,
    f"{MANIFESTS}{INDEX}": (200, {}, INDEX_BODY),
    f"{MANIFESTS}{PLATFORM}": (200, {}, PLATFORM_BODY),
    BLOB: (307, {"Location": "http://cdn.test/blob?sig=1"}, b""),
    "/blob": (206, {}, b"s"),
}

CANARY_TABLE: list[tuple[dict[str, Answer], ProbeDepth, Verdict, Step, str, str]] = [
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
        for reason in [f"answered {status} for the canary, which it served before"]
    ),
    (
        {**GATE, LATEST: (404, {}, b"")},
        SEEN,
        GOOD,
        Step.MANIFEST,
        "answered 404 for the canary",
        "answered 404 for the canary",
    ),
    (
        {**GATE, "/token": (403, {}, b"")},
        SHALLOW,
        GOOD,
        Step.TOKEN,
        "token server answered 403 for the canary",
        "token server answered 403 for the canary",
    ),
    (
        {**GATE, "/token": (401, {}, b"")},
        SEEN,
        BAD,
        Step.TOKEN,
        "answered 401 for the canary, which it served before",
        "",
    ),
    (
        {**GATE, LATEST: (200, {"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "0;w=21600"}, b"")},
        SEEN,
        LIMITED,
        Step.MANIFEST,
        "no pulls left",
        "",
    ),
    (WHOLE, DEEP, GOOD, Step.BLOB, "all steps passed", ""),
    ({**WHOLE, "/blob": (200, {}, b"small")}, DEEP, GOOD, Step.BLOB, "all steps passed", ""),
    ({**WHOLE, BLOB: (200, {}, b"small")}, DEEP, GOOD, Step.BLOB, "all steps passed", ""),
    ({**WHOLE, BLOB: (307, {"Location": "/blob"}, b"")}, DEEP, GOOD, Step.BLOB, "all steps passed", ""),
    ({**WHOLE, "/blob": (503, {}, b"")}, DEEP, BAD, Step.BLOB, "CDN: answered 503", ""),
    ({**WHOLE, "/blob": (403, {}, b"")}, DEEP, BAD, Step.BLOB, "CDN: answered 403", ""),
    ({**WHOLE, "/blob": (429, {}, b"")}, DEEP, LIMITED, Step.BLOB, "CDN: rate-limited (429)", ""),
    ({**WHOLE, BLOB: (500, {}, b"")}, DEEP, BAD, Step.BLOB, "answered 500", ""),
    ({**WHOLE, BLOB: (401, {}, b"")}, DEEP, BAD, Step.BLOB, "answered 401", ""),
    ({**WHOLE, BLOB: (307, {"Location": BLOB}, b"")}, DEEP, BAD, Step.BLOB, "CDN: answered 307", ""),
    (
        {**WHOLE, BLOB: (302, {"Location": "http://lb.test/a"}, b""), "/a": (302, {"Location": "/blob"}, b"")},
        DEEP,
        GOOD,
        Step.BLOB,
        "all steps passed",
        "",
    ),
    ({**WHOLE, "/v2/": unauthorized('Basic realm="x"')}, SHALLOW, GOOD, Step.MANIFEST, "manifest found", ""),
    (
        {**WHOLE, "/v2/": unauthorized('Basic realm="x"'), LATEST: (401, {}, b"")},
        SEEN,
        BAD,
        Step.MANIFEST,
        "answered 401 for the canary, which it served before",
        "",
    ),
    ({**WHOLE, BLOB: (307, {}, b"")}, DEEP, BAD, Step.BLOB, "redirects a blob to an invalid URL", ""),
    (
        {**WHOLE, BLOB: (404, {}, b"")},
        DEEP,
        GOOD,
        Step.BLOB,
        "a blob of the canary is missing",
        "a blob of the canary is missing",
    ),
    ({key: WHOLE[key] for key in WHOLE if key != "/blob"}, DEEP, BAD, Step.BLOB, "timeout", ""),
    *(
        (
            {**WHOLE, f"{MANIFESTS}{missing}": (404, {}, b"")},
            DEEP,
            GOOD,
            Step.BLOB,
            "a manifest of the canary is missing",
            "a manifest of the canary is missing",
        )
        for missing in (INDEX, PLATFORM)
    ),
    ({**WHOLE, f"{MANIFESTS}{INDEX}": (500, {}, b"")}, DEEP, BAD, Step.BLOB, "answered 500", ""),
    (
        {**WHOLE, f"{MANIFESTS}{INDEX}": (200, {}, b"{}")},
        DEEP,
        BAD,
        Step.BLOB,
        "manifest does not match its digest",
        "",
    ),
    (
        {**WHOLE, LATEST: (404, {}, b"")},
        DEEP,
        GOOD,
        Step.MANIFEST,
        "answered 404 for the canary",
        "answered 404 for the canary",
    ),
]


@pytest.mark.parametrize(("table", "depth", "verdict", "step", "reason", "drift"), CANARY_TABLE)
def test_the_table_of_answers_for_the_canary(
    table: dict[str, Answer], depth: ProbeDepth, verdict: Verdict, step: Step, reason: str, drift: str
) -> None:
    result, _ = climb(table, CANARY, depth)
    assert (result.verdict, result.step, result.reason) == (verdict, step, reason)
    assert (result.canary.drift if result.canary else "") == drift
    assert result.deep == depth.deep
    if verdict is GOOD and not drift:
        assert result.canary == Canary(present=True, digest=INDEX)


def test_the_address_s_quota_does_not_matter_with_an_account() -> None:
    exhausted: Answer = (200, {"RateLimit-Remaining": "0;w=21600"}, b"")
    result, _ = climb({**GATE, LATEST: exhausted}, CANARY, has_account=True)
    assert result.verdict is GOOD
    assert result.quota == Quota(0, None, 21600)


@pytest.mark.parametrize("reason", ["", "many", "-1;w=5", "1;w=", "7;w=21600;x", "9" * 400])
def test_a_quota_that_cannot_be_read_is_none(reason: str) -> None:
    assert climb({**GATE, LATEST: (200, {"RateLimit-Remaining": reason}, b"")}, CANARY)[0].quota is None


def test_an_exhausted_quota_does_not_hide_a_failing_cdn() -> None:
    exhausted: Answer = (200, {**FOUND[1], "RateLimit-Remaining": "0;w=21600"}, b"")
    result, _ = climb({**WHOLE, LATEST: exhausted, "/blob": (503, {}, b"")}, CANARY, DEEP)
    assert (result.verdict, result.step) == (BAD, Step.BLOB)


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
    canary_blob = CanaryBlob()
    _, first = climb(WHOLE, CANARY, DEEP, canary_blob=canary_blob)
    _, second = climb(WHOLE, CANARY, DEEP, canary_blob=canary_blob)
    assert first.paths[3:5] == [f"{MANIFESTS}{INDEX}", f"{MANIFESTS}{PLATFORM}"]
    assert second.paths == [first.paths[0], first.paths[1], LATEST, BLOB, "/blob?sig=1"]
    changed = {**WHOLE, LATEST: (200, {"Docker-Content-Digest": PLATFORM}, b"")}
    _, third = climb(changed, CANARY, DEEP, canary_blob=canary_blob)
    assert f"{MANIFESTS}{PLATFORM}" in third.paths


def test_without_a_digest_in_the_response_the_manifest_is_fetched() -> None:
    table = {**WHOLE, LATEST: (200, {}, INDEX_BODY)}
    result, registries = climb(table, CANARY, DEEP)
    assert result.canary == Canary(present=True, digest=INDEX)
    assert registries.paths.count(LATEST) == 2


def test_a_manifest_without_a_blob_is_drift() -> None:
    digest, body = digested({"config": {"digest": LARGE, "size": 0}})
    table = {**GATE, LATEST: (200, {"Docker-Content-Digest": digest}, b""), f"{MANIFESTS}{digest}": (200, {}, body)}
    result, _ = climb(table, CANARY, DEEP)
    assert (result.verdict, result.reason) == (GOOD, "the canary's manifest lists no blob")


def test_the_blob_step_has_its_own_timeout() -> None:
    result, _ = climb({key: WHOLE[key] for key in WHOLE if key != "/blob"}, CANARY, DEEP)
    assert (result.reason, result.latency) == ("timeout", 3.0)
    assert result.requests == 7


@given(st.binary() | st.recursive(json_values(), lists_and_objects).map(lambda value: json.dumps(value).encode()))
def test_no_manifest_of_a_registry_breaks_a_probe(body: bytes) -> None:
    digest = digest_of(body)
    table = {**GATE, LATEST: (200, {"Docker-Content-Digest": digest}, b""), f"{MANIFESTS}{digest}": (200, {}, body)}
    assert climb(table, CANARY, DEEP)[0].verdict in (GOOD, BAD)


def test_a_retry_after_is_part_of_the_result() -> None:
    assert climb({"/v2/": (503, {"Retry-After": "30"}, b"")})[0].retry_after == 30
    assert climb({"/v2/": (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"")})[0].retry_after == 0
    assert climb({"/v2/": (503, {"Retry-After": "9" * 400}, b"")})[0].retry_after == LONGEST_RETRY_AFTER


def test_the_token_s_scope_is_the_canary_s_and_not_the_challenge_s() -> None:
    table = {"/v2/": unauthorized(), "/token": TOKEN}
    _, registries = climb(table, Image("org/app"))
    assert registries.paths[:2] == ["/v2/", "/token?x=1&service=registry.test&scope=repository%3Aorg%2Fapp%3Apull"]
    _, registries = climb(table)
    assert registries.paths[1] == "/token?x=1&service=registry.test"


def test_a_probe_sends_its_user_agent_and_no_cookies() -> None:
    table: dict[str, Answer] = {
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
