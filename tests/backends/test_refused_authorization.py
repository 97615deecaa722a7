"""A registry that answers a refused Authorization with another challenge than a request without one, as Harbor does."""

import pytest

from facaded.backends.served_content import Unauthorized
from facaded.oci.requests import Ping
from tests.backends.fetching import LATEST, ask, backend, forward, two_registries

PING = Unauthorized('Bearer realm="https://auth.hub.test/token",service="hub"')
PULL = Unauthorized(f'{PING.challenge},scope="repository:org/app:pull"')


def test_the_challenge_of_a_refused_authorization_is_for_that_client_alone() -> None:
    network = two_registries("harbor")
    fetcher = network.fetcher()
    for authorization in ("Bearer wrong", "Basic eDp5"):
        assert forward(network, fetcher, LATEST, authorization) == Unauthorized('Basic realm="harbor"')
        assert forward(network, fetcher, Ping(), authorization) == Unauthorized('Basic realm="harbor"')
        assert forward(network, fetcher, LATEST, None) == PULL
        assert forward(network, fetcher, Ping(), None) == PING


def test_a_client_can_pull_after_another_one_was_refused() -> None:
    network = two_registries("harbor")
    fetcher = network.fetcher()
    assert backend(ask(network, fetcher)) == "hub"
    forward(network, fetcher, LATEST, "Bearer wrong")
    network.clock.advance(60)
    before = len(network.fakes["hub"].requests)
    assert backend(ask(network, fetcher)) == "hub"
    assert len(network.fakes["hub"].requests) - before <= 2


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        '"junk"',
        'Basic realm="a\tb"',
        'Basic realm="' + "a" * 9000 + '"',
        'Bearer realm="http://hub.test/token"',
        'Bearer realm="https://[::1"',
        'Bearer realm="https://a:/"',
        "Bearer",
    ],
)
def test_an_unusable_challenge_is_replaced_by_the_registry_s_own(challenge: str) -> None:
    network = two_registries("harbor")
    network.fakes["hub"].basic = challenge
    assert forward(network, network.fetcher(), LATEST, "Bearer wrong") == PULL


def test_a_bearer_challenge_of_a_refused_authorization_has_the_scope_of_the_request() -> None:
    network = two_registries("harbor")
    network.fakes["hub"].basic = 'Bearer realm="https://other.test/t",service="x",scope="repository:*:push"'
    expected = 'Bearer realm="https://other.test/t",service="x",scope="repository:org/app:pull"'
    assert forward(network, network.fetcher(), LATEST, "Bearer wrong") == Unauthorized(expected)


def test_a_token_that_expires_early_is_replaced_although_its_refusal_asks_for_basic() -> None:
    network = two_registries("harbor")
    fetcher, hub = network.fetcher(), network.fakes["hub"]
    assert backend(ask(network, fetcher)) == "hub"
    hub.valid.clear()
    network.clock.advance(11)
    assert backend(ask(network, fetcher)) == "hub"
    assert hub.tokens == 2
