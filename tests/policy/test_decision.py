"""Decisions: tables of request, client and routing to answer, and where a redirect can lead."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from facaded.oci.clients import identify
from facaded.oci.errors import Code, Refusal
from facaded.oci.requests import Blob, ManifestRead, Ping, Referrers, Tags, parse
from facaded.policy.decision import (
    HOST_LENGTH,
    Answer,
    BackendRules,
    Forward,
    Mode,
    OwnChallenge,
    Page,
    Pong,
    Redirect,
    Route,
    RoutingState,
    Rule,
    Rules,
    Serve,
    Visit,
    choose_rule,
    decide,
    ping_leads_to,
    split_host,
)
from facaded.policy.health import Rank
from facaded.policy.repositories import parse as pattern
from facaded.policy.repositories import parse_rename

HUB, GHCR = "https://registry-1.docker.io", "https://ghcr.io"
DIGEST = "sha256:" + "0" * 64
RULES = Rules(
    repositories=(pattern("org/**"),),
    backends={"docker-hub": BackendRules(HUB), "ghcr": BackendRules(GHCR)},
)
HOSTED = evolve(RULES, hosts=("docker.example.com", "::1"))
AT_HUB, AT_GHCR = RoutingState(("docker-hub",), ("docker-hub",)), RoutingState(("ghcr",), ("ghcr",))
DOCKER, CONTAINERD, PODMAN = "docker/28.5.1 go/go1.24", "containerd/2.1.9", "containers/5.24.1"


def answer(
    target: str,
    *,
    method: str = "GET",
    host: str = "docker.example.com",
    client: str = DOCKER,
    rules: Rules = RULES,
    routing: RoutingState = AT_HUB,
) -> Answer:
    request = parse(method.encode(), target.encode(), host.encode())
    return decide(request, host, identify(client), rules, routing)


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/v2", "/v2/"),
        ("/v2/", "/v2/"),
        ("/v2/org/app/manifests/latest", "/v2/org/app/manifests/latest"),
        ("/v2/org/app/manifests/latest?ns=docker.example.com", "/v2/org/app/manifests/latest"),
        (f"/v2/org/app/blobs/{DIGEST}", f"/v2/org/app/blobs/{DIGEST}"),
        ("/v2/org/app/tags/list?n=2&ns=x&last=a", "/v2/org/app/tags/list?n=2&last=a"),
    ],
)
@pytest.mark.parametrize(("routing", "name", "url"), [(AT_HUB, "docker-hub", HUB), (AT_GHCR, "ghcr", GHCR)])
def test_a_redirect_safe_client_is_redirected_to_the_same_path_on_the_active_backend(
    target: str, location: str, routing: RoutingState, name: str, url: str
) -> None:
    assert answer(target, routing=routing) == Redirect(name, url + location)


LATEST = ManifestRead("org/app", "latest")
SERVED = Serve(LATEST, ("docker-hub", "ghcr"), "docker-hub")
TO_HUB = Redirect("docker-hub", f"{HUB}/v2/org/app/manifests/latest")
PING_HUB = Redirect("docker-hub", f"{HUB}/v2/")
HANDOVER = evolve(AT_HUB, handover=True)
SPLIT = Rules(
    repositories=(pattern("**"),),
    backends=RULES.backends,
    named_routes=(Route(("ghcr", "docker-hub"), (pattern("org/next-*"),)),),
)
SPLIT_ROUTING = RoutingState(("ghcr", "docker-hub"), ("ghcr", "docker-hub"))
RENAMED = evolve(
    RULES,
    repositories=(pattern("*"), pattern("org/**")),
    backends={"docker-hub": BackendRules(HUB, (parse_rename("*", "library/*"),)), "ghcr": BackendRules(GHCR)},
)
SERVING, REDIRECTING = evolve(RULES, mode=Mode.SERVE), evolve(RULES, mode=Mode.REDIRECT)

WAYS = [
    # rules, routing, client: the ping's answer, the manifest's
    (RULES, AT_HUB, DOCKER, PING_HUB, TO_HUB),
    (RULES, AT_HUB, CONTAINERD, PING_HUB, TO_HUB),
    (RULES, AT_HUB, PODMAN, Pong(), SERVED),
    (RULES, AT_HUB, "containerd/1.5.4", Pong(), SERVED),
    (RULES, AT_HUB, "", Pong(), SERVED),
    (RULES, HANDOVER, DOCKER, PING_HUB, SERVED),
    (RULES, HANDOVER, CONTAINERD, PING_HUB, TO_HUB),
    (RULES, HANDOVER, PODMAN, Pong(), SERVED),
    (SERVING, AT_HUB, DOCKER, Pong(), SERVED),
    (SERVING, AT_HUB, CONTAINERD, Pong(), SERVED),
    (REDIRECTING, AT_HUB, PODMAN, PING_HUB, TO_HUB),
    (REDIRECTING, HANDOVER, DOCKER, PING_HUB, TO_HUB),
    (SPLIT, SPLIT_ROUTING, DOCKER, OwnChallenge(), SERVED),
    (SPLIT, SPLIT_ROUTING, CONTAINERD, PING_HUB, TO_HUB),
    (SPLIT, RoutingState(("docker-hub",) * 2, ("docker-hub",) * 2), DOCKER, PING_HUB, TO_HUB),
    (RENAMED, AT_HUB, DOCKER, OwnChallenge(), SERVED),
    (RENAMED, AT_HUB, CONTAINERD, PING_HUB, TO_HUB),
    (
        RENAMED,
        AT_GHCR,
        DOCKER,
        Redirect("ghcr", f"{GHCR}/v2/"),
        Redirect("ghcr", f"{GHCR}/v2/org/app/manifests/latest"),
    ),
]


@pytest.mark.parametrize(("rules", "routing", "client", "ping", "manifest"), WAYS)
def test_the_table_of_ways_to_answer(
    rules: Rules, routing: RoutingState, client: str, ping: Answer, manifest: Answer
) -> None:
    assert answer("/v2/", client=client, rules=rules, routing=routing) == ping
    assert answer("/v2/org/app/manifests/latest", client=client, rules=rules, routing=routing) == manifest


def test_a_renamed_repository_is_never_redirected() -> None:
    read = ManifestRead("app", "latest")
    served = Serve(read, ("docker-hub", "ghcr"), "docker-hub")
    assert answer("/v2/app/manifests/latest", client=CONTAINERD, rules=RENAMED) == served
    assert isinstance(answer("/v2/app/manifests/latest", client=CONTAINERD, rules=RENAMED, routing=AT_GHCR), Redirect)


def test_the_answer_depends_on_the_route_of_the_repository() -> None:
    served = answer("/v2/org/next-app/tags/list", client=PODMAN, rules=SPLIT, routing=SPLIT_ROUTING)
    assert served == Serve(Tags("org/next-app"), ("ghcr", "docker-hub"), "ghcr")
    redirected = answer("/v2/org/next-app/tags/list", client=CONTAINERD, rules=SPLIT, routing=SPLIT_ROUTING)
    assert redirected == Redirect("ghcr", f"{GHCR}/v2/org/next-app/tags/list")


def test_serving_begins_with_the_backend_that_is_active_for_it() -> None:
    limited = RoutingState(("docker-hub",), ("ghcr",))
    served = answer("/v2/org/app/manifests/latest", client=PODMAN, routing=limited)
    assert served == Serve(LATEST, ("ghcr", "docker-hub"), "docker-hub", earlier=frozenset({"docker-hub"}))


NAMES = ("docker-hub", "ghcr")


@pytest.mark.parametrize(
    ("active", "ranks", "pinned", "order"),
    [
        ("docker-hub", {}, None, NAMES),
        ("ghcr", {}, None, NAMES[::-1]),
        ("docker-hub", {"docker-hub": Rank.DOWN, "ghcr": Rank.LIMITED}, None, NAMES[::-1]),
        ("docker-hub", {"docker-hub": Rank.DEGRADED}, None, NAMES[::-1]),
        ("docker-hub", {"docker-hub": Rank.UNKNOWN, "ghcr": Rank.DOWN}, None, NAMES),
        ("docker-hub", {"docker-hub": Rank.DOWN}, "docker-hub", NAMES),
    ],
)
def test_backends_are_tried_by_their_health_and_a_pinned_one_first(
    active: str, ranks: dict[str, Rank], pinned: str | None, order: tuple[str, ...]
) -> None:
    routing = RoutingState((active,), (active,), pinned=pinned, ranks=ranks, resting=frozenset({"ghcr", "other"}))
    served = answer("/v2/org/app/manifests/latest", client=PODMAN, routing=routing)
    assert isinstance(served, Serve)
    assert served.backends == order
    assert served.failing == {name for name, rank in ranks.items() if rank is not Rank.UNKNOWN}
    assert served.resting == {"ghcr"}
    assert served.pinned is (pinned is not None)


def test_all_requests_are_forwarded_to_a_private_backend() -> None:
    rules = evolve(RULES, backends={"own": BackendRules(HUB, private=True)})
    routing = RoutingState(("own",), ("own",))
    for client in (DOCKER, CONTAINERD, PODMAN):
        assert answer("/v2/", client=client, rules=rules, routing=routing) == Forward(Ping(), "own")
        read = answer("/v2/org/app/manifests/latest", client=client, rules=rules, routing=routing)
        assert read == Forward(LATEST, "own")


@pytest.mark.parametrize("path", ["manifests/latest", f"blobs/{DIGEST}", "tags/list", f"referrers/{DIGEST}"])
@pytest.mark.parametrize("client", [DOCKER, PODMAN])
def test_a_repository_that_is_not_on_the_list_is_denied(path: str, client: str) -> None:
    refusal = answer(f"/v2/evil/app/{path}", client=client)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (403, Code.DENIED)
    assert "evil/app" in refusal.message


def test_a_refusal_by_the_parser_is_the_answer() -> None:
    refusal = answer("/v2/_catalog")
    assert isinstance(refusal, Refusal)
    assert refusal.status == 404


def test_with_an_empty_list_every_repository_is_allowed_but_only_on_the_first_backend() -> None:
    rules = evolve(RULES, repositories=())
    assert answer("/v2/any/thing/tags/list", rules=rules) == Redirect("docker-hub", f"{HUB}/v2/any/thing/tags/list")
    served = answer("/v2/any/thing/tags/list", rules=rules, client=PODMAN)
    assert served == Serve(Tags("any/thing"), ("docker-hub",), "docker-hub")
    assert [route.backends for route in rules.routes] == [("docker-hub",)]
    assert [route.backends for route in RULES.routes] == [("docker-hub", "ghcr")]


@pytest.mark.parametrize(
    "host",
    [
        "docker.example.com",
        "Docker.Example.COM:8080",
        "docker.example.com.",
        "[::1]:5000",
        "[0:0::1]",
        " docker.example.com ",
    ],
)
def test_a_host_is_compared_without_port_case_and_final_dot(host: str) -> None:
    assert isinstance(answer("/v2/", host=host, rules=HOSTED), Redirect)


@pytest.mark.parametrize(
    "host", ["evil.test", "", "docker.example.com.evil.test", "a:b:c", "[::1", "docker.example.com:x"]
)
@pytest.mark.parametrize("target", ["/", "/v2/", "/v2/org/app/manifests/latest", "/nowhere"])
def test_another_host_is_refused_with_421_and_never_echoed(host: str, target: str) -> None:
    refusal = answer(target, host=host, rules=HOSTED)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 421
    assert not host or host not in refusal.message


@pytest.mark.parametrize("host", ["192.0.2.1", "192.0.2.1:8080", "[2001:db8::1]"])
def test_a_request_to_an_address_gets_only_the_ping_answered(host: str) -> None:
    assert answer("/v2/", host=host, rules=HOSTED) == Pong()
    refusal = answer("/v2/org/app/tags/list", host=host, rules=HOSTED)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 421


@pytest.mark.parametrize(
    ("host", "rules", "page_host"),
    [
        ("docker.example.com", HOSTED, "docker.example.com"),
        ("Docker.example.com:8080", HOSTED, "docker.example.com:8080"),
        ("[::1]:8080", HOSTED, "[::1]:8080"),
        ("anything.test", RULES, ""),
    ],
)
def test_the_page_names_a_host_only_if_the_settings_do(host: str, rules: Rules, page_host: str) -> None:
    assert answer("/", host=host, rules=rules) == Page(page_host)


PIECES = st.sampled_from(
    [
        "/",
        "v2",
        "org",
        "app",
        "manifests",
        "blobs",
        "tags/list",
        "latest",
        DIGEST,
        "..",
        "@",
        "evil.test",
        "//",
        "\\",
        "%2e",
        "?",
        "a=b",
        "ns=c",
        "&",
        ":",
    ]
)


@given(
    st.lists(PIECES, max_size=12).map("".join),
    st.sampled_from([AT_HUB, AT_GHCR, HANDOVER]),
    st.sampled_from([DOCKER, CONTAINERD]),
)
def test_a_location_begins_with_a_configured_backend_and_its_path_is_the_request_s_own(
    target: str, routing: RoutingState, client: str
) -> None:
    for path in (target, f"/v2/{target}", f"/v2/org/app/{target}"):
        redirect = answer(path, routing=routing, client=client)
        if isinstance(redirect, Redirect):
            url = RULES.backends[routing.redirecting[0]].url
            assert redirect.location.startswith(f"{url}/v2/")
            redirected = redirect.location.removeprefix(url).partition("?")[0]
            assert redirected == (path.partition("?")[0] if path.startswith("/v2/") else "/v2/")


@given(st.text())
def test_any_host_header_can_be_split(value: str) -> None:
    name, port = split_host(value)
    assert name == name.lower()
    assert port == "" or port.isdigit()


def test_a_host_header_that_is_longer_than_any_name_is_none_and_is_not_remembered() -> None:
    longest = ".".join(["a" * 63] * 3 + ["a" * 61]) + ".:65535"
    assert split_host(longest) == (longest.removesuffix(".:65535"), "65535")
    assert split_host("a" * (HOST_LENGTH + 1)) == ("", "")


def test_a_ping_leads_to_a_backend_or_is_answered_here() -> None:
    rules = Rules(backends={"hub": BackendRules("https://hub.test"), "ghcr": BackendRules("https://ghcr.test")})
    assert ping_leads_to(rules, RoutingState(("hub",), ("hub",))) == "https://hub.test/v2/"
    assert ping_leads_to(rules, RoutingState(("ghcr",), ("hub",))) == "https://ghcr.test/v2/"
    assert ping_leads_to(evolve(rules, mode=Mode.SERVE), RoutingState(("hub",), ("hub",))) == "here"


@pytest.mark.parametrize(
    ("drained", "backends"),
    [({"ghcr"}, ("hub",)), ({"hub"}, ("ghcr",)), ({"hub", "ghcr"}, ("hub", "ghcr")), ({"elsewhere"}, ("hub", "ghcr"))],
)
def test_a_drained_backend_is_not_used_unless_all_are_drained(drained: set[str], backends: tuple[str, ...]) -> None:
    all_backends = {"hub": BackendRules("https://hub.test"), "ghcr": BackendRules("https://ghcr.test")}
    rules = Rules(repositories=(pattern("org/*"),), backends=all_backends, mode=Mode.SERVE)
    active = backends[:1]
    routing = RoutingState(active, active, drained=frozenset(drained))
    served = decide(ManifestRead("org/app", "latest"), "", identify("podman"), rules, routing)
    assert isinstance(served, Serve)
    assert served.backends == backends


def test_a_private_backend_has_one_rule_for_all_requests() -> None:
    rules = Rules(backends={"hub": BackendRules("https://hub.test", private=True)})
    for request in (Ping(), ManifestRead("org/app", "latest")):
        assert (
            choose_rule(request, identify("docker/28"), rules, RoutingState(("hub",), ("hub",)))
            is Rule.CLIENT_CREDENTIALS
        )


@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.SERVE])
@pytest.mark.parametrize("client", [DOCKER, PODMAN])
def test_the_lists_of_referrers_of_all_backends_are_united(mode: Mode, client: str) -> None:
    served = answer(f"/v2/org/app/referrers/{DIGEST}", client=client, rules=evolve(RULES, mode=mode))
    assert served == Serve(Referrers("org/app", DIGEST), ("docker-hub", "ghcr"), "docker-hub", united=True)
    apart = answer(f"/v2/org/app/referrers/{DIGEST}", client=PODMAN, rules=evolve(RULES, merge_referrers=False))
    assert apart == evolve(served, united=False)


def test_what_one_backend_lists_is_redirected_where_there_is_no_other() -> None:
    rules = evolve(RULES, repositories=())
    tag = f"/v2/org/app/manifests/sha256-{'1' * 64}.sig"
    assert answer(tag, rules=rules) == Redirect("docker-hub", f"{HUB}{tag}")


def test_a_backend_that_a_blob_failed_at_is_asked_after_those_that_work() -> None:
    backends = {name: BackendRules(f"https://{name}.test") for name in ("hub", "ghcr", "quay")}
    rules = Rules(repositories=(pattern("org/*"),), backends=backends, mode=Mode.SERVE)
    routing = RoutingState(("hub",), ("hub",), ranks={"quay": Rank.DOWN})
    pinned = evolve(routing, pinned="hub")
    blob = Blob("org/app", f"sha256:{'0' * 64}")
    for state, expected in ((routing, ("ghcr", "hub", "quay")), (pinned, ("hub", "ghcr", "quay"))):
        served = decide(blob, "", identify("podman"), rules, state, Visit(avoided="hub"))
        assert isinstance(served, Serve)
        assert served.backends == expected
