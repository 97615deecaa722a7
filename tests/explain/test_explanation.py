"""Explanations: they are the answers' own, in words."""

import pytest
from attrs import evolve

from facaded.explain.explanation import explain, split_image
from facaded.oci.clients import USER_AGENTS, Family, called
from facaded.oci.requests import Image
from facaded.policy.decision import BackendRules, Mode, Route, RoutingState, Rule, Rules
from facaded.policy.health import Purpose
from facaded.policy.repositories import parse, parse_rename

RULES = Rules(
    hosts=("docker.example.com",),
    repositories=(parse("org/**"),),
    backends={"hub": BackendRules("https://hub.test"), "ghcr": BackendRules("https://ghcr.test")},
)
UP = RoutingState(("hub",), ("hub",))
RENAMED = evolve(
    RULES, backends={**RULES.backends, "hub": BackendRules("https://hub.test", (parse_rename("org/*", "o/*"),))}
)
ROUTED = evolve(RULES, named_routes=(Route(("ghcr",), (parse("org/next"),)),))
PRIVATE = evolve(RULES, backends={"hub": BackendRules("https://hub.test", private=True)})
HUB = "307 to https://hub.test/v2/org/app/manifests/latest"
SERVED = "served from hub, else ghcr"


@pytest.mark.parametrize(
    ("rules", "routing", "client", "answer", "why"),
    [
        (RULES, UP, "docker", HUB, Rule.REDIRECT_SAFE),
        (RULES, UP, "ctr", HUB, Rule.REDIRECT_SAFE),
        (RULES, UP, "containerd/1.4.3", SERVED, Rule.NOT_REDIRECT_SAFE),
        (RULES, UP, "podman", SERVED, Rule.NOT_REDIRECT_SAFE),
        (RULES, evolve(UP, handover=True), "docker", SERVED, Rule.HANDOVER),
        (RULES, evolve(UP, handover=True), "ctr", HUB, Rule.REDIRECT_SAFE),
        (RULES, evolve(UP, serving=("ghcr",)), "podman", "served from ghcr, else hub", Rule.NOT_REDIRECT_SAFE),
        (RULES, evolve(UP, drained=frozenset({"ghcr"})), "podman", "served from hub", Rule.NOT_REDIRECT_SAFE),
        (RENAMED, UP, "docker", SERVED, Rule.RENAMED),
        (ROUTED, RoutingState(("ghcr", "hub"), ("ghcr", "hub")), "docker", SERVED, Rule.ANOTHER_PING),
        (evolve(RULES, mode=Mode.SERVE), UP, "docker", SERVED, Rule.SERVE_ALL),
        (evolve(RULES, mode=Mode.REDIRECT), UP, "podman", HUB, Rule.REDIRECT_ALL),
        (PRIVATE, UP, "docker", "forwarded to hub with the client's own credentials", Rule.CLIENT_S_OWN),
    ],
)
def test_what_a_manifest_is_answered_is_explained(
    rules: Rules, routing: RoutingState, client: str, answer: str, why: Rule
) -> None:
    manifest = explain("", Image("org/app"), called(client), rules, routing)[-2]
    assert (manifest.request, manifest.answer, manifest.why) == ("GET /v2/org/app/manifests/latest", answer, why.value)
    assert manifest.purpose is (Purpose.REDIRECT if answer.startswith("307") else Purpose.SERVE)


def test_each_request_of_a_pull_is_explained() -> None:
    pull = explain("", Image("org/app", "v1"), called("docker"), RULES, UP)
    assert [(each.request, each.answer) for each in pull] == [
        ("GET /v2/", "307 to https://hub.test/v2/"),
        ("GET /v2/org/app/manifests/v1", "307 to https://hub.test/v2/org/app/manifests/v1"),
        ("GET /v2/org/app/blobs/<digest>", "307 to https://hub.test/v2/org/app/blobs/<digest>"),
    ]
    assert explain("", Image("org/app"), called("podman"), RULES, UP)[0].answer == "200: a registry is here"
    assert len(explain("", Image("org/app"), called("ctr"), RULES, UP)) == 2, "containerd never pings"


def test_a_refusal_is_explained_by_itself() -> None:
    denied = explain("", Image("evil/app"), called("docker"), RULES, UP)[-1]
    assert denied.answer == "403 DENIED: evil/app is not among the repositories that this registry answers for"
    assert (denied.why, denied.purpose) == ("refused", None)
    assert explain("other.test", Image("org/app"), called("docker"), RULES, UP)[0].answer.startswith("421 DENIED: ")


@pytest.mark.parametrize(
    ("text", "host", "image"),
    [
        ("org/app", "", Image("org/app")),
        ("docker.example.com/org/app:v1", "docker.example.com", Image("org/app", "v1")),
        ("localhost/app", "localhost", Image("app")),
        ("facade:5000/app", "facade:5000", Image("app")),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(text: str, host: str, image: Image) -> None:
    assert split_image(text) == (host, image)


def test_every_client_that_has_a_name_has_a_family() -> None:
    assert {called(name).family for name in USER_AGENTS} == set(Family)
    with pytest.raises(ValueError, match="no client called 'docket': docker, "):
        called("docket")
