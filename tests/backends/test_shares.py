"""How many requests to backends one source may send, and that others are not affected."""

from ipaddress import ip_network

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from facaded.backends.failures import OverRateError
from facaded.backends.fetcher import Fetcher
from facaded.backends.quotas import Quotas
from facaded.backends.reached_limits import ReachedLimits
from facaded.backends.served_content import NotServed, PingAccepted, ReadOptions, Served, Unauthorized
from facaded.backends.shares import OverLimit, Shares
from facaded.oci.requests import ManifestRead, Ping
from facaded.policy.limits import BURST, Limit, Limits
from tests.backends.fetching import WIDE, serve_from, two_registries
from tests.backends.memory import Network

GREEDY, HONEST = "192.0.2.66", "198.51.100.7"

RATE = 2

ALLOWED = RATE * BURST


def limited(*networks: str) -> tuple[Network, Fetcher]:
    """Return registries, and a fetcher for which the sources in `networks` are exempt."""
    network = two_registries()
    exempt = tuple(ip_network(name) for name in networks)
    network.shares.reconfigure(Limits(backend_requests_per_source=RATE, exempt=exempt))
    return network, network.fetcher()


def ask_from(network: Network, fetcher: Fetcher, source: str, tag: str = "latest") -> Served | NotServed:
    options = ReadOptions(WIDE, source=source)
    serve = serve_from(network, ManifestRead("org/app", tag))
    return network.run(Deferred.fromCoroutine(fetcher.serve(serve, options)))


def ask_often(network: Network, fetcher: Fetcher, source: str, count: int = ALLOWED) -> None:
    """Ask for tags that no registry has: each needs both backends."""
    for number in range(count):
        ask_from(network, fetcher, source, f"{source.replace(':', '.')}-{number}")


def limit_of(answer: object) -> OverLimit | None:
    return answer.over_limit if isinstance(answer, NotServed) else None


def test_a_source_over_its_rate_is_refused_before_any_backend_is_asked() -> None:
    network, fetcher = limited()
    ask_often(network, fetcher, GREEDY)
    before = [len(fake.requests) for fake in network.fakes.values()]
    message = "your address sends more than 2 requests a second that need a registry"
    expected = OverLimit(f"{message}: try again in 1 s, or send fewer at once", 1)
    assert ask_from(network, fetcher, GREEDY) == NotServed({}, (), over_limit=expected)
    assert [len(fake.requests) for fake in network.fakes.values()] == before
    reached = network.reached_limits.all()[Limit.BACKEND_REQUESTS_PER_SOURCE]
    assert (reached.count, reached.subject) == (1, GREEDY)
    assert network.attempts == []


def test_a_request_counts_once_however_many_backends_it_asks() -> None:
    network, fetcher = limited()
    ask_often(network, fetcher, GREEDY, ALLOWED - 1)
    assert isinstance(ask_from(network, fetcher, GREEDY), Served)


def test_the_others_are_not_affected() -> None:
    network, fetcher = limited()
    ask_often(network, fetcher, GREEDY)
    assert isinstance(ask_from(network, fetcher, HONEST), Served)


def test_a_source_may_ask_again_after_a_while() -> None:
    network, fetcher = limited()
    ask_often(network, fetcher, GREEDY)
    network.clock.advance(0.5)
    assert isinstance(ask_from(network, fetcher, GREEDY), Served)


def test_what_needs_no_backend_does_not_count() -> None:
    network, fetcher = limited()
    ask_from(network, fetcher, HONEST)
    ask_often(network, fetcher, GREEDY, ALLOWED)
    assert isinstance(ask_from(network, fetcher, GREEDY), Served), "it is in the cache"
    assert limit_of(ask_from(network, fetcher, GREEDY, "192.0.2.66-3")) is None, "nobody had it a moment ago"


def test_all_addresses_of_an_ipv6_network_are_one_source() -> None:
    network, fetcher = limited()
    for number in range(ALLOWED):
        ask_often(network, fetcher, f"2001:db8::{number}", 1)
    assert limit_of(ask_from(network, fetcher, "2001:db8::abc"))
    assert not limit_of(ask_from(network, fetcher, "2001:db8:0:1::1"))


def test_an_exempt_source_has_no_limit() -> None:
    network, fetcher = limited("192.0.2.0/24")
    ask_often(network, fetcher, GREEDY, 2 * ALLOWED)
    assert isinstance(ask_from(network, fetcher, GREEDY), Served)


def test_forwarded_requests_count_but_not_those_that_need_no_backend() -> None:
    network, fetcher = limited()
    network.fakes["hub"].valid.add("mine")
    options = ReadOptions(WIDE, source=GREEDY)

    def send(authorization: str | None) -> object:
        return network.run(Deferred.fromCoroutine(fetcher.forward(Ping(), "hub", authorization, options)))

    for _ in range(ALLOWED):
        assert isinstance(send("Bearer mine"), PingAccepted)
    before = len(network.fakes["hub"].requests)
    assert limit_of(send("Bearer mine"))
    assert isinstance(send(None), Unauthorized)
    assert len(network.fakes["hub"].requests) == before


@pytest.mark.parametrize(("rate", "refused"), [(RATE, True), (RATE + 1, False)])
def test_what_a_source_has_used_outlives_new_settings_with_the_same_rate(rate: int, refused: bool) -> None:
    clock = Clock()
    limits = Limits(backend_requests_per_source=RATE)
    shares = Shares(clock, limits, Quotas(clock), ReachedLimits(clock))
    for _ in range(ALLOWED):
        shares.asker(GREEDY).count()
    shares.reconfigure(Limits(backend_requests_per_source=rate, quota_reserve=1))
    if refused:
        with pytest.raises(OverRateError):
            shares.asker(GREEDY).count()
    else:
        shares.asker(GREEDY).count()
    clock.advance(61)
