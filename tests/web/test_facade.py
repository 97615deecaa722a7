"""The registry as a client sees it, in memory."""

import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from treq.client import HTTPClient
from treq.response import _Response
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent
from twisted.web.http_headers import Headers
from twisted.web.server import Request

from facaded.backends.manifests import digest_of
from facaded.oci.clients import identify
from facaded.policy.decision import BackendRules, Rules
from facaded.policy.recent_pulls import IMAGES
from facaded.policy.repositories import parse
from facaded.web.answered_requests import AnsweredRequest, Decision, Kind, Outcome
from facaded.web.facade import Facade
from facaded.web.page import UNNAMED
from facaded.web.pulls import Pulls
from facaded.web.returning_clients import ReturningClients
from facaded.web.server import BoundedSite
from tests.backends.memory import BLOB, INDEX, Fake, Network
from tests.watching import BAD, GOOD, Watching
from tests.web.raw import Connection

RULES = Rules(
    repositories=(parse("org/*"), parse("team/**")),
    backends={"main": BackendRules("https://main.test"), "second": BackendRules("https://second.test:5000")},
)
DIGEST = "sha256:" + "0" * 64


class Client:
    """A client of a facade in memory."""

    def __init__(self, rules: Rules = RULES, settled: bool = True, trust: float = 0.0) -> None:
        self.network = Network(Fake("main"), Fake("second"))
        self.watching = Watching.begin("main", "second", trust=trust)
        if settled:
            self.watching.backends.answer("main", GOOD)
            self.watching.backends.answer("second", GOOD)
        self.returning = ReturningClients(self.watching.clock.seconds, self.watching.watch.probe_soon)
        self.resource = Facade(self.watching.watch, rules, self.network.fetcher(), self.returning)
        self.doubted: list[tuple[str, str, str]] = []
        self.returning.report_doubts(lambda *blob: self.doubted.append(blob))
        self.answered: list[AnsweredRequest] = []
        self.pulls = Pulls()
        self.clock = Clock()
        self.site = BoundedSite(
            self.resource, self.clock, [self.answered.append, lambda answered: self.pulls.follow([answered])]
        )
        self._agent = RequestTraversalAgent(self.resource)

    def start(
        self, method: str, path: str, host: str = "facade.test", headers: dict[str, str] | None = None
    ) -> Deferred[_Response]:
        sent = Headers({name: [value] for name, value in ({"User-Agent": "docker/28"} | (headers or {})).items()})
        return HTTPClient(self._agent).request(method, f"http://{host}{path}", headers=sent, allow_redirects=False)

    def ask(
        self, method: str, path: str, host: str = "facade.test", headers: dict[str, str] | None = None
    ) -> tuple[int, Headers, bytes]:
        answers: list[_Response] = []
        bodies: list[bytes] = []
        self.start(method, path, host, headers).addCallback(answers.append)
        for _ in range(12):
            self.flush()
            self.network.agent.flush()
        answers[0].content().addCallback(bodies.append)
        return answers[0].code, answers[0].headers, bodies[0]

    def flush(self) -> None:
        self._agent.flush()

    def send(self, method: str, path: str, headers: dict[str, str] | None = None) -> int:
        """Send a request to the site, whose subscribers see it answered, and return the status."""
        return int(self.exchange(method, path, headers).split()[1])

    def exchange(self, method: str, path: str, headers: dict[str, str] | None = None) -> bytes:
        """Send a request to the site from 192.0.2.7, and return the whole answer."""
        connection = Connection(self.site)
        lines = [f"{name}: {value}" for name, value in ({"User-Agent": "docker/28"} | (headers or {})).items()]
        answer = connection.send("\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode())
        for _ in range(12):
            self.network.agent.flush()
            self.clock.advance(0.1)
        answer += connection.received()
        connection.lose()
        return answer


def values(headers: Headers, name: str) -> list[str]:
    return [value.decode() for value in headers.getRawHeaders(name.encode(), [])]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "path", ["/v2/", "/v2/org/app/manifests/latest", f"/v2/team/a/b/blobs/{DIGEST}", "/v2/org/app/tags/list?n=1"]
)
def test_a_redirect_is_a_307_that_may_not_be_cached(method: str, path: str) -> None:
    code, headers, body = Client().ask(method, path)
    assert code == 307
    assert values(headers, "Location") == [f"https://main.test{path}"]
    assert values(headers, "X-Facaded-Backend") == ["main"]
    assert values(headers, "Docker-Distribution-Api-Version") == ["registry/2.0"]
    assert values(headers, "Cache-Control") == ["no-store"]
    assert values(headers, "Vary") == ["User-Agent, Accept, Authorization"]
    assert body == b""


