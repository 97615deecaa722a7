"""Challenges are remembered for minutes: one that names a wrong token server does not disable serving."""

import json

import pytest
from twisted.internet.defer import Deferred

from facaded.backends.fetcher import Fetcher
from facaded.backends.served_content import NotServed, ReadOptions
from facaded.oci.requests import ManifestRead, Ping
from facaded.policy.decision import Serve
from tests.backends.fetching import LATEST, WIDE, ask, backend, forward, two_registries
from tests.backends.memory import Fake, Network

HTML = b"<!DOCTYPE html><title>Maintenance</title>"
DEAD = "https://auth.gone.test/token"


def one_registry(fault: str = "") -> tuple[Network, Fetcher, Fake]:
    network = Network(hub := Fake("hub", fault=fault))
    for repository in ("org/app", "org/other", "org/third"):
        hub.put(repository, "latest")
    return network, network.fetcher(), hub


def pull(network: Network, fetcher: Fetcher, repository: str = "org/app", seconds: float = 0) -> str:
    """Return the backend that served the repository's latest, or the reason why none did."""
    served = ask(network, fetcher, ManifestRead(repository, "latest"), seconds=seconds)
    return served.failures.get("hub", "not found") if isinstance(served, NotServed) else served.backend


def challenge_once(network: Network, fetcher: Fetcher, hub: Fake, realm: str, seconds: float = 0) -> str:
    """Refuse the token of org/app with a single challenge that names `realm`, and return what is served."""
    hub.realm = realm
    hub.valid.clear()
    hub.after_challenge = lambda: setattr(hub, "realm", "")
    network.clock.advance(11)  # the manifest's tag has left the cache
    return pull(network, fetcher, seconds=seconds)


@pytest.mark.parametrize("status", [500, 404, 403, 401])
def test_a_single_401_that_names_a_dead_realm_changes_nothing(status: int) -> None:
    network, fetcher, hub = one_registry()
    network.replies["auth.gone.test"] = (status, b"")
    assert pull(network, fetcher) == "hub"
    assert challenge_once(network, fetcher, hub, DEAD) == "hub"
    assert pull(network, fetcher, "org/other") == "hub"


def test_a_realm_that_hangs_costs_one_try() -> None:
    network, fetcher, hub = one_registry()
    network.replies["auth.gone.test"] = (0, b"")
    assert pull(network, fetcher) == "hub"
    assert challenge_once(network, fetcher, hub, DEAD, seconds=10) == "hub", "the known digest of the tag is read next"
    assert pull(network, fetcher, "org/other") == "hub"


@pytest.mark.parametrize("status", [500, 403, 401])
def test_a_realm_that_moves_is_found_within_the_same_request(status: int) -> None:
    network, fetcher, hub = one_registry()
    assert pull(network, fetcher) == "hub"
    network.replies["auth.hub.test"] = (status, b"")
    hub.realm = "https://login.hub.test/token"
    network.replies["login.hub.test"] = (200, json.dumps({"token": "moved"}).encode())
    hub.valid.add("moved")
    network.clock.advance(60)
    assert pull(network, fetcher, "org/other") == "hub"
    assert pull(network, fetcher, "org/third") == "hub"
    assert pings(hub) == 2


def test_a_challenge_is_remembered_for_minutes_only() -> None:
    network, fetcher, hub = one_registry()
    pull(network, fetcher)
    network.clock.advance(299)
    pull(network, fetcher, "org/other")
    assert pings(hub) == 1
    network.clock.advance(2)
    pull(network, fetcher, "org/third")
    assert pings(hub) == 2


def test_a_ping_that_fails_does_not_end_the_use_of_a_challenge_that_works() -> None:
    network, fetcher, _ = one_registry()
    pull(network, fetcher)
    network.replies["hub.test/v2/"] = (503, b"")
    network.clock.advance(400)
    assert pull(network, fetcher, "org/other") == "hub"


def test_a_ping_that_hangs_fails_one_request_while_a_challenge_is_known() -> None:
    network, fetcher, hub = one_registry()
    pull(network, fetcher)
    network.replies["hub.test/v2/"] = (0, b"")
    network.clock.advance(400)
    waiting = Deferred.fromCoroutine(
        fetcher.serve(Serve(ManifestRead("org/other", "latest"), ("hub",), "hub"), ReadOptions(WIDE))
    )
    network.agent.flush()
    network.clock.advance(3.9)
    joined = Deferred.fromCoroutine(
        fetcher.serve(Serve(ManifestRead("org/other", "latest"), ("hub",), "hub"), ReadOptions(WIDE))
    )
    assert isinstance(network.run(waiting, 1), NotServed)
    assert pull(network, fetcher, "org/third") == "hub", "it does not wait for the ping that hangs"
    assert isinstance(network.run(joined, 5), NotServed)
    assert pings(hub) == 1


