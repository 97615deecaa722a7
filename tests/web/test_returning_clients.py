"""Clients that come back after a redirect: how they are answered, and what that starts."""

import pytest
from attrs import evolve
from twisted.logger import LogEvent

from facaded.policy.decision import BackendRules, Mode, Rules
from facaded.policy.health import State
from facaded.web.answered_requests import Outcome, parse_first_byte
from facaded.web.own_token import TOKEN
from tests.backends.memory import BLOB, INDEX
from tests.web.test_facade import LATEST, PODMAN, RULES, Client

BLOB_PATH = f"/v2/org/app/blobs/{BLOB}"

DOCKER = {"User-Agent": "docker/28", "Accept": INDEX}


def client_of(rules: Rules = RULES) -> Client:
    """Return a client of a facade whose registries have org/app:latest."""
    client = Client(rules)
    for fake in client.network.fakes.values():
        fake.put("org/app", "latest")
    return client


def send(client: Client, method: str, path: str, seconds: float = 0, **headers: str) -> int:
    """Send a request of Docker's after some seconds, and return its status."""
    client.watching.clock.advance(seconds)
    return client.send(method, path, {**DOCKER, **headers})


def backend_of(client: Client, path: str, headers: dict[str, str], seconds: float) -> str:
    """Send a GET after some seconds, and return the backend that the answer names."""
    client.watching.clock.advance(seconds)
    answer = client.exchange("GET", path, headers)
    return answer.partition(b"X-Facaded-Backend: ")[2].partition(b"\r\n")[0].decode()


def lines(client: Client) -> list[str]:
    """Return each answered request in a few words."""
    return [
        f"{answered.method} {answered.path} {answered.status} {answered.decision.backend or '-'}"
        f"{' asked again' if answered.decision.asked_again else ''}"
        for answered in client.answered
    ]


def test_an_error_in_judging_a_client_is_answered_500_as_any_other(no_errors_are_logged: list[LogEvent]) -> None:
    def fail(repository: str, digest: str, source: str) -> None:
        raise ValueError

    client = client_of()
    client.returning.report_doubts(fail)
    assert [send(client, "GET", BLOB_PATH, seconds) for seconds in (0, 2)] == [307, 500]
    assert client.answered[-1].decision.outcome is Outcome.ERROR
    assert len(no_errors_are_logged) == 1
    no_errors_are_logged.clear()


def test_docker_s_get_of_a_tag_whose_head_failed_is_served() -> None:
    client = client_of()
    assert send(client, "HEAD", LATEST) == 307
    assert send(client, "GET", LATEST) == 200
    assert send(client, "GET", BLOB_PATH) == 307
    assert lines(client) == [
        f"HEAD {LATEST} 307 main",
        f"GET {LATEST} 200 main asked again",
        f"GET {BLOB_PATH} 307 main asked again",
    ]
    (location, *_) = client.exchange("GET", BLOB_PATH, DOCKER).partition(b"Location: ")[2].split()
    assert location == b"https://cdn.main.test/a?sig=1"


def test_a_repeated_ping_is_answered_with_the_facade_s_own_challenge() -> None:
    client = client_of()
    assert [send(client, "GET", "/v2/", seconds) for seconds in (0, 0.5, 5, 5)] == [307, 307, 401, 401]
    assert lines(client)[-1] == "GET /v2/ 401 - asked again"
    own = f"Bearer {TOKEN}"
    assert send(client, "HEAD", LATEST, Authorization=own) == 200
    assert lines(client)[-1] == f"HEAD {LATEST} 200 main", "the token is the reason"


def test_a_client_that_asked_again_is_redirected_again_after_a_while() -> None:
    client = client_of()
    statuses = [send(client, "HEAD", LATEST, seconds) for seconds in (0, 5, 59, 2)]
    assert statuses == [307, 200, 200, 307]


@pytest.mark.parametrize("mode", [Mode.REDIRECT, Mode.SERVE])
def test_in_the_other_modes_a_repeated_request_changes_no_answer(mode: Mode) -> None:
    client = client_of(evolve(RULES, mode=mode))
    statuses = {send(client, method, LATEST, 5) for method in ("HEAD", "GET", "HEAD", "GET")}
    assert statuses == {307 if mode is Mode.REDIRECT else 200}
    assert client.returning.table.returns().count == 0
    assert "asked again" not in "".join(lines(client))


def test_what_is_refused_is_not_remembered() -> None:
    client = client_of()
    for path in ("/v2/evil/app/manifests/latest", "/v2/org/app/manifests/-", "/", "/token"):
        send(client, "GET", path)
        send(client, "GET", path, 5)
    assert client.returning.table.size == 0