def test_a_redirect_leads_to_the_active_backend() -> None:
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
def test_a_refusal_is_an_error_document_of_the_spec(
    method: str, path: str, status: int, code: str, allow: list[str]
) -> None:
    answered, headers, body = Client().ask(method, path)
    assert answered == status
    assert values(headers, "Content-Type") == ["application/json"]
    assert values(headers, "Allow") == allow
    assert values(headers, "Location") == []
    assert values(headers, "Cache-Control") == ["no-store"]
    error = json.loads(body)["errors"][0]
    assert error["code"] == code
    assert error["message"]


def test_another_host_is_answered_421_but_a_ping_to_an_address_200() -> None:
    client = Client(evolve(RULES, hosts=("facade.test",)))
    assert client.ask("GET", "/v2/", host="Facade.test.:80")[0] == 307
    assert client.ask("GET", "/v2/", host="evil.test")[0] == 421
    connection = Connection(BoundedSite(client.resource, Clock()))
    answer = connection.send(b"GET /v2/ HTTP/1.1\r\nHost: evil.test\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 421 Misdirected Request\r\n")
    connection.lose()
    code, headers, body = client.ask("GET", "/v2/", host="192.0.2.1")
    assert (code, body, values(headers, "Content-Type")) == (200, b"{}", ["application/json"])
    assert client.ask("GET", "/", host="192.0.2.1")[0] == 421


def test_the_page_says_how_to_pull_and_which_repositories() -> None:
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


def test_a_request_that_needs_a_backend_waits_for_the_first_probes() -> None:
    client = Client(settled=False)
    answers: list[_Response] = []
    client.start("GET", "/v2/").addCallback(answers.append)
    client.flush()
    assert answers == []
    client.watching.backends.answer("main", BAD)
    client.watching.backends.answer("second", GOOD)
    client.flush()
    assert values(answers[0].headers, "Location") == ["https://second.test:5000/v2/"]


def test_a_request_that_needs_no_backend_does_not_wait() -> None:
    assert Client(settled=False).ask("GET", "/v2/_catalog")[0] == 404


