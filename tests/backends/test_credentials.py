"""Tokens, facaded's own account, and clients' credentials: each is sent only where it belongs."""

import os
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from facaded.backends.own_account import Credentials
from facaded.backends.served_content import BlobRedirect, NotServed, PingAccepted, ReadOptions, Served, Unauthorized
from facaded.oci.requests import Blob, ManifestRead, Ping
from tests.backends.fetching import LATEST, WIDE, ask, backend, forward, manifest, two_registries
from tests.backends.memory import BLOB


def test_a_token_is_dropped_when_it_is_refused() -> None:
    network = two_registries()
    fetcher, hub = network.fetcher(), network.fakes["hub"]
    ask(network, fetcher)
    hub.valid.clear()
    network.clock.advance(11)
    hub.put("org/app", "latest", body=b"{}")
    assert manifest(ask(network, fetcher)).body == b"{}"
    assert hub.tokens == 2


def test_a_token_is_requested_per_repository_and_renewed_before_it_expires() -> None:
    network = two_registries()
    fetcher, hub = network.fetcher(), network.fakes["hub"]
    hub.put("org/other", "latest")
    ask(network, fetcher)
    ask(network, fetcher, ManifestRead("org/other", "latest"))
    assert hub.count("GET", "scope=repository%3Aorg%2Fapp%3Apull") == 1
    assert hub.count("GET", "scope=repository%3Aorg%2Fother%3Apull") == 1
    assert hub.count("GET", "user%2Fimage") == 0, "GHCR's placeholder"
    network.clock.advance(240)
    ask(network, fetcher)
    assert hub.tokens == 3


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    path = tmp_path / "password"
    path.write_text("s3cret\n")
    os.chmod(path, 0o600)
    return Credentials("me", path)


BASIC = "Basic bWU6czNjcmV0"


def test_credentials_are_used_only_for_public_repositories(credentials: Credentials) -> None:
    network = two_registries()
    fetcher, hub = network.fetcher(credentials=credentials), network.fakes["hub"]
    assert backend(ask(network, fetcher)) == "hub"
    basic = [host for host, value in hub.authorizations if value == BASIC]
    assert basic == ["auth.hub.test"], "after an anonymous HEAD was answered 200"
    heads = [
        value for (method, _), (_, value) in zip(hub.requests, hub.authorizations, strict=True) if method == "HEAD"
    ]
    assert heads == ["Bearer hub-1"]
    hub.authorizations.clear()
    ask(network, fetcher, ManifestRead("org/private", "latest"))
    assert all(value != BASIC for _, value in hub.authorizations)


def test_a_registry_that_requires_basic_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("s3cret")
    network = two_registries("basic")
    hub = network.fakes["hub"]
    hub.valid.add(BASIC)
    private = network.fetcher(credentials=Credentials("me", path), publish_private=True)
    assert backend(ask(network, private)) == "hub"
    assert hub.tokens == 0
    assert backend(ask(network, network.fetcher())) == "ghcr", "not found without an account"


@pytest.mark.parametrize("realm", ["https://auth.evil.test/token", "https://hub.test.evil.example/token"])
def test_credentials_are_never_sent_to_a_realm_on_another_domain(credentials: Credentials, realm: str) -> None:
    network = two_registries()
    hub = network.fakes["hub"]
    hub.valid.add("stranger")
    hub.realm = realm
    ask(network, network.fetcher(credentials=credentials))
    assert network.unknown_hosts
    assert all(value == "" for _, value in network.unknown_hosts)


def test_credentials_are_sent_to_the_realm_in_the_settings(credentials: Credentials) -> None:
    network = two_registries()
    network.fakes["hub"].valid.add("stranger")
    network.fakes["hub"].realm = "https://sso.example/token"
    with_realm = Credentials(credentials.username, credentials.password_file, "https://sso.example/token")
    ask(network, network.fetcher(credentials=with_realm))
    assert BASIC in [value for _, value in network.unknown_hosts]


def test_a_token_goes_to_the_backend_it_was_issued_for_and_nowhere_else() -> None:
    network = two_registries("500")
    ask(network, network.fetcher())
    for name, fake in network.fakes.items():
        for host, value in fake.authorizations:
            assert value == "" or (host == f"{name}.test" and value.startswith(f"Bearer {name}-"))


