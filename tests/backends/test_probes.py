"""The ladder: what each answer of a registry means, over treq in memory; and the loop that climbs it."""

from collections.abc import Callable
from typing import Any

import pytest
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.backends.probes import AFTER_ERROR, BODY_SIZE, Prober, probe
from facaded.backends.registry import Registry
from facaded.oci.requests import Image
from facaded.policy.health import Result, Step, Verdict

CHALLENGE = 'Bearer realm="http://tokens.test/token?x=1",service="registry.test",scope="repository:user/image:pull"'
Answer = tuple[int, dict[str, str], bytes]


class Registries(Resource):
    """Answers by path; what is not in the table never answers. `asked` keeps the requests."""

    isLeaf = True

    def __init__(self, table: dict[str, Answer]) -> None:
        Resource.__init__(self)
        self.table = table
        self.asked: list[str] = []
        self.headers: list[dict[bytes, list[bytes]]] = []

    def render(self, request: Request) -> Any:
        self.asked.append(request.uri.decode())
        self.headers.append({name: list(values) for name, values in request.requestHeaders.getAllRawHeaders()})
        if request.path.decode() not in self.table:
            return NOT_DONE_YET
        status, headers, body = self.table[request.path.decode()]
        request.setResponseCode(status)
        for name, value in headers.items():
            request.setHeader(name, value)
        return body


def climb(table: dict[str, Answer], canary: Image | None = None) -> tuple[Result, Registries]:
    registries, clock, found = Registries(table), Clock(), list[Result]()
    agent = RequestTraversalAgent(registries)
    done = Deferred.fromCoroutine(probe(Registry("http://registry.test", agent), canary, 3.0, clock))
    done.addCallback(found.append)
    for _ in range(5):
        agent.flush()
    clock.advance(3.0)
    agent.flush()
    assert clock.getDelayedCalls() == []
    return found[0], registries


def unauthorized(challenge: str = CHALLENGE) -> Answer:
    return 401, {"WWW-Authenticate": challenge}, b"{}"


TOKEN: Answer = (200, {}, b'{"token": "t"}')
GOOD, LIMITED, BAD = Verdict.GOOD, Verdict.LIMITED, Verdict.BAD

TABLE: list[tuple[dict[str, Answer], Verdict, Step, str]] = [
    ({"/v2/": (200, {}, b"{}")}, GOOD, Step.PING, "answers without a token"),
    ({"/v2/": unauthorized('Basic realm="x"')}, GOOD, Step.PING, "wants basic authentication"),
    ({"/v2/": unauthorized(), "/token": TOKEN}, GOOD, Step.TOKEN, "token granted"),
    ({"/v2/": unauthorized(), "/token": (200, {}, b'{"access_token": "t"}')}, GOOD, Step.TOKEN, "token granted"),
    ({"/v2/": unauthorized(), "/token": (403, {}, b"")}, GOOD, Step.TOKEN, "token server answers 403"),
    ({"/v2/": unauthorized(), "/token": (401, {}, b"")}, GOOD, Step.TOKEN, "token server answers 401"),
    ({"/v2/": unauthorized(), "/token": (200, {}, b"{}")}, BAD, Step.TOKEN, "200 without a token"),
    ({"/v2/": unauthorized(), "/token": (200, {}, b"[" * 9999)}, BAD, Step.TOKEN, "200 without a token"),
    ({"/v2/": unauthorized(), "/token": (200, {}, b'{"token": 5}')}, BAD, Step.TOKEN, "200 without a token"),
    ({"/v2/": unauthorized(), "/token": (500, {}, b"")}, BAD, Step.TOKEN, "answered 500"),
    (
        {"/v2/": unauthorized(), "/token": (429, {"Retry-After": "7"}, b"")},
        LIMITED,
        Step.TOKEN,
        "429, asks for patience",
    ),
    ({"/v2/": unauthorized()}, BAD, Step.TOKEN, "time-out"),
    (
        {"/v2/": unauthorized('Bearer realm="file:///etc/passwd"')},
        BAD,
        Step.TOKEN,
        "the challenge's realm is not a URL",
    ),
    ({"/v2/": (401, {}, b"")}, BAD, Step.PING, "401 without a challenge"),
    ({"/v2/": (429, {}, b"")}, LIMITED, Step.PING, "429, asks for patience"),
    ({"/v2/": (503, {}, b"")}, BAD, Step.PING, "answered 503"),
    ({"/v2/": (302, {"Location": "/elsewhere"}, b"")}, BAD, Step.PING, "answered 302"),
    ({"/v2/": (404, {}, b"")}, BAD, Step.PING, "answered 404"),
    ({"/v2/": (200, {}, b"x" * (BODY_SIZE + 1))}, BAD, Step.PING, f"a body of more than {BODY_SIZE} bytes"),
    ({}, BAD, Step.PING, "time-out"),
]