def test_a_client_that_disconnects_while_it_waits_gets_no_answer() -> None:
    client = Client(settled=False)
    connection = Connection(BoundedSite(client.resource, Clock()))
    connection.send(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.lose()
    client.watching.watch.stopService()
    assert connection.received() == b""


def test_an_internal_error_is_logged_and_answered_500(no_errors_are_logged: list[LogEvent]) -> None:
    client = Client(evolve(RULES, backends={}))
    code, _, body = client.ask("GET", "/v2/")
    assert code == 500
    assert json.loads(body)["errors"][0]["message"].startswith("internal error")
    assert len(no_errors_are_logged) == 1
    no_errors_are_logged.clear()


PODMAN = {"User-Agent": "containers/5.24.1", "Accept": INDEX}
LATEST = "/v2/org/app/manifests/latest"
LENGTH = len(json.dumps({"mediaType": INDEX, "of": ["org/app", "latest"]}))


def served(fault: str = "") -> tuple[Client, str]:
    """Return a client, and the digest of org/app:latest, which both registries have. The first has the `fault`."""
    client = Client()
    client.network.fakes["main"].fault = fault
    digests = {fake.put("org/app", "latest") for fake in client.network.fakes.values()}
    return client, digests.pop()


def test_a_served_ping_is_answered_as_a_registry_does() -> None:
    code, headers, body = Client().ask("GET", "/v2/", headers=PODMAN)
    assert (code, body) == (200, b"{}")
    assert values(headers, "Docker-Distribution-Api-Version") == ["registry/2.0"]


@pytest.mark.parametrize("reference", ["latest", "digest"])
def test_a_served_manifest_has_the_headers_that_clients_need(reference: str) -> None:
    client, digest = served()
    path = f"/v2/org/app/manifests/{digest if reference == 'digest' else reference}"
    code, headers, body = client.ask("GET", path, headers=PODMAN)
    assert code == 200
    assert digest_of(body) == digest
    head_code, head_headers, head_body = client.ask("HEAD", path, headers=PODMAN)
    assert (head_code, head_body) == (200, b"")
    for answer_headers in (headers, head_headers):
        assert values(answer_headers, "Content-Type") == [INDEX]
        assert values(answer_headers, "Docker-Content-Digest") == [digest]
        assert values(answer_headers, "ETag") == [f'"{digest}"']
        assert values(answer_headers, "X-Facaded-Backend") == ["main"]
        assert values(answer_headers, "Warning") == []
    assert values(head_headers, "Content-Length") == [str(len(body))]


def test_a_manifest_that_a_client_has_already_is_answered_304() -> None:
    client, digest = served()
    for condition in (f'"{digest}"', f'W/"x", W/"{digest}"'):
        code, headers, body = client.ask("GET", LATEST, headers={**PODMAN, "If-None-Match": condition})
        assert (code, body) == (304, b"")
        assert values(headers, "ETag") == [f'"{digest}"']
    assert client.ask("GET", LATEST, headers={**PODMAN, "If-None-Match": '"other"'})[0] == 200


def test_accept_lines_are_joined_and_forwarded() -> None:
    client, _ = served()
    connection = Connection(BoundedSite(client.resource, Clock()))
    answer = connection.send(
        b"GET " + LATEST.encode() + b" HTTP/1.1\r\nHost: x\r\nAccept: a/b\r\nAccept: " + INDEX.encode() + b"\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200")
    connection.lose()


def test_a_served_blob_is_a_redirect_to_the_cdn_and_a_head_is_answered_here() -> None:
    client, _ = served()
    code, headers, _ = client.ask("GET", f"/v2/org/app/blobs/{BLOB}", headers=PODMAN)
    assert (code, values(headers, "Location")) == (307, ["https://cdn.main.test/a?sig=1"])
    code, headers, body = client.ask("HEAD", f"/v2/org/app/blobs/{BLOB}", headers=PODMAN)
    assert (code, body) == (200, b"")
    assert values(headers, "Content-Length") == ["6"]
    assert values(headers, "Docker-Content-Digest") == [BLOB]


def test_a_page_of_tags_links_to_the_next_page_of_the_facade() -> None:
    client, _ = served()
    code, headers, body = client.ask("GET", "/v2/org/app/tags/list?n=1", headers=PODMAN)
    assert (code, json.loads(body)["name"]) == (200, "org/app")
    assert values(headers, "Link") == ['</v2/org/app/tags/list?n=1&last=b>; rel="next"']
    code, headers, _ = client.ask("GET", f"/v2/org/app/referrers/{BLOB}?artifactType=a%2Fb", headers=PODMAN)
    assert (code, values(headers, "OCI-Filters-Applied")) == (200, ["artifactType"])


def test_an_answer_of_another_backend_than_the_first_has_a_warning() -> None:
    client, _ = served("500")
    code, headers, _ = client.ask("GET", LATEST, headers=PODMAN)
    assert (code, values(headers, "X-Facaded-Backend")) == (200, ["second"])
    assert values(headers, "Warning") == ['299 - "main is failing; served by second"']
    for _ in range(2):
        client.watching.advance(10)
        client.watching.backends.answer("main", BAD)
    _, headers, _ = client.ask("GET", LATEST, headers=PODMAN)
    assert values(headers, "Warning") == ['299 - "main is down; served by second"']


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("/v2/org/no/manifests/latest", "MANIFEST_UNKNOWN", "org/no has no manifest latest, or it is not public"),
        (f"/v2/org/no/blobs/{DIGEST}", "BLOB_UNKNOWN", f"org/no has no blob {DIGEST}, or it is not public"),
        (
            "/v2/org/no/nothing/tags/list",
            "MANIFEST_UNKNOWN",
            "there is no repository org/no/nothing, or it is not public",
        ),
    ],
)
def test_what_no_backend_has_is_answered_404_with_the_spec_s_code(path: str, code: str, message: str) -> None:
    client = Client(evolve(RULES, repositories=(parse("org/**"),)))
    client.network.fakes["main"].fault = client.network.fakes["second"].fault = "token 403"
    status, _, body = client.ask("GET", path, headers=PODMAN)
    assert (status, json.loads(body)["errors"]) == (404, [{"code": code, "message": message}])


