"""decide(): the table of request and situation to answer, and where a redirect can never go."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from facaded.oci.errors import Code, Refusal
from facaded.oci.requests import parse
from facaded.policy.answers import Answer, Page, Pong, Redirect, Rules, decide, split_host
from facaded.policy.repositories import parse as pattern

HUB, GHCR = "https://registry-1.docker.io", "https://ghcr.io"
DIGEST = "sha256:" + "0" * 64
RULES = Rules(repositories=(pattern("org/**"),), backends={"docker-hub": HUB, "ghcr": GHCR})
HOSTED = evolve(RULES, hosts=("docker.example.com", "::1"))


def answer(
    target: str,
    *,
    method: str = "GET",
    host: str = "docker.example.com",
    rules: Rules = RULES,
    charge: str = "docker-hub",
) -> Answer:
    return decide(parse(method.encode(), target.encode(), host.encode()), host, rules, charge)


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/v2", "/v2/"),
        ("/v2/", "/v2/"),
        ("/v2/org/app/manifests/latest", "/v2/org/app/manifests/latest"),
        ("/v2/org/app/manifests/latest?ns=docker.example.com", "/v2/org/app/manifests/latest"),
        (f"/v2/org/app/blobs/{DIGEST}", f"/v2/org/app/blobs/{DIGEST}"),
        ("/v2/org/app/tags/list?n=2&ns=x&last=a", "/v2/org/app/tags/list?n=2&last=a"),
        (f"/v2/org/team/app/referrers/{DIGEST}", f"/v2/org/team/app/referrers/{DIGEST}"),
    ],
)
@pytest.mark.parametrize(("charge", "url"), [("docker-hub", HUB), ("ghcr", GHCR)])
def test_what_is_listed_is_redirected_to_the_same_path_on_the_backend_in_charge(
    target: str, location: str, charge: str, url: str
) -> None:
    assert answer(target, charge=charge) == Redirect(charge, url + location)


@pytest.mark.parametrize("path", ["manifests/latest", f"blobs/{DIGEST}", "tags/list", f"referrers/{DIGEST}"])
def test_another_organisation_is_denied(path: str) -> None:
    refusal = answer(f"/v2/evil/app/{path}")
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (403, Code.DENIED)
    assert "evil/app" in refusal.message


def test_a_refusal_of_the_parser_is_passed_on() -> None:
    refusal = answer("/v2/_catalog")
    assert isinstance(refusal, Refusal)
    assert refusal.status == 404


def test_with_an_empty_list_every_repository_is_redirected_but_none_may_be_had_elsewhere() -> None:
    rules = evolve(RULES, repositories=())
    assert answer("/v2/any/thing/tags/list", rules=rules) == Redirect("docker-hub", f"{HUB}/v2/any/thing/tags/list")
    assert rules.order == ("docker-hub",)
    assert RULES.order == ("docker-hub", "ghcr")


@pytest.mark.parametrize(
    "host",
    ["docker.example.com", "Docker.Example.COM:8080", "docker.example.com.", "[::1]:5000", " docker.example.com "],
)
def test_a_host_is_compared_without_port_case_and_final_dot(host: str) -> None:
    assert isinstance(answer("/v2/", host=host, rules=HOSTED), Redirect)


@pytest.mark.parametrize(
    "host", ["evil.test", "", "docker.example.com.evil.test", "a:b:c", "[::1", "docker.example.com:x"]
)
@pytest.mark.parametrize("target", ["/", "/v2/", "/v2/org/app/manifests/latest", "/nowhere"])
def test_another_host_is_misdirected_and_never_echoed(host: str, target: str) -> None:
    refusal = answer(target, host=host, rules=HOSTED)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 421
    assert not host or host not in refusal.message


@pytest.mark.parametrize("host", ["192.0.2.1", "192.0.2.1:8080", "[2001:db8::1]"])
def test_an_address_is_told_that_a_registry_is_here_and_nothing_else(host: str) -> None:
    assert answer("/v2/", host=host, rules=HOSTED) == Pong()
    refusal = answer("/v2/org/app/tags/list", host=host, rules=HOSTED)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 421


@pytest.mark.parametrize(
    ("host", "rules", "shown"),
    [
        ("docker.example.com", HOSTED, "docker.example.com"),
        ("Docker.example.com:8080", HOSTED, "docker.example.com:8080"),
        ("[::1]:8080", HOSTED, "[::1]:8080"),
        ("anything.test", RULES, ""),
    ],
)
def test_the_page_names_a_host_only_if_the_settings_do(host: str, rules: Rules, shown: str) -> None:
    assert answer("/", host=host, rules=rules) == Page(shown)


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


@given(st.lists(PIECES, max_size=12).map("".join), st.sampled_from(["docker-hub", "ghcr"]))
def test_a_location_begins_with_a_configured_backend_and_its_path_is_the_request_s_own(
    target: str, charge: str
) -> None:
    for asked in (target, f"/v2/{target}", f"/v2/org/app/{target}"):
        given_back = answer(asked, charge=charge)
        if isinstance(given_back, Redirect):
            url = RULES.backends[charge]
            assert given_back.location.startswith(f"{url}/v2/")
            path = given_back.location.removeprefix(url).partition("?")[0]
            assert path == (asked.partition("?")[0] if asked.startswith("/v2/") else "/v2/")


@given(st.text())
def test_any_host_header_can_be_split(value: str) -> None:
    name, port = split_host(value)
    assert name == name.lower()
    assert port == "" or port.isdigit()