def test_a_client_without_credentials_gets_the_backend_s_challenge() -> None:
    network = two_registries()
    fetcher = network.fetcher()
    realm = 'Bearer realm="https://auth.hub.test/token",service="hub"'
    assert forward(network, fetcher, Ping(), None) == Unauthorized(realm)
    assert forward(network, fetcher, LATEST, None) == Unauthorized(f'{realm},scope="repository:org/app:pull"')
    assert network.fakes["hub"].count("GET", "manifests") == 0


def test_a_client_s_credentials_are_sent_only_to_its_backend_and_nothing_is_cached() -> None:
    network = two_registries()
    fetcher, hub = network.fetcher(), network.fakes["hub"]
    hub.valid.add("client-token")
    client_token = "Bearer client-token"
    assert forward(network, fetcher, Ping(), client_token) == PingAccepted()
    assert manifest(forward(network, fetcher, LATEST, client_token)).body  # type: ignore[arg-type]
    assert forward(network, fetcher, Blob("org/app", BLOB), client_token) == Served(
        "hub", BlobRedirect("https://cdn.hub.test/a?sig=1"), {}
    )
    gets = hub.count("GET", "manifests")
    forward(network, fetcher, LATEST, client_token)
    assert hub.count("GET", "manifests") == gets + 1, "not cached"
    assert {value for host, value in hub.authorizations if host == "hub.test" and value} == {client_token}
    assert all(value == "" for host, value in hub.authorizations if host != "hub.test")
    assert network.fakes["ghcr"].requests == []
    assert network.unknown_hosts == []


def test_an_anonymous_request_does_not_share_the_response_of_an_authorized_one() -> None:
    network = two_registries()
    fetcher = network.fetcher()
    network.fakes["hub"].valid.add("client-token")
    authorized = Deferred.fromCoroutine(fetcher.forward(LATEST, "hub", "Bearer client-token", ReadOptions(WIDE)))
    other = Deferred.fromCoroutine(fetcher.forward(LATEST, "hub", "Bearer another", ReadOptions(WIDE)))
    anonymous = Deferred.fromCoroutine(fetcher.forward(LATEST, "hub", None, ReadOptions(WIDE)))
    assert isinstance(network.run(authorized), Served)
    assert isinstance(network.run(other), Unauthorized)
    assert isinstance(network.run(anonymous), Unauthorized)
    assert isinstance(forward(network, fetcher, LATEST, None), Unauthorized)


def test_a_forwarded_request_reports_a_failing_backend() -> None:
    network = two_registries("hang")
    assert forward(network, network.fetcher(), LATEST, "Bearer x") == NotServed({"hub": "timeout"}, ())


def test_public_images_are_served_although_the_account_is_refused(credentials: Credentials) -> None:
    """Docker Hub 2024-09-27: the token server answered 401 to logged-in users only."""
    network = two_registries("account refused")
    fetcher = network.fetcher(credentials=credentials)
    for _ in range(2):
        assert backend(ask(network, fetcher)) == "hub"
        network.clock.advance(20)
    published = network.fetcher(credentials=credentials, publish_private=True)
    served = ask(network, published)
    assert isinstance(served, Served)
    assert served.failures == {"hub": "the token server rejected facaded's account"}


def test_a_missing_password_file_is_reported_without_its_path(credentials: Credentials) -> None:
    network = two_registries()
    fetcher = network.fetcher(credentials=credentials)
    credentials.password_file.unlink()
    ask(network, fetcher, body=False)
    served = ask(network, fetcher)
    assert isinstance(served, Served)
    assert served.failures == {"hub": "facaded cannot read password_file"}


def test_a_backend_that_challenges_only_manifests_gets_a_token() -> None:
    network = two_registries("open door")
    fetcher = network.fetcher()
    assert backend(ask(network, fetcher)) == "hub"
    challenged = forward(network, network.fetcher(), LATEST, None)
    assert isinstance(challenged, Unauthorized)
    assert challenged.challenge.endswith('scope="repository:org/app:pull"')
