"""The hosts that the backends lead to."""

from collections.abc import Iterator

import pytest

from facaded.backends.seen_hosts import HOST_LENGTH, MOST_HOSTS, SeenHosts
from facaded.policy.network_hosts import HostPort, HostPurpose
from tests.log_lines import log_lines

URL = "https://registry.lab.test"
CDN = HostPurpose.CDN


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The lines of the log."""
    with log_lines() as lines:
        yield lines


def hosts(seen: SeenHosts, url: str = URL) -> list[HostPort]:
    return [place for _, place in seen.named({"own": url})]


def test_a_new_cdn_is_one_line_in_the_log(logged: list[str]) -> None:
    seen = SeenHosts()
    for path in ("a?sig=secret", "b"):
        seen.note(URL, CDN, f"https://CDN.lab.test:8443/{path}")
    assert logged == ["registry.lab.test: new CDN cdn.lab.test:8443: facaded and clients must be able to connect to it"]
    assert hosts(seen) == [HostPort(CDN, "cdn.lab.test", 8443)]


def test_what_is_expected_of_a_registry_is_no_news(logged: list[str]) -> None:
    seen = SeenHosts()
    seen.note("https://ghcr.io", CDN, "https://pkg-containers.githubusercontent.com/ghcr1/blobs/x")
    seen.note("https://ghcr.io", HostPurpose.TOKENS, "https://ghcr.io/token?scope=x")
    assert logged == []
    assert [place.purpose for place in hosts(seen, "https://ghcr.io")] == [HostPurpose.TOKENS, CDN]


def test_a_registry_that_sends_blobs_itself_is_a_host_for_clients_but_no_news(logged: list[str]) -> None:
    seen = SeenHosts()
    seen.note(URL, CDN, f"{URL}/v2/org/app/blobs/x")
    assert (hosts(seen), logged) == ([HostPort(CDN, "registry.lab.test", 443)], [])


def test_many_token_servers_do_not_hide_a_new_cdn(logged: list[str]) -> None:
    seen = SeenHosts()
    for number in range(2 * MOST_HOSTS):
        seen.note(URL, HostPurpose.TOKENS, f"https://token{number}.lab.test/")
    seen.note(URL, CDN, "https://cdn.lab.test/")
    assert any("new CDN cdn.lab.test" in line for line in logged)
    assert HostPort(CDN, "cdn.lab.test", 443) in hosts(seen)


@pytest.mark.parametrize("url", ["", "nonsense", "http://[", f"https://{'x' * (HOST_LENGTH + 1)}/"])
def test_what_is_no_host_is_ignored(url: str) -> None:
    seen = SeenHosts()
    seen.note(URL, CDN, url)
    assert hosts(seen) == []


def test_a_registry_that_names_a_new_host_each_time_fills_neither_the_memory_nor_the_log(logged: list[str]) -> None:
    seen = SeenHosts()
    for number in range(10 * MOST_HOSTS):
        seen.note(URL, CDN, f"https://cdn{number}.lab.test/")
    assert len(hosts(seen)) == MOST_HOSTS
    assert len(logged) == MOST_HOSTS + 1
    assert logged[-1] == (
        f"registry.lab.test: it leads to more than {MOST_HOSTS} hosts: `facaded hosts` does not list the others"
    )


def test_the_hosts_of_a_backend_that_is_gone_are_forgotten() -> None:
    seen = SeenHosts()
    for url in (URL, "https://other.test"):
        seen.note(url, CDN, "https://cdn.lab.test/")
    seen.retain({URL})
    assert (len(hosts(seen)), hosts(seen, "https://other.test")) == (1, [])
