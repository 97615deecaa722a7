"""The limit of samples: what counts once, and for how long."""

import pytest
from attrs import evolve

from facaded.backends.sample_limit import SAMPLE_INTERVAL, SOURCES, SampleLimit
from facaded.policy.evidence import Attempt
from facaded.policy.health import Step

ATTEMPT = Attempt("hub", Step.BLOB, False, "org/app", "192.0.2.1")


def test_a_client_counts_once_in_ten_seconds_for_a_repository_at_a_step_of_a_backend() -> None:
    limit = SampleLimit()
    assert SAMPLE_INTERVAL == 10
    assert limit.admits(ATTEMPT, 100)
    assert not limit.admits(ATTEMPT, 109.9)
    assert not limit.admits(evolve(ATTEMPT, good=True), 109.9)
    assert limit.admits(ATTEMPT, 110), "an attempt that does not count does not lengthen the time"


@pytest.mark.parametrize(
    "changes", [{"backend": "ghcr"}, {"step": Step.CDN}, {"repository": "org/other"}, {"source": "192.0.2.2"}]
)
def test_another_client_repository_step_or_backend_counts_too(changes: dict[str, object]) -> None:
    limit = SampleLimit()
    assert limit.admits(ATTEMPT, 100)
    assert limit.admits(evolve(ATTEMPT, **changes), 100)  # type: ignore[arg-type]


def test_what_is_no_sample_never_counts_and_takes_no_place() -> None:
    limit = SampleLimit()
    assert not limit.admits(evolve(ATTEMPT, sample=False), 100)
    assert limit.admits(ATTEMPT, 100)


def test_one_client_has_all_addresses_of_an_ipv6_network() -> None:
    limit = SampleLimit()
    assert limit.admits(evolve(ATTEMPT, source="2001:db8::1"), 100)
    assert not limit.admits(evolve(ATTEMPT, source="2001:db8::2"), 100)


def test_the_memory_is_bounded_and_the_oldest_is_forgotten_first() -> None:
    limit = SampleLimit()
    for number in range(SOURCES + 1):
        assert limit.admits(evolve(ATTEMPT, source=str(number), good=True), 100)
    assert limit.admits(evolve(ATTEMPT, source="0", good=True), 100)
    assert not limit.admits(evolve(ATTEMPT, source=str(SOURCES), good=True), 100)


def test_a_repository_counts_no_more_after_three_failures_until_the_long_window_has_passed() -> None:
    limit = SampleLimit()
    admitted = [limit.admits(evolve(ATTEMPT, source=str(number)), 100.0 + number) for number in range(6)]
    assert admitted == [True] * 3 + [False] * 3
    assert not limit.admits(evolve(ATTEMPT, source="good", good=True), 110)
    assert limit.admits(evolve(ATTEMPT, source="6", repository="org/other"), 110)
    assert limit.admits(evolve(ATTEMPT, source="7"), 701)