def test_what_a_failing_backend_may_have_is_answered_503_with_both_names() -> None:
    client, _ = served("500")
    code, headers, body = client.ask("GET", "/v2/org/nothing/manifests/latest", headers=PODMAN)
    assert (code, values(headers, "Retry-After")) == (503, ["5"])
    message = "main failed (answered 500); second does not have it: try again in 5 s"
    assert json.loads(body) == {"errors": [{"code": "UNAVAILABLE", "message": message}]}


HEADER = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=80)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([200, 204, 206, 301, 302, 307, 308, 400, 401, 404, 416, 500, 503]),
    st.dictionaries(
        st.sampled_from(
            [
                "Content-Type",
                "Docker-Content-Digest",
                "Location",
                "Link",
                "WWW-Authenticate",
                "ETag",
                "OCI-Filters-Applied",
            ]
        ),
        HEADER | st.sampled_from(["javascript:x", "//evil.test/", "http://evil.test/", "https://cdn.test/x", DIGEST]),
    ),
    st.binary(max_size=200),
    st.sampled_from(
        [LATEST, f"/v2/org/app/manifests/{DIGEST}", f"/v2/org/app/blobs/{DIGEST}", "/v2/org/app/tags/list"]
    ),
    st.sampled_from(["GET", "HEAD"]),
)
def test_the_facade_s_answer_is_well_formed_whatever_a_backend_answers(
    status: int, headers: dict[str, str], body: bytes, path: str, method: str
) -> None:
    class Odd(Fake):
        def answer(self, request: Request, host: str) -> Any:
            return self._respond(request, status, headers, body)

    client = Client()
    client.network.fakes |= {"main": Odd("main"), "second": Odd("second")}
    code, answer_headers, content = client.ask(method, path, headers=PODMAN)
    assert code in (200, 307, 404, 503)
    assert len(content) < 1000
    for name, lines in answer_headers.getAllRawHeaders():
        assert all(0x20 <= byte < 0x7F for line in lines for byte in line), name
    for location in values(answer_headers, "Location"):
        assert location.startswith("https://")


def test_tags_that_were_served_or_redirected_are_recently_pulled_images() -> None:
    client = Client()
    client.network.fakes["main"].put("org/app", "served")
    requests = [
        ("/v2/org/app/manifests/served", PODMAN),
        ("/v2/org/app/manifests/not-there", PODMAN),
        ("/v2/org/app/manifests/redirected", {}),
        ("/v2/evil/app/manifests/refused", {}),
        (f"/v2/org/app/manifests/{DIGEST}", {}),
        ("/v2/org/app/tags/list", {}),
        ("/v2/", {}),
    ]
    for path, headers in requests:
        client.send("HEAD", path, headers={"Accept": INDEX, **headers})
    assert client.pulls.recent.images() == ("org/app:redirected", "org/app:served")