@pytest.mark.parametrize(("table", "verdict", "step", "words"), TABLE)
def test_the_table_of_answers(table: dict[str, Answer], verdict: Verdict, step: Step, words: str) -> None:
    result, _ = climb(table)
    assert (result.verdict, result.step, result.words) == (verdict, step, words)
    assert (result.latency == 3.0) == (words == "time-out")


def test_a_retry_after_is_handed_on() -> None:
    assert climb({"/v2/": (503, {"Retry-After": "30"}, b"")})[0].retry_after == 30
    assert climb({"/v2/": (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"")})[0].retry_after == 0
    assert climb({"/v2/": (503, {"Retry-After": "9" * 400}, b"")})[0].retry_after == 0


def test_the_token_is_asked_for_the_canary_and_never_for_the_challenge_s_own_scope() -> None:
    table = {"/v2/": unauthorized(), "/token": TOKEN}
    _, registries = climb(table, Image("org/app"))
    assert registries.asked == ["/v2/", "/token?x=1&service=registry.test&scope=repository%3Aorg%2Fapp%3Apull"]
    _, registries = climb(table)
    assert registries.asked[1] == "/token?x=1&service=registry.test"


def test_a_probe_says_who_it_is_and_keeps_no_cookies() -> None:
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


def test_a_compressed_body_is_not_inflated() -> None:
    result, _ = climb({"/v2/": unauthorized(), "/token": (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b not a token")})
    assert (result.verdict, result.words) == (BAD, "200 without a token")


def prober(heard: Callable[[Result], float]) -> tuple[Prober, Clock, list[Deferred[Result]]]:
    clock, probes = Clock(), list[Deferred[Result]]()

    def one() -> Deferred[Result]:
        probes.append(Deferred(lambda _: None))
        return probes[-1]

    return Prober(clock, one, heard), clock, probes


RESULT = Result(GOOD, Step.PING, "answers without a token", 0.1)


def test_a_prober_waits_from_the_end_of_a_probe_to_the_start_of_the_next() -> None:
    heard: list[Result] = []
    loop, clock, probes = prober(lambda result: heard.append(result) or 10)  # type: ignore[func-returns-value]
    loop.start()
    clock.advance(100)
    assert len(probes) == 1
    probes[0].callback(RESULT)
    assert heard == [RESULT]
    clock.advance(9.9)
    assert len(probes) == 1
    clock.advance(0.1)
    assert len(probes) == 2
    loop.stop()


def test_a_prober_that_is_stopped_cancels_its_probe_and_hears_nothing_more() -> None:
    heard: list[Result] = []
    loop, clock, probes = prober(lambda result: heard.append(result) or 10)  # type: ignore[func-returns-value]
    loop.start()
    loop.stop()
    assert probes[0].called
    assert heard == []
    assert clock.getDelayedCalls() == []


def test_an_error_in_what_hears_a_result_does_not_end_the_probes(no_errors_are_logged: list[LogEvent]) -> None:
    def heard(result: Result) -> float:
        raise ValueError("a bug")

    loop, clock, probes = prober(heard)
    loop.start()
    probes[0].callback(RESULT)
    clock.advance(AFTER_ERROR)
    assert len(probes) == 2
    assert len(no_errors_are_logged) == 1
    no_errors_are_logged.clear()
    loop.stop()


def test_a_prober_that_is_stopped_between_probes_makes_no_more() -> None:
    loop, clock, probes = prober(lambda _: 10)
    loop.start()
    probes[0].callback(RESULT)
    loop.stop()
    clock.advance(100)
    assert len(probes) == 1
    assert clock.getDelayedCalls() == []
