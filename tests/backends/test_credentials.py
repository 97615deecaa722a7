"""Tokens, facaded's own account, and clients' credentials: each goes only where it belongs."""

import os
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from facaded.backends.fetcher import BlobRedirect, NotServed, PingAccepted, ReadOptions, Served, Unauthorized
from facaded.backends.tokens import Credentials
from facaded.oci.requests import Blob, ManifestRead, Ping
from tests.backends.fetching import LATEST, WIDE, ask, backend, forward, manifest, network
from tests.backends.memory import BLOB


def test_a_token_is_dropped_when_it_is_refused() -> None:
    made = network()
    serving, hub = made.serving(), made.fakes["hub"]
    ask(made, serving)
    hub.valid.clear()
    made.clock.advance(11)
    hub.put("org/app", "latest", body=b"{}")
    assert manifest(ask(made, serving)).body == b"{}"
    assert hub.tokens == 2


def test_a_token_is_renewed_before_it_expires_and_asked_for_its_own_repository() -> None:
    made = network()
    serving, hub = made.serving(), made.fakes["hub"]
    hub.put("org/other", "latest")
    ask(made, serving)
    ask(made, serving, ManifestRead("org/other", "latest"))
    assert hub.count("GET", "scope=repository%3Aorg%2Fapp%3Apull") == 1
    assert hub.count("GET", "scope=repository%3Aorg%2Fother%3Apull") == 1
    assert hub.count("GET", "user%2Fimage") == 0, "GHCR's placeholder"
    made.clock.advance(240)
    ask(made, serving)
    assert hub.tokens == 3


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    path = tmp_path / "password"
    path.write_text("s3cret\n")
    os.chmod(path, 0o600)
    return Credentials("me", path)


BASIC = "Basic bWU6czNjcmV0"


def test_credentials_are_used_only_for_what_anybody_may_have(credentials: Credentials) -> None:
    made = network()
    serving, hub = made.serving(credentials=credentials), made.fakes["hub"]
    assert backend(ask(made, serving)) == "hub"
    basic = [host for host, given in hub.authorizations if given == BASIC]
    assert basic == ["auth.hub.test"], "after an anonymous HEAD was answered 200"
    heads = [given for (method, _), (_, given) in zip(hub.asked, hub.authorizations, strict=True) if method == "HEAD"]
    assert heads == ["Bearer hub-1"]
    hub.authorizations.clear()
    ask(made, serving, ManifestRead("org/private", "latest"))
    assert all(given != BASIC for _, given in hub.authorizations)


