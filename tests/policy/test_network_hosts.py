"""The hosts that firewalls must let through."""

import pytest

from facaded.policy.decision import BackendRules, Mode, Rules
from facaded.policy.network_hosts import HostPort, HostPurpose, NetworkHost, expected_hosts, mark_seen
from facaded.policy.public_registries import PUBLIC_REGISTRIES
from facaded.policy.repositories import parse

BACKENDS = {
    "docker-hub": BackendRules("https://registry-1.docker.io"),
    "own": BackendRules("http://registry.lab.test:5000"),
}
RULES = Rules(repositories=(parse("org/*"),), backends=BACKENDS)


def listed(hosts: tuple[NetworkHost, ...]) -> list[tuple[str, str, str]]:
    return [(one.backend, one.purpose, f"{one.host}:{one.port}") for one in hosts]


def test_a_public_registry_leads_to_its_token_server_and_its_cdns() -> None:
    r2 = "docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com"
    assert listed(expected_hosts(RULES, ())) == [
        ("docker-hub", "registry", "registry-1.docker.io:443"),
        ("docker-hub", "token server", "auth.docker.io:443"),
        ("docker-hub", "CDN", "production.cloudflare.docker.com:443"),
        ("docker-hub", "CDN", "production.cloudfront.docker.com:443"),
        ("docker-hub", "CDN", f"{r2}:443"),
        ("own", "registry", "registry.lab.test:5000"),
    ]


def test_every_public_registry_has_a_token_server_and_a_cdn() -> None:
    for host, registry in PUBLIC_REGISTRIES.items():
        assert registry.token_servers, host
        assert registry.cdns, host


def test_a_backend_that_no_route_has_is_not_listed() -> None:
    assert {one.backend for one in expected_hosts(Rules(backends=BACKENDS), ())} == {"docker-hub"}


def test_a_certificate_authority_is_only_for_facaded() -> None:
    url = "https://ca.test/directory"
    *_, authority = expected_hosts(RULES, (url, url))
    assert listed((authority,)) == [("", "certificate authority", "ca.test:443")]
    assert (authority.for_facaded, authority.for_clients) == (True, False)
    assert len(expected_hosts(RULES, (url, url))) == len(expected_hosts(RULES, ())) + 1


@pytest.mark.parametrize(
    ("mode", "private", "for_clients"),
    [
        (Mode.AUTO, False, {"registry", "token server", "CDN"}),
        (Mode.REDIRECT, False, {"registry", "token server", "CDN"}),
        (Mode.SERVE, False, {"CDN"}),
        (Mode.AUTO, True, {"token server", "CDN"}),
        (Mode.SERVE, True, {"token server", "CDN"}),
    ],
)
def test_clients_need_what_they_are_sent_to(mode: Mode, private: bool, for_clients: set[str]) -> None:
    rules = Rules(backends={"ghcr": BackendRules("https://ghcr.io", private=private)}, mode=mode)
    hosts = expected_hosts(rules, ())
    assert {one.purpose for one in hosts if one.for_clients} == for_clients
    assert all(one.for_facaded for one in hosts)


def test_a_host_that_was_seen_is_marked_or_added_in_its_place() -> None:
    seen = [
        ("own", HostPort(HostPurpose.CDN, "cdn.lab.test", 443)),
        ("docker-hub", HostPort(HostPurpose.TOKENS, "auth.docker.io", 443)),
        ("docker-hub", HostPort(HostPurpose.TOKENS, "other.test", 443)),
    ]
    hosts = mark_seen(expected_hosts(RULES, ("https://ca.test/",)), seen, RULES)
    marks = {one.host: (one.expected, one.seen) for one in hosts}
    assert marks["auth.docker.io"] == (True, True)
    assert marks["registry-1.docker.io"] == (True, False)
    assert marks["other.test"] == marks["cdn.lab.test"] == (False, True)
    order = [(one.backend, one.purpose) for one in hosts]
    assert order[1:3] == [("docker-hub", "token server")] * 2
    assert order[-2:] == [("own", "CDN"), ("", "certificate authority")]