def test_a_first_ping_that_hangs_is_not_waited_for_by_later_requests() -> None:
    network, fetcher, _ = one_registry()
    network.replies["hub.test/v2/"] = (0, b"")
    read = ManifestRead("org/other", "latest")
    first = Deferred.fromCoroutine(fetcher.serve(Serve(read, ("hub",), "hub"), ReadOptions(WIDE)))
    network.agent.flush()
    network.clock.advance(3.9)
    joined = Deferred.fromCoroutine(fetcher.serve(Serve(read, ("hub",), "hub"), ReadOptions(WIDE, with_body=False)))
    assert isinstance(network.run(first, 1), NotServed)
    del network.replies["hub.test/v2/"]
    assert pull(network, fetcher, "org/third") == "hub"
    assert isinstance(network.run(joined, 5), NotServed)


def test_a_token_server_that_hangs_is_asked_again_on_another_connection() -> None:
    network, fetcher, _ = one_registry()
    network.replies["auth.hub.test"] = (0, b"")
    read = ManifestRead("org/app", "latest")
    first = Deferred.fromCoroutine(fetcher.serve(Serve(read, ("hub",), "hub"), ReadOptions(WIDE, with_body=False)))
    network.agent.flush()
    network.agent.flush()
    network.clock.advance(3.9)
    joined = Deferred.fromCoroutine(
        fetcher.serve(Serve(ManifestRead("org/app", "v1"), ("hub",), "hub"), ReadOptions(WIDE))
    )
    assert isinstance(network.run(first, 1), NotServed)
    del network.replies["auth.hub.test"]
    assert pull(network, fetcher) == "hub"
    network.run(joined, 5)


def test_clients_get_the_challenge_of_the_ping_again_after_a_wrong_one() -> None:
    network, fetcher, hub = one_registry()
    expected = forward(network, fetcher, Ping(), None)
    hub.realm = DEAD
    hub.after_challenge = lambda: setattr(hub, "realm", "")
    assert forward(network, fetcher, LATEST, "Bearer expired") != expected
    network.clock.advance(11)
    assert forward(network, fetcher, Ping(), None) == expected


def test_the_refusal_of_missing_repositories_does_not_ping_each_time() -> None:
    network, fetcher, hub = one_registry("token 403")
    for number in range(30):
        assert pull(network, fetcher, f"org/missing{number}") == "not found"
        network.clock.advance(1)
    assert pings(hub) <= 4, "one in ten seconds"


def test_a_token_server_that_is_down_causes_a_ping_a_second_at_most() -> None:
    network, fetcher, hub = one_registry("token 500")
    for number in range(30):
        assert pull(network, fetcher, f"org/app{number}") == "token server: answered 500"
        network.clock.advance(0.1)
    assert pings(hub) <= 5


def test_an_open_registry_that_had_a_token_server_is_read_without_one() -> None:
    network, fetcher, hub = one_registry()
    pull(network, fetcher)
    network.clock.advance(60)
    hub.fault = "open"
    network.replies["auth.hub.test"] = (500, b"")
    assert pull(network, fetcher, "org/other") == "hub"


@pytest.mark.parametrize("body", [HTML, b"OK", b"{"])
def test_a_page_with_status_200_at_the_ping_is_not_a_registry(body: bytes) -> None:
    network = two_registries()
    network.replies["hub.test/v2/"] = (200, body)
    served = ask(network, network.fetcher())
    assert backend(served) == "ghcr"
    assert served.failures == {"hub": "GET /v2/: not a registry's answer"}


@pytest.mark.parametrize("body", [b"", b"\n", b"{}", b'{"distSpecVersion": "1.1.1"}'])
def test_an_open_registry_answers_the_ping_with_an_object_or_nothing(body: bytes) -> None:
    network = two_registries("open")
    network.replies["hub.test/v2/"] = (200, body)
    assert backend(ask(network, network.fetcher())) == "hub"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (HTML, "no token in the response"),
        (b"[]", "no token in the response"),
        (b'{"token": 1}', "no token in the response"),
        (b'{"token": "a\\r\\nb"}', "no token in the response"),
        (b'{"token": "x", "expires_in": NaN}', "no token in the response"),
    ],
)
def test_a_page_with_status_200_at_the_token_server_is_no_token(body: bytes, reason: str) -> None:
    network = two_registries()
    network.replies["auth.hub.test"] = (200, body)
    served = ask(network, network.fetcher())
    assert backend(served) == "ghcr"
    assert served.failures == {"hub": f"token server: {reason}"}


@pytest.mark.parametrize("expires_in", ["-1", "0", "1e308", "1" + "0" * 400, '"60"', "true", "null", "{}"])
def test_any_lifetime_of_a_token_is_served(expires_in: str) -> None:
    network = two_registries()
    network.replies["auth.hub.test"] = (200, f'{{"token": "x", "expires_in": {expires_in}}}'.encode())
    network.fakes["hub"].valid.add("x")
    assert backend(ask(network, network.fetcher())) == "hub"


def pings(hub: Fake) -> int:
    return sum(1 for _, path in hub.requests if path == "/v2/")