def test_private_images_are_not_recently_pulled_images() -> None:
    client = Client(Rules(backends={"main": BackendRules("https://main.test", private=True)}))
    client.network.fakes["main"].put("org/app", "secret")
    client.network.fakes["main"].valid.add("Basic secret")
    headers = {"Accept": INDEX, "Authorization": "Basic secret"}
    assert client.send("GET", "/v2/org/app/manifests/secret", headers) == 200
    assert client.pulls.recent.images() == ()


@pytest.mark.parametrize(
    ("method", "path", "user_agent", "decision", "status", "length"),
    [
        ("GET", "/v2/", "docker/28", Decision(Kind.PING, Outcome.REDIRECTED, "main"), 307, 0),
        ("GET", "/v2/", "skopeo/1", Decision(Kind.PING), 200, 2),
        (
            "GET",
            "/v2/org/app/manifests/latest?a=b",
            "docker/28",
            Decision(Kind.MANIFEST, Outcome.REDIRECTED, "main", "org/app", "latest"),
            307,
            0,
        ),
        (
            "GET",
            "/v2/org/app/manifests/latest",
            "skopeo/1",
            Decision(Kind.MANIFEST, Outcome.SERVED, "main", "org/app", "latest"),
            200,
            LENGTH,
        ),
        (
            "HEAD",
            "/v2/org/app/manifests/latest",
            "skopeo/1",
            Decision(Kind.MANIFEST, Outcome.SERVED, "main", "org/app", "latest"),
            200,
            0,
        ),
        (
            "GET",
            f"/v2/org/app/blobs/{BLOB}",
            "skopeo/1",
            Decision(Kind.BLOB, Outcome.SERVED, "main", "org/app", BLOB),
            307,
            0,
        ),
        ("GET", "/v2/evil/app/tags/list", "crane/0", Decision(Kind.TAGS, Outcome.REFUSED, None, "evil/app"), 403, None),
        ("PUT", "/v2/org/app/manifests/1", "docker/28", Decision(Kind.OTHER, Outcome.REFUSED), 405, None),
        ("GET", "/", "Mozilla/5", Decision(Kind.PAGE), 200, None),
    ],
)
def test_subscribers_see_every_answered_request(
    method: str, path: str, user_agent: str, decision: Decision, status: int, length: int | None
) -> None:
    client, _ = served()
    assert client.send(method, path, {"User-Agent": user_agent, "Accept": INDEX}) == status
    (answered,) = client.answered
    assert evolve(answered.decision, reason="") == decision
    assert bool(answered.decision.reason) == (status >= 400)
    assert (answered.method, answered.path, answered.status) == (method, path.partition("?")[0], status)
    assert answered.address == "192.0.2.7"
    assert answered.client == identify(user_agent)
    assert answered.seconds == 0
    if length is not None:
        assert answered.bytes == length


def test_an_error_in_a_subscriber_is_logged_and_has_no_other_effect(
    no_errors_are_logged: list[LogEvent],
) -> None:
    def broken(_: AnsweredRequest) -> None:
        raise ValueError("broken")

    client = Client()
    client.site = BoundedSite(client.resource, Clock(), [broken, client.answered.append])
    assert client.send("GET", "/v2/") == 307
    assert len(client.answered) == 1
    assert len(no_errors_are_logged) == 1
    no_errors_are_logged.clear()


def test_the_latest_pulls_of_a_large_batch_are_recorded() -> None:
    client, _ = served()
    for number in range(IMAGES + 1):
        client.send("GET", f"/v2/org/app/manifests/{number}")
    client.send("GET", "/v2/org/app/manifests/1")
    pulls = Pulls()
    pulls.follow(client.answered)
    assert pulls.recent.images() == client.pulls.recent.images()
    assert pulls.recent.images()[:2] == ("org/app:1", f"org/app:{IMAGES}")
    assert len(pulls.recent.images()) == IMAGES
