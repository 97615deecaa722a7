"""What `facaded check` says of the authorities."""

from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred

from facaded.authorities import TIME_LIMIT, AuthorityReport, reach_authorities
from facaded.tls.acme.settings import AcmeSettings, CertificateAuthority
from facaded.tls.acme.wire import CaNetwork
from tests.tls.acme.memory import NAME, MemoryNetwork

TERMS = "https://ca.test/terms.pdf"
URL = "https://ca.test/directory"


def reach(network: MemoryNetwork, *cas: CertificateAuthority, seconds: float = 1) -> tuple[AuthorityReport, ...]:
    settings = AcmeSettings(((NAME,),), cas=cas or (CertificateAuthority(URL),))
    results: list[Any] = []
    ca_network = CaNetwork(network.connect, network.clock, network.now)
    Deferred.fromCoroutine(reach_authorities(settings, ca_network)).addCallback(results.append)
    network.pass_time(seconds)
    (reports,) = results
    assert isinstance(reports, tuple)
    return reports


@pytest.fixture
def network() -> MemoryNetwork:
    network = MemoryNetwork("ca", "second")
    network.cas["ca"].meta = {"termsOfService": TERMS, "profiles": {"classic": "x"}}
    return network


def test_each_authority_is_reached_and_its_terms_are_shown(network: MemoryNetwork) -> None:
    second = CertificateAuthority("https://second.test/directory", staging=URL)
    assert reach(network, CertificateAuthority(URL), second) == (
        AuthorityReport(URL, TERMS),
        AuthorityReport("https://second.test/directory", None, URL),
    )
    assert network.cas["ca"].requests == ["directory"]


@pytest.mark.parametrize("terms", ["javascript:alert(1)", "data:text/plain,x", "https://ca.test/\x1b[2J", 7])
def test_terms_that_are_no_safe_url_are_not_shown(network: MemoryNetwork, terms: object) -> None:
    network.cas["ca"].meta = {"termsOfService": terms}
    assert reach(network) == (AuthorityReport(URL),)


def test_an_authority_that_is_down_or_hangs_has_a_problem(network: MemoryNetwork, tmp_path: Any) -> None:
    network.cas["ca"].down = True
    (report,) = reach(network)
    assert "connection refused" in str(report.problem)
    network.cas["ca"].down = False
    network.cas["ca"].hangs = True
    (report,) = reach(network, seconds=TIME_LIMIT)
    assert "timeout" in str(report.problem)
    (report,) = reach(network, CertificateAuthority(URL, ca_file=tmp_path / "missing"))
    assert "No such file" in str(report.problem)


@pytest.mark.parametrize(
    ("changes", "meta", "problem"),
    [
        ({"profile": "classic"}, {"profiles": {"classic": "x"}}, None),
        ({"profile": "short"}, {"profiles": {"classic": "x"}}, "it has no profile short (available: classic): "),
        ({}, {"externalAccountRequired": True}, "it requires an external account: set eab_key_id"),
        ({"eab_key_id": "x"}, {"externalAccountRequired": True}, None),
    ],
)
def test_what_the_directory_says_against_the_settings_is_a_problem(
    network: MemoryNetwork, changes: dict[str, Any], meta: dict[str, Any], problem: str | None
) -> None:
    network.cas["ca"].meta = meta
    (report,) = reach(network, evolve(CertificateAuthority(URL), **changes))
    assert (report.problem is None) == (problem is None)
    assert problem is None or str(report.problem).startswith(problem)
