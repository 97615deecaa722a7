"""Redirects that rely on proofs, as clients see them: they wait for a check, and are served if it does not succeed."""

import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from facaded.oci.clients import Family, identify
from facaded.oci.requests import Blob, ManifestRead, Read
from facaded.policy.decision import BackendRules, Mode, Redirect, RoutingState, Serve, Visit, decide
from facaded.policy.health import Rank, Step
from facaded.policy.proofs import CHECK_PAUSE
from facaded.web.own_token import TOKEN
from facaded.web.server import BoundedSite
from tests.backends.memory import BLOB, INDEX, Fake, Network
from tests.watching import Watching
from tests.web.raw import Connection
from tests.web.test_facade import RULES, Client, values

CONTAINERD = {"User-Agent": "containerd/2.0.0", "Accept": INDEX}
DOCKER = {"User-Agent": "docker/28.0.0", "Accept": INDEX}
OWN = {**DOCKER, "Authorization": f"Bearer {TOKEN}"}
LATEST = "/v2/org/app/manifests/latest"


class Waiting:
    """A request that has been sent to a facade whose backends were last proven to work a minute ago."""

    def __init__(self, path: str, headers: dict[str, str], method: str = "GET", rules_mode: Mode = Mode.AUTO) -> None:
        self.client = Client(evolve(RULES, mode=rules_mode), trust=2.0)
        for registry in self.client.network.fakes.values():
            registry.put("org/app", "latest")
        self.responses: list[Any] = []
        self.client.start(method, path, headers=headers).addCallback(self.responses.append)
        self.flush()

    @property
    def watching(self) -> Watching:
        return self.client.watching

    def flush(self) -> None:
        for _ in range(12):
            self.client.flush()
            self.client.network.agent.flush()

    def end_check(self, failed: Step | None = None) -> None:
        self.watching.backends.end_check("main", self.watching.clock.seconds(), failed)
        self.flush()

    def advance(self, seconds: float) -> None:
        self.watching.clock.advance(seconds)
        self.flush()

    @property
    def location(self) -> str:
        return "".join(values(self.responses[0].headers, "Location"))

    @property
    def backend(self) -> str:
        return "".join(values(self.responses[0].headers, "X-Facaded-Backend"))


@pytest.mark.parametrize(
    ("path", "headers"), [("/v2/", DOCKER), (LATEST, CONTAINERD), (f"/v2/org/app/blobs/{BLOB}", CONTAINERD)]
)
def test_a_redirect_waits_until_its_target_has_proven_that_it_works(path: str, headers: dict[str, str]) -> None:
    waiting = Waiting(path, headers)
    assert waiting.responses == []
    waiting.end_check()
    assert waiting.responses[0].code == 307
    assert waiting.location == f"https://main.test{path}"


def test_docker_learns_facaded_s_own_token_if_the_registry_fails() -> None:
    waiting = Waiting("/v2/", DOCKER)
    waiting.end_check(failed=Step.TOKEN)
    assert waiting.responses[0].code == 401
    assert values(waiting.responses[0].headers, "WWW-Authenticate") == [
        'Bearer realm="http://facade.test/token",service="facade.test"'
    ]
    status, _, body = waiting.client.ask("GET", "/token?service=facade.test&scope=x", headers=DOCKER)
    assert (status, json.loads(body)["token"]) == (200, TOKEN)
    waiting.watching.backends.proofs["main"].note_pass(waiting.watching.clock.seconds(), *Step)
    assert waiting.client.ask("GET", LATEST, headers=DOCKER)[0] == 307
    assert waiting.client.ask("GET", LATEST, headers=OWN)[0] == 200
    assert waiting.client.ask("GET", "/v2/", headers=OWN)[0] == 307


def test_a_tag_is_still_asked_of_the_same_registry_and_a_digest_of_another() -> None:
    """Another registry may lag behind, but what a digest names is the same everywhere."""
    tag = Waiting(LATEST, CONTAINERD)
    tag.end_check(failed=Step.PING)
    assert (tag.responses[0].code, tag.backend) == (200, "main")
    digest = "".join(values(tag.responses[0].headers, "Docker-Content-Digest"))
    by_digest = Waiting(f"/v2/org/app/manifests/{digest}", CONTAINERD)
    by_digest.end_check(failed=Step.PING)
    assert (by_digest.responses[0].code, by_digest.backend) == (200, "second")


def test_a_dead_cdn_concerns_blobs_alone() -> None:
    blob = Waiting(f"/v2/org/app/blobs/{BLOB}", CONTAINERD)
    blob.end_check(failed=Step.CDN)
    assert (blob.responses[0].code, blob.backend) == (307, "second")
    assert blob.location.startswith("https://cdn.second.test/")
    assert blob.client.ask("GET", LATEST, headers=CONTAINERD)[0] == 307


def test_a_request_waits_for_a_second_and_is_then_served() -> None:
    waiting = Waiting(LATEST, CONTAINERD)
    waiting.advance(0.9)
    assert waiting.responses == []
    waiting.advance(0.2)
    assert waiting.responses[0].code == 200
    assert waiting.client.ask("GET", LATEST, headers=CONTAINERD)[0] == 200
    waiting.end_check()
    assert waiting.client.ask("GET", LATEST, headers=CONTAINERD)[0] == 307


