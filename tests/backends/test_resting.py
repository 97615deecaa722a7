"""Backends that ask for patience are not asked before their Retry-After ends."""

import pytest
from attrs import evolve

from facaded.backends.failures import RESTING
from facaded.backends.served_content import NotServed, Served
from facaded.oci.requests import Blob, ManifestRead, Referrers, Tags
from tests.backends.fetching import LATEST, ask, backend, serve_from, two_registries
from tests.backends.memory import BLOB

OTHER = ManifestRead("org/other", "latest")


def test_a_resting_backend_is_not_asked() -> None:
    network = two_registries()
    serve = evolve(serve_from(network), resting=frozenset({"hub"}))
    served = ask(network, network.fetcher(), serve=serve)
    assert isinstance(served, Served)
    assert (served.backend, served.failures) == ("ghcr", {"hub": RESTING})
    assert network.fakes["hub"].requests == []


def test_no_backend_is_asked_if_all_rest() -> None:
    network = two_registries()
    serve = evolve(serve_from(network), resting=frozenset({"hub", "ghcr"}))
    assert ask(network, network.fetcher(), serve=serve) == NotServed({"hub": RESTING, "ghcr": RESTING}, ())
    assert network.fakes["hub"].requests == network.fakes["ghcr"].requests == []
    assert network.attempts == []


def test_what_is_cached_is_served_while_all_backends_rest() -> None:
    network = two_registries()
    fetcher = network.fetcher()
    ask(network, fetcher)
    before = len(network.fakes["hub"].requests)
    serve = evolve(serve_from(network), resting=frozenset({"hub", "ghcr"}))
    assert backend(ask(network, fetcher, serve=serve)) == "hub"
    assert len(network.fakes["hub"].requests) == before


@pytest.mark.parametrize("fault", ["429", "token 429"])
def test_a_rate_limited_backend_rests_at_once_for_all_repositories(fault: str) -> None:
    network = two_registries(fault)
    hub, ghcr = network.fakes["hub"], network.fakes["ghcr"]
    hub.retry_after = "60"
    fetcher = network.fetcher()
    assert backend(ask(network, fetcher)) == "ghcr"
    before, ghcr.fault = len(hub.requests), "500"
    for seconds in (0, 50):
        network.clock.advance(seconds)
        served = ask(network, fetcher, OTHER)
        assert isinstance(served, NotServed)
        assert served.failures == {"hub": RESTING, "ghcr": "answered 500"}
    assert len(hub.requests) == before
    hub.fault = ""
    hub.put("org/other", "latest")
    network.clock.advance(10)
    assert backend(ask(network, fetcher, OTHER)) == "hub"


def test_a_failure_with_retry_after_skips_the_backend_for_that_repository_while_there_is_another() -> None:
    network = two_registries("500")
    hub, ghcr = network.fakes["hub"], network.fakes["ghcr"]
    hub.retry_after = "99999"
    fetcher = network.fetcher(stale_tags=0)
    assert backend(ask(network, fetcher)) == "ghcr"
    hub.fault = ""
    for fake in network.fakes.values():
        fake.put("org/other", "latest")
    assert backend(ask(network, fetcher, OTHER)) == "hub"
    network.clock.advance(599)
    assert backend(ask(network, fetcher)) == "ghcr"
    ghcr.fault = "500"
    network.clock.advance(0.5)
    assert backend(ask(network, fetcher, evolve(LATEST, reference=hub.put("org/app", "x")))) == "hub", "none is left"
    ghcr.fault = ""
    network.clock.advance(10)
    assert backend(ask(network, fetcher)) == "hub"


@pytest.mark.parametrize("fault", ["hang lists", "500", "token 500"])
@pytest.mark.parametrize("read", [Tags("org/app"), Tags("org/app", "n=99999999999"), Referrers("org/app", BLOB)])
def test_a_failing_list_makes_a_backend_suspect_for_the_same_list_only(fault: str, read: Tags | Referrers) -> None:
    """Clients choose the parameters of a list, so one of them could divert everybody's pulls."""
    network = two_registries(fault)
    fetcher, hub = network.fetcher(), network.fakes["hub"]
    assert backend(ask(network, fetcher, read, seconds=12)) == "ghcr"
    hub.fault = ""
    assert backend(ask(network, fetcher, Blob("org/app", BLOB))) == "hub"
    assert backend(ask(network, fetcher, LATEST)) == "hub"
    assert backend(ask(network, fetcher, Tags("org/app", "n=1"))) == "hub"
    assert backend(ask(network, fetcher, read)) == "ghcr"
    network.clock.advance(10)
    assert backend(ask(network, fetcher, read)) == "hub"


def test_a_rate_limited_list_counts_for_the_whole_backend() -> None:
    network = two_registries("429")
    fetcher = network.fetcher()
    assert backend(ask(network, fetcher, Tags("org/app"))) == "ghcr"
    network.fakes["hub"].fault = ""
    assert backend(ask(network, fetcher, Blob("org/other", BLOB))) == "ghcr"


def test_a_list_that_is_slower_than_its_share_counts_for_itself_only() -> None:
    network = two_registries("hang lists", "a", "b", "c")
    fetcher = network.fetcher()
    assert backend(ask(network, fetcher, Tags("org/app"), seconds=12)) == "ghcr"
    network.fakes["hub"].fault = ""
    assert backend(ask(network, fetcher, Blob("org/app", BLOB))) == "hub"