def test_a_registry_that_wants_basic_alone_is_asked_so(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("s3cret")
    made = network("basic")
    hub = made.fakes["hub"]
    hub.valid.add(BASIC)
    private = made.serving(credentials=Credentials("me", path), publish_private=True)
    assert backend(ask(made, private)) == "hub"
    assert hub.tokens == 0
    assert backend(ask(made, made.serving())) == "ghcr", "without an account it is not there"


@pytest.mark.parametrize("realm", ["https://auth.evil.test/token", "https://hub.test.evil.example/token"])
def test_credentials_are_never_sent_to_a_realm_on_another_domain(credentials: Credentials, realm: str) -> None:
    made = network()
    hub = made.fakes["hub"]
    hub.valid.add("stranger")
    hub.realm = realm
    ask(made, made.serving(credentials=credentials))
    assert made.strangers
    assert all(given == "" for _, given in made.strangers)


def test_a_realm_that_the_settings_name_gets_them(credentials: Credentials) -> None:
    made = network()
    made.fakes["hub"].valid.add("stranger")
    made.fakes["hub"].realm = "https://sso.example/token"
    named = Credentials(credentials.username, credentials.password_file, "https://sso.example/token")
    ask(made, made.serving(credentials=named))
    assert BASIC in [given for _, given in made.strangers]


def test_a_token_goes_to_the_backend_it_was_issued_for_and_nowhere_else() -> None:
    made = network("500")
    ask(made, made.serving())
    for name, fake in made.fakes.items():
        for host, value in fake.authorizations:
            assert value == "" or (host == f"{name}.test" and value.startswith(f"Bearer {name}-"))


def test_a_client_without_credentials_is_told_to_authenticate_as_the_backend_wants_it() -> None:
    made = network()
    serving = made.serving()
    realm = 'Bearer realm="https://auth.hub.test/token",service="hub"'
    assert forward(made, serving, Ping(), None) == Unauthorized(realm)
    assert forward(made, serving, LATEST, None) == Unauthorized(f'{realm},scope="repository:org/app:pull"')
    assert made.fakes["hub"].count("GET", "manifests") == 0


def test_a_client_s_credentials_go_to_their_backend_alone_and_nothing_is_kept() -> None:
    made = network()
    serving, hub = made.serving(), made.fakes["hub"]
    hub.valid.add("client-token")
    mine = "Bearer client-token"
    assert forward(made, serving, Ping(), mine) == PingAccepted()
    assert manifest(forward(made, serving, LATEST, mine)).body  # type: ignore[arg-type]
    assert forward(made, serving, Blob("org/app", BLOB), mine) == Served(
        "hub", BlobRedirect("https://cdn.hub.test/a?sig=1"), {}
    )
    gets = hub.count("GET", "manifests")
    forward(made, serving, LATEST, mine)
    assert hub.count("GET", "manifests") == gets + 1, "not cached"
    assert {given for host, given in hub.authorizations if host == "hub.test" and given} == {mine}
    assert all(given == "" for host, given in hub.authorizations if host != "hub.test")
    assert made.fakes["ghcr"].asked == []
    assert made.strangers == []


def test_an_anonymous_request_is_not_joined_to_an_authorised_one() -> None:
    made = network()
    serving = made.serving()
    made.fakes["hub"].valid.add("client-token")
    authorised = Deferred.fromCoroutine(serving.forward(LATEST, "hub", "Bearer client-token", ReadOptions(WIDE)))
    other = Deferred.fromCoroutine(serving.forward(LATEST, "hub", "Bearer another", ReadOptions(WIDE)))
    anonymous = Deferred.fromCoroutine(serving.forward(LATEST, "hub", None, ReadOptions(WIDE)))
    assert isinstance(made.finish(authorised), Served)
    assert isinstance(made.finish(other), Unauthorized)
    assert isinstance(made.finish(anonymous), Unauthorized)
    assert isinstance(forward(made, serving, LATEST, None), Unauthorized)


def test_a_backend_that_fails_a_client_is_said_to() -> None:
    made = network("hang")
    assert forward(made, made.serving(), LATEST, "Bearer x") == NotServed({"hub": "timeout"}, ())


def test_an_account_that_is_refused_leaves_what_anybody_may_pull(credentials: Credentials) -> None:
    """Docker Hub 2024-09-27: the token server answered 401 to logged-in users alone."""
    made = network("account refused")
    serving = made.serving(credentials=credentials)
    for _ in range(2):
        assert backend(ask(made, serving)) == "hub"
        made.clock.advance(20)
    published = made.serving(credentials=credentials, publish_private=True)
    served = ask(made, published)
    assert isinstance(served, Served)
    assert served.failures == {"hub": "the token server rejected facaded's account"}


def test_a_password_that_has_gone_is_said_without_its_path(credentials: Credentials) -> None:
    made = network()
    serving = made.serving(credentials=credentials)
    credentials.password_file.unlink()
    ask(made, serving, body=False)
    served = ask(made, serving)
    assert isinstance(served, Served)
    assert served.failures == {"hub": "facaded cannot read password_file"}


def test_a_backend_that_challenges_manifests_alone_is_authenticated_to() -> None:
    made = network("open door")
    serving = made.serving()
    assert backend(ask(made, serving)) == "hub"
    challenged = forward(made, made.serving(), LATEST, None)
    assert isinstance(challenged, Unauthorized)
    assert challenged.challenge.endswith('scope="repository:org/app:pull"')
