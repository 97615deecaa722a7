"""All processes together keep to the limits of the settings, whatever these are."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from facaded.answering_parts import make_admission_settings
from facaded.backends.manifests import MANIFEST_SIZE
from facaded.backends.reached_limits import ReachedLimits
from facaded.backends.request_gate import RequestGate
from facaded.backends.shares import Asker
from facaded.config.sections import CacheSettings, Config
from facaded.config.values import LARGEST, MOST
from facaded.net.descriptors import CLIENT_CONNECTIONS, available
from facaded.policy.limits import Limits
from facaded.web.slow_readers import BUFFER_SIZE
from facaded.web.unsent_bytes import UnsentBytes
from facaded.workers.division import LEAST_BYTES, LEAST_CONNECTIONS, LEAST_REQUESTS, divide, part
from tests.log_lines import is_warning, log_lines

LEAST = {
    "connections": LEAST_CONNECTIONS,
    "backend_requests": LEAST_REQUESTS,
    "unsent_bytes": LEAST_BYTES,
    "manifests": LEAST_BYTES,
}
"""The divided settings, and the least value of each."""

WORKERS = st.integers(1, 256)

CONFIGS = st.builds(
    Config,
    cache=st.builds(CacheSettings, manifests=st.integers(0, LARGEST)),
    limits=st.builds(
        Limits,
        connections=st.none() | st.integers(1, MOST),
        connections_per_source=st.integers(1, MOST),
        backend_requests=st.integers(1, MOST),
        backend_requests_per_source=st.integers(1, MOST),
        quota_reserve=st.integers(0, 100),
        unsent_bytes=st.integers(0, LARGEST),
    ),
)


def totals(config: Config) -> dict[str, int]:
    """Return the settings that are divided, by name; no connections if their number is automatic."""
    limits = config.limits
    values = {
        "connections": limits.connections,
        "backend_requests": limits.backend_requests,
        "unsent_bytes": limits.unsent_bytes,
        "manifests": config.cache.manifests,
    }
    return {name: value for name, value in values.items() if value is not None}


@given(CONFIGS, WORKERS)
def test_all_parts_are_the_total_but_for_rounding_and_the_least_values(config: Config, workers: int) -> None:
    parts = totals(divide(config, workers))
    assert parts.keys() == totals(config).keys()
    for name, total in totals(config).items():
        assert total <= workers * parts[name] < max(total + workers, workers * LEAST[name] + 1), name
        assert parts[name] <= total, name


@given(CONFIGS, WORKERS)
def test_nothing_else_changes(config: Config, workers: int) -> None:
    divided = divide(config, workers)
    limits = evolve(
        divided.limits,
        processes=1,
        connections=config.limits.connections,
        backend_requests=config.limits.backend_requests,
        unsent_bytes=config.limits.unsent_bytes,
    )
    cache = evolve(divided.cache, manifests=config.cache.manifests)
    assert evolve(divided, limits=limits, cache=cache) == config


@given(CONFIGS)
def test_a_single_process_has_the_settings_as_they_are(config: Config) -> None:
    assert divide(config, 1) == config


@given(st.integers(0, LARGEST), st.integers(1, 255), st.integers(0, LARGEST))
def test_more_workers_and_a_smaller_total_never_give_a_larger_part(total: int, workers: int, least: int) -> None:
    assert part(total, workers + 1, least) <= part(total, workers, least) <= part(total + 1, workers, least)


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 64])
def test_an_automatic_number_of_connections_is_that_of_all_processes(workers: int) -> None:
    with log_lines(is_warning) as warnings:
        admitted = make_admission_settings(divide(Config(), workers)).connections
    assert workers * admitted < CLIENT_CONNECTIONS + workers
    assert warnings == []
    if available() >= 2 * CLIENT_CONNECTIONS:
        assert workers * admitted >= CLIENT_CONNECTIONS


def test_the_descriptors_of_shared_sockets_are_not_given_to_clients() -> None:
    alone, divided = (Config(limits=Limits(connections=1 << 30, processes=count)) for count in (1, 101))
    with log_lines(is_warning) as warnings:
        difference = make_admission_settings(alone).connections - make_admission_settings(divided).connections
    assert difference == 2 * 100 * 2, "IPv4 and IPv6, of http and admin"
    assert f": {1 << 30} is lowered to " in warnings[0]
    assert f": {1 << 30} for each of 101 processes is lowered to " in warnings[1]


@pytest.mark.parametrize("workers", [1, 2, 5, 16])
def test_the_requests_of_all_processes_to_a_backend_are_those_of_the_settings(workers: int) -> None:
    config = divide(Config(limits=Limits(backend_requests=64)), workers)
    gates = [RequestGate(config.limits.backend_requests) for _ in range(workers)]
    started: list[Deferred[None]] = []

    async def work() -> None:
        started.append(Deferred())
        await started[-1]

    requests: list[Deferred[None]] = []
    for number in range(100):
        for gate in gates:
            asker = Asker()
            asker.source = str(number)
            requests.append(Deferred.fromCoroutine(gate.run(None, "", work, asker)))
    assert 64 <= len(started) < 64 + workers
    for request in reversed(requests):
        request.addErrback(lambda failure: failure.trap(CancelledError)).cancel()


@pytest.mark.parametrize("workers", [2, 8, 64])
def test_every_process_can_send_the_largest_manifest(workers: int) -> None:
    limits = divide(Config(), workers).limits
    unsent = UnsentBytes(limits, ReachedLimits(Clock()))
    assert unsent.admit(bytes(MANIFEST_SIZE), BUFFER_SIZE, "192.0.2.7", lambda: None) is not None


def test_a_cache_that_is_switched_off_stays_off() -> None:
    assert divide(Config(cache=CacheSettings(manifests=0)), 4).cache.manifests == 0
