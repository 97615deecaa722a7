"""The registry as a client sees it, in memory."""

import json

import pytest
from attrs import evolve
from treq.client import HTTPClient
from treq.response import _Response
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent
from twisted.web.http_headers import Headers

from facaded.policy.answers import Rules
from facaded.policy.repositories import parse
from facaded.web.answers import Facade
from facaded.web.page import UNNAMED
from facaded.web.site import BoundedSite
from tests.watching import BAD, GOOD, Watching
from tests.web.raw import Connection

RULES = Rules(
    repositories=(parse("org/*"), parse("team/**")),
    backends={"main": "https://main.test", "second": "https://second.test:5000"},
)
DIGEST = "sha256:" + "0" * 64


class Client:
    """A client of a facade in memory."""

    def __init__(self, rules: Rules = RULES, settled: bool = True) -> None:
        self.watching = Watching.begin("main", "second")
        if settled:
            self.watching.backends.answer("main", GOOD)
            self.watching.backends.answer("second", GOOD)
        self.resource = Facade(lambda: rules, self.watching.watch)
        self._agent = RequestTraversalAgent(self.resource)

    def start(self, method: str, path: str, host: str = "facade.test") -> Deferred[_Response]:
        return HTTPClient(self._agent).request(method, f"http://{host}{path}", allow_redirects=False)

    def ask(self, method: str, path: str, host: str = "facade.test") -> tuple[int, Headers, bytes]:
        answers: list[_Response] = []
        bodies: list[bytes] = []
        self.start(method, path, host).addCallback(answers.append)
        self._agent.flush()
        answers[0].content().addCallback(bodies.append)
        return answers[0].code, answers[0].headers, bodies[0]

    def flush(self) -> None:
        self._agent.flush()


def values(headers: Headers, name: str) -> list[str]:
    return [value.decode() for value in headers.getRawHeaders(name.encode(), [])]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "path", ["/v2/", "/v2/org/app/manifests/latest", f"/v2/team/a/b/blobs/{DIGEST}", "/v2/org/app/tags/list?n=1"]
)
def test_a_redirect_is_a_307_that_nothing_may_remember(method: str, path: str) -> None:
    code, headers, body = Client().ask(method, path)
    assert code == 307
    assert values(headers, "Location") == [f"https://main.test{path}"]
    assert values(headers, "X-Facaded-Backend") == ["main"]
    assert values(headers, "Docker-Distribution-Api-Version") == ["registry/2.0"]
    assert values(headers, "Cache-Control") == ["no-store"]
    assert values(headers, "Vary") == ["User-Agent, Accept, Authorization"]
    assert body == b""


def test_the_backend_in_charge_is_where_a_redirect_goes() -> None:
    client = Client()
    for _ in range(2):
        client.watching.advance(10)
        client.watching.backends.answer("main", BAD)
    assert values(client.ask("GET", "/v2/")[1], "Location") == ["https://second.test:5000/v2/"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "allow"),
    [
        ("GET", "/v2/evil/app/manifests/latest", 403, "DENIED", []),
        ("GET", "/v2/_catalog", 404, "UNSUPPORTED", []),
        ("GET", "/v2/org/app/manifests/sha256:1", 400, "DIGEST_INVALID", []),
        ("POST", "/v2/org/app/blobs/uploads/", 405, "UNSUPPORTED", ["GET, HEAD"]),
        ("PUT", "/v2/org/app/manifests/latest", 405, "UNSUPPORTED", ["GET, HEAD"]),
        ("PATCH", "/v2/org/app/blobs/uploads/1", 405, "UNSUPPORTED", ["GET, HEAD"]),
        ("DELETE", "/v2/org/app/manifests/latest", 405, "UNSUPPORTED", ["GET, HEAD"]),
        ("GET", "/nowhere", 404, "UNSUPPORTED", []),
    ],
)
def test_a_refusal_is_the_error_document(method: str, path: str, status: int, code: str, allow: list[str]) -> None:
    got, headers, body = Client().ask(method, path)
    assert got == status
    assert values(headers, "Content-Type") == ["application/json"]
    assert values(headers, "Allow") == allow
    assert values(headers, "Location") == []
    assert values(headers, "Cache-Control") == ["no-store"]
    error = json.loads(body)["errors"][0]
    assert error["code"] == code
    assert error["message"]


def test_another_host_is_misdirected_but_an_address_is_told_that_a_registry_is_here() -> None:
    client = Client(evolve(RULES, hosts=("facade.test",)))
    assert client.ask("GET", "/v2/", host="Facade.test.:80")[0] == 307
    assert client.ask("GET", "/v2/", host="evil.test")[0] == 421
    code, headers, body = client.ask("GET", "/v2/", host="192.0.2.1")
    assert (code, body, values(headers, "Content-Type")) == (200, b"{}", ["application/json"])
    assert client.ask("GET", "/", host="192.0.2.1")[0] == 421


def test_the_page_says_how_to_pull_and_what() -> None:
    code, headers, body = Client(evolve(RULES, hosts=("facade.test",))).ask("GET", "/", host="facade.test:8080")
    assert code == 200
    assert values(headers, "Content-Type") == ["text/html; charset=utf-8"]
    assert "default-src 'none'" in values(headers, "Content-Security-Policy")[0]
    text = body.decode()
    assert "docker pull facade.test:8080/org/image" in text
    assert "<li><code>org/*</code></li><li><code>team/**</code></li>" in text
    assert "facaded" in text


@pytest.mark.parametrize(
    ("patterns", "pull"),
    [
        ((), f"{UNNAMED}/org/image"),
        (("a/**",), f"{UNNAMED}/a/image"),
        (("a/b",), f"{UNNAMED}/a/b"),
        (("*",), f"{UNNAMED}/image"),
    ],
)
def test_the_page_never_repeats_a_host_that_is_not_in_the_settings(patterns: tuple[str, ...], pull: str) -> None:
    rules = evolve(RULES, repositories=tuple(parse(pattern) for pattern in patterns))
    _, _, body = Client(rules).ask("GET", "/", host="evil.test")
    assert b"evil" not in body
    assert f"docker pull {pull}<" in body.decode()


def test_a_request_that_needs_a_backend_waits_for_the_first_round_of_probes() -> None:
    client = Client(settled=False)
    answers: list[_Response] = []
    client.start("GET", "/v2/").addCallback(answers.append)
    client.flush()
    assert answers == []
    client.watching.backends.answer("main", BAD)
    client.watching.backends.answer("second", GOOD)
    client.flush()
    assert values(answers[0].headers, "Location") == ["https://second.test:5000/v2/"]


def test_a_request_that_needs_none_does_not_wait() -> None:
    assert Client(settled=False).ask("GET", "/v2/_catalog")[0] == 404


def test_a_client_that_goes_away_while_it_waits_leaves_nothing_behind() -> None:
    client = Client(settled=False)
    connection = Connection(BoundedSite(client.resource, Clock(), lambda _: None))
    connection.send(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.lose()
    client.watching.watch.stopService()
    assert connection.received() == b""


def test_an_error_of_our_own_is_logged_and_the_client_told(no_errors_are_logged: list[LogEvent]) -> None:
    client = Client(evolve(RULES, backends={}))
    code, _, body = client.ask("GET", "/v2/")
    assert code == 500
    assert json.loads(body)["errors"][0]["message"].startswith("an error in facaded")
    assert len(no_errors_are_logged) == 1
    no_errors_are_logged.clear()
