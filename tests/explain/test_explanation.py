"""Explanations: how each request of a pull is answered, in words."""

import pytest
from attrs import evolve

from facaded.explain.explanation import explain, explain_pull, split_image
from facaded.explain.explanation_text import WIDTH, text
from facaded.oci.clients import find_client
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
        (ROUTED, RoutingState(("ghcr", "hub"), ("ghcr", "hub")), "docker", SERVED, Rule.PING_NOT_REDIRECTED),
        (evolve(RULES, mode=Mode.SERVE), UP, "docker", SERVED, Rule.SERVE_ALL),
        (evolve(RULES, mode=Mode.REDIRECT), UP, "podman", HUB, Rule.REDIRECT_ALL),
        (PRIVATE, UP, "docker", "forwarded to hub with the client's credentials", Rule.CLIENT_CREDENTIALS),
    ],
)
def test_the_answer_to_a_manifest_request_is_explained(
    rules: Rules, routing: RoutingState, client: str, answer: str, why: Rule
) -> None:
    manifest = explain("", Image("org/app"), find_client(client), rules, routing)[-2]
    assert (manifest.request, manifest.answer, manifest.why) == ("GET /v2/org/app/manifests/latest", answer, why.value)
    assert manifest.purpose is (Purpose.REDIRECT if answer.startswith("307") else Purpose.SERVE)


def test_each_request_of_a_pull_is_explained() -> None:
    pull = explain("", Image("org/app", "v1"), find_client("docker"), RULES, UP)
    assert [(step.request, step.answer) for step in pull] == [
        ("GET /v2/", "307 to https://hub.test/v2/"),
        ("GET /v2/org/app/manifests/v1", "307 to https://hub.test/v2/org/app/manifests/v1"),
        ("GET /v2/org/app/blobs/<digest>", "307 to https://hub.test/v2/org/app/blobs/<digest>"),
    ]
    assert explain("", Image("org/app"), find_client("podman"), RULES, UP)[0].answer == "200, answered by the facade"
    assert len(explain("", Image("org/app"), find_client("ctr"), RULES, UP)) == 2, "containerd does not ping"


def test_a_refusal_is_explained_by_its_message() -> None:
    denied = explain("", Image("evil/app"), find_client("docker"), RULES, UP)[-1]
    assert denied.answer == "403 DENIED: evil/app is not among the repositories of this registry: check the name"
    assert (denied.why, denied.purpose) == ("refused", None)
    assert explain("other.test", Image("org/app"), find_client("docker"), RULES, UP)[0].answer.startswith(
        "421 DENIED: "
    )


@pytest.mark.parametrize(
    ("text", "host", "image"),
    [
        ("org/app", "", Image("org/app")),
        ("docker.example.com/org/app:v1", "docker.example.com", Image("org/app", "v1")),
        ("localhost/app", "localhost", Image("app")),
        ("facade:5000/app", "facade:5000", Image("app")),
    ],
)
def test_a_reference_is_split_as_docker_splits_it(text: str, host: str, image: Image) -> None:
    assert split_image(text) == (host, image)


def test_the_text_fits_the_terminal_but_breaks_no_url() -> None:
    def explained(image: str, client: str) -> list[str]:
        sentence = "hub is active: it is the preferred backend and is up, and a long reason follows until it wraps"
        return text(explain_pull(image, client, RULES, UP, lambda *_: sentence)).splitlines()

    refused = explained("evil/an-image-with-quite-a-long-name", "docker")
    assert max(map(len, refused)) <= WIDTH
    assert "    403 DENIED: evil/an-image-with-quite-a-long-name is not among the" in refused
    assert max(map(len, explained("org/app", "podman"))) <= WIDTH
    redirected = explained(f"org/{'a' * 60}", "docker")
    assert f"    307 to https://hub.test/v2/org/{'a' * 60}/manifests/latest" in redirected
    assert redirected[-2:] == [
        "hub is active: it is the preferred backend and is up, and a long reason follows",
        "until it wraps",
    ]


def test_the_text_names_the_clients_that_are_served_because_they_asked_again() -> None:
    def explained(image: str) -> list[str]:
        pull = explain_pull(
            image, "docker", RULES, UP, lambda *_: "why", explain_returns=lambda *_: ("one asked again",)
        )
        return text(pull).splitlines()

    assert explained("org/app")[-3:] == ["one asked again", "", "why"]
    assert "one asked again" not in explained("evil/app")


@pytest.mark.parametrize(
    ("client", "line"),
    [
        ("cosign", "org/app:latest by cosign"),
        ("ctr", "org/app:latest by ctr (family containerd)"),
        ("acme/2.0 (trivy/0.65.0)", "org/app:latest by acme/2.0 (trivy/0.65.0) (family trivy)"),
        ("devcontainer", "org/app:latest by devcontainer (family devcontainers)"),
    ],
)
def test_the_family_is_named_unless_that_is_the_client_s_name(client: str, line: str) -> None:
    assert text(explain_pull("org/app", client, RULES, UP, lambda *_: "why")).splitlines()[0] == line


@pytest.mark.parametrize("rule", Rule)
def test_each_rule_fits_a_line_of_the_terminal(rule: Rule) -> None:
    assert len(f"    {rule.value}") <= WIDTH