@pytest.mark.parametrize("rules", [RULES, evolve(RULES, mode=Mode.SERVE)])
def test_a_served_blob_that_is_asked_for_again_is_doubted_and_then_comes_from_the_next_backend(rules: Rules) -> None:
    client = client_of(rules)
    backends = [backend_of(client, BLOB_PATH, PODMAN, seconds) for seconds in (0, 0.5, 2, 2, 2)]
    assert backends == ["main", "main", "main", "second", "main"]
    assert client.doubted == [("org/app", BLOB, "192.0.2.7")] * 3


def test_a_redirected_blob_that_is_asked_for_again_is_served() -> None:
    client = client_of()
    for seconds, location in ((0, b"main.test/v2"), (2, b"cdn.main.test"), (2, b"cdn.second.test")):
        client.watching.clock.advance(seconds)
        assert location in client.exchange("GET", BLOB_PATH, DOCKER)


def test_a_blob_of_a_private_image_that_is_asked_for_again_starts_a_probe() -> None:
    client = client_of(Rules(backends={"main": BackendRules("https://main.test", private=True)}))
    client.network.fakes["main"].valid.add("Basic secret")
    probes_before = len(client.watching.backends.probed)
    for _ in range(2):
        client.watching.clock.advance(2)
        assert client.send("GET", BLOB_PATH, {**PODMAN, "Authorization": "Basic secret"}) == 307
    client.watching.clock.advance(0)
    assert client.watching.backends.probed[probes_before:] == ["main"]


@pytest.mark.parametrize(
    ("ranges", "user_agent", "probed"),
    [
        (("", ""), {}, ["main"]),
        (("", ""), PODMAN, ["main"]),
        (("", "bytes=0-"), {}, ["main"]),
        (("bytes=9-", "bytes=9-"), PODMAN, ["main"]),
        (("bytes=0-", "bytes=9-"), {}, []),
        (("", "bytes=9-"), PODMAN, []),
        (("bytes=-9", "bytes=-9"), PODMAN, []),
    ],
)
def test_a_repeated_request_for_a_blob_starts_a_deep_probe_of_the_backend_it_came_from(
    ranges: tuple[str, str], user_agent: dict[str, str], probed: list[str]
) -> None:
    client = Client()
    probes_before = len(client.watching.backends.probed)
    for value in ranges:
        client.watching.clock.advance(2)
        assert client.send("GET", BLOB_PATH, {**user_agent, **({"Range": value} if value else {})}) == 307
    client.watching.clock.advance(0)
    assert client.watching.backends.probed[probes_before:] == probed
    assert client.watching.backends.depths["main"][-1].deep == bool(probed)


@pytest.mark.parametrize(
    ("method", "path", "probed"),
    [
        ("GET", "/v2/org/app/manifests/latest", True),
        ("HEAD", "/v2/org/app/manifests/latest", False),
        ("GET", "/v2/org/app/manifests/other", False),
        ("GET", "/v2/", False),
    ],
)
def test_a_repeated_request_for_a_redirected_manifest_starts_a_probe_and_changes_no_state(
    method: str, path: str, probed: bool
) -> None:
    client = Client()
    client.send("GET", "/v2/")
    client.send("GET", "/v2/org/app/manifests/latest")
    client.watching.clock.advance(5)
    probes_before = len(client.watching.backends.probed)
    client.send(method, path)
    client.watching.clock.advance(0)
    assert client.watching.backends.probed[probes_before:] == (["main"] if probed else [])
    assert client.watching.backends.depths["main"][-1].deep == probed
    assert client.watching.watch.watch_state.healths["main"].state is State.UP


@pytest.mark.parametrize(
    ("value", "first_byte"),
    [
        ("", 0),
        ("bytes=0-", 0),
        ("bytes=7-", 7),
        ("bytes=007-9", 7),
        ("Bytes=7-9, 20-", 7),
        ("bytes=-500", None),
        ("bytes=" + "9" * 400 + "-", None),
        ("bytes=7", None),
        ("chunks=7-", None),
        ("nonsense", None),
    ],
)
def test_the_first_byte_of_a_range_is_known_if_it_is_a_number(value: str, first_byte: int | None) -> None:
    assert parse_first_byte(value) == first_byte


def test_blobs_are_not_recently_pulled_images() -> None:
    client = client_of()
    send(client, "GET", BLOB_PATH)
    assert client.pulls.recent.images() == ()