def test_a_repeated_request_is_served_only_until_the_backend_has_proven_again_that_it_works() -> None:
    client = Client(trust=2.0)
    digest, _ = (registry.put("org/app", "latest") for registry in client.network.fakes.values())
    path, checks = f"/v2/org/app/manifests/{digest}", client.watching.backends
    assert client.exchange("GET", path, CONTAINERD) == b"", "it waits for a check"
    checks.end_check("main", client.watching.clock.seconds(), failed=Step.MANIFEST)
    assert [client.send("GET", path, CONTAINERD) for _ in range(4)] == [200] * 4, "from the cache in the end"
    client.watching.clock.advance(CHECK_PAUSE)
    client.send("GET", path, CONTAINERD)
    checks.end_check("main", client.watching.clock.seconds())
    assert client.send("GET", path, CONTAINERD) == 307


@pytest.mark.parametrize("mode", [Mode.REDIRECT, Mode.SERVE])
def test_other_modes_do_not_wait(mode: Mode) -> None:
    waiting = Waiting("/v2/", DOCKER, rules_mode=mode)
    assert waiting.responses[0].code == (307 if mode is Mode.REDIRECT else 200)
    assert waiting.watching.backends.checking == {}


def test_a_pinned_backend_is_not_checked() -> None:
    client = Client(trust=2.0)
    client.watching.watch.pin("second", None)
    assert values(client.ask("GET", "/v2/")[1], "Location") == ["https://second.test:5000/v2/"]
    assert client.watching.backends.checking == {}


def test_a_client_that_disconnects_while_it_waits_for_a_check_gets_no_answer() -> None:
    client = Client(trust=2.0)
    connection = Connection(BoundedSite(client.resource, Clock()))
    connection.send(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nUser-Agent: docker/28\r\n\r\n")
    connection.lose()
    client.watching.backends.end_check("main", client.watching.clock.seconds())
    assert connection.received() == b""


def test_after_a_takeover_a_waiting_request_is_redirected_to_the_new_backend() -> None:
    waiting = Waiting(LATEST, CONTAINERD)
    second = waiting.watching.backends.proofs["second"]
    second.note_pass(waiting.watching.clock.seconds(), *Step)
    waiting.watching.watch.drain("main", None)
    waiting.end_check()
    assert waiting.location == f"https://second.test:5000{LATEST}"


@pytest.mark.parametrize(
    ("path", "names", "code"),
    [("/v2/", ["first", "second"], 401), (LATEST, ["first", "second"], 200), (LATEST, ["second"], 200)],
)
def test_a_request_that_waits_during_a_reload_is_served_under_the_new_settings(
    path: str, names: list[str], code: int
) -> None:
    waiting = Waiting(path, DOCKER)
    network = Network(*map(Fake, names))
    for registry in network.fakes.values():
        registry.put("org/app", "latest")
    plan = waiting.watching.backends.plan(*names, urls={"first": "main"})
    rules = evolve(RULES, backends={name: BackendRules(f"https://{name}.test") for name in names})
    waiting.client.resource.reconfigure(rules, network.fetcher())
    waiting.watching.watch.reconfigure(evolve(plan, settings=evolve(plan.settings, interval=3)))
    for _ in range(12):
        waiting.flush()
        network.agent.flush()
    assert waiting.responses[0].code == code
    assert waiting.watching.backends.cancelled[-1:] == ["main"]


READS: list[Read] = [ManifestRead("org/app", "latest"), ManifestRead("org/app", BLOB), Blob("org/app", BLOB)]
ROUTINGS = st.builds(
    RoutingState,
    st.sampled_from([("main",), ("second",)]),
    st.sampled_from([("main",), ("second",)]),
    st.booleans(),
    st.frozensets(st.sampled_from(["main", "second"])),
    st.sampled_from([None, "main", "second"]),
    st.dictionaries(st.sampled_from(["main", "second"]), st.sampled_from(Rank)),
    st.frozensets(st.sampled_from(["main", "second"])),
)
USER_AGENTS = st.sampled_from(["docker/28.0.0", "containerd/2.0.0", "buildkit/v0.20", "skopeo/1", ""])


@given(st.sampled_from(READS), USER_AGENTS, ROUTINGS, st.booleans(), st.booleans())
def test_a_client_with_facaded_s_own_token_is_never_redirected(
    read: Read, user_agent: str, routing: RoutingState, asked_again: bool, unproven: bool
) -> None:
    visit = Visit(True, asked_again, unproven)
    assert isinstance(decide(read, "x", identify(user_agent), RULES, routing, visit), Serve)


@given(st.sampled_from(READS), USER_AGENTS, ROUTINGS)
def test_a_redirect_needs_proofs_but_where_the_contract_has_an_exception(
    read: Read, user_agent: str, routing: RoutingState
) -> None:
    answer = decide(read, "x", identify(user_agent), RULES, routing)
    if isinstance(answer, Redirect):
        exempt = (
            answer.backend == routing.pinned
            or answer.backend in routing.resting
            or all(routing.ranks.get(name) is Rank.DOWN for name in ("main", "second"))
        )
        assert (answer.need is None) == exempt
        assert identify(user_agent).family is not Family.OTHER
    assert isinstance(decide(read, "x", identify(user_agent), RULES, routing, Visit(unproven=True)), Serve)
