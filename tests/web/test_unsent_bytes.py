"""The memory for unread answers: shared bodies count once, and what does not fit is refused."""

from collections.abc import Callable
from ipaddress import IPv4Network
from typing import TypeAlias

import pytest
from twisted.internet.task import Clock

from facaded.backends.reached_limits import ReachedLimits
from facaded.policy.limits import Limit, Limits
from facaded.web.unsent_bytes import UnsentBytes

PEER, OTHER, THIRD = "192.0.2.7", "192.0.2.8", "192.0.2.9"
BODY = b"x" * 100
LIMIT = 150

Admit: TypeAlias = Callable[[bytes, str], Callable[[], None] | None]


@pytest.fixture
def reached() -> ReachedLimits:
    return ReachedLimits(Clock())


@pytest.fixture
def unsent(reached: ReachedLimits) -> UnsentBytes:
    return UnsentBytes(Limits(unsent_bytes=LIMIT), reached)


def keep() -> None:
    """Fail, because no client may be disconnected."""
    pytest.fail("disconnected")


@pytest.fixture
def aborted() -> list[str]:
    return []


@pytest.fixture
def admit(unsent: UnsentBytes, aborted: list[str]) -> Admit:
    """Admit an answer without a buffer; the addresses of disconnected clients are in `aborted`."""
    return lambda body, address: unsent.admit(body, 0, address, lambda: aborted.append(address))


def test_a_body_counts_once_and_the_buffer_of_each_answer_too(unsent: UnsentBytes) -> None:
    assert [unsent.admit(BODY, 20, PEER, keep) is not None for _ in range(3)] == [True, True, False]
    assert unsent.used == 140


def test_an_equal_body_that_is_another_object_counts_again(unsent: UnsentBytes) -> None:
    assert unsent.admit(BODY, 0, PEER, keep) is not None
    assert unsent.admit(bytes(bytearray(BODY)), 0, PEER, keep) is None


def test_a_body_counts_until_its_last_answer_has_ended(unsent: UnsentBytes) -> None:
    releases = [unsent.admit(BODY, 20, PEER, keep), unsent.admit(BODY, 20, PEER, keep)]
    used = []
    for release in releases:
        assert release is not None
        release()
        used.append(unsent.used)
    assert used == [120, 0]


@pytest.mark.parametrize(("address", "subject"), [("2001:db8::7", "2001:db8::/64"), ("-", "-")])
def test_what_does_not_fit_is_noted_with_its_source(
    unsent: UnsentBytes, reached: ReachedLimits, address: str, subject: str
) -> None:
    assert unsent.admit(b"x" * 151, 0, address, keep) is None
    assert [(limit, noted.subject) for limit, noted in reached.all().items()] == [(Limit.UNSENT_BYTES, subject)]
    assert unsent.used == 0


def test_new_limits_apply_to_new_answers(unsent: UnsentBytes) -> None:
    release = unsent.admit(BODY, 0, PEER, keep)
    assert release is not None
    unsent.reconfigure(Limits(unsent_bytes=10))
    assert unsent.admit(b"x", 0, PEER, keep) is None
    release()
    assert unsent.admit(b"x", 0, PEER, keep) is not None


def test_the_oldest_answer_of_the_largest_source_makes_room(
    admit: Admit, unsent: UnsentBytes, reached: ReachedLimits, aborted: list[str]
) -> None:
    for size, address in ((50, PEER), (40, OTHER), (60, PEER)):
        admit(b"x" * size, address)
    assert admit(b"x" * 20, THIRD) is not None
    assert (aborted, unsent.used) == ([PEER], 120)
    assert [noted.subject for noted in reached.all().values()] == [PEER]


def test_several_answers_make_room_for_a_large_one(admit: Admit, unsent: UnsentBytes, aborted: list[str]) -> None:
    for _ in range(7):
        admit(bytes(bytearray(20)), PEER)
    assert admit(b"x" * 50, OTHER) is not None
    assert (aborted, unsent.used) == ([PEER, PEER], 150)


def test_no_source_makes_room_for_one_that_would_have_as_much(admit: Admit, aborted: list[str]) -> None:
    admit(b"x" * 70, PEER)
    admit(b"y" * 70, OTHER)
    assert admit(b"z" * 70, THIRD) is None
    assert admit(b"z" * 11, PEER) is None
    assert aborted == []


def test_an_answer_that_made_room_is_released_once(admit: Admit, unsent: UnsentBytes) -> None:
    release = admit(BODY, PEER)
    assert release is not None
    assert admit(b"y" * 60, OTHER) is not None
    release()
    assert unsent.used == 60


def test_a_shared_body_counts_for_its_next_reader_when_the_first_has_gone(
    admit: Admit, unsent: UnsentBytes, aborted: list[str]
) -> None:
    for address in (PEER, OTHER):
        admit(BODY, address)
    assert admit(b"y" * 60, THIRD) is not None
    assert (aborted, unsent.used) == ([PEER, OTHER], 60)


def test_exempt_clients_make_no_room(unsent: UnsentBytes) -> None:
    unsent.reconfigure(Limits(unsent_bytes=LIMIT, exempt=(IPv4Network(PEER),)))
    assert unsent.admit(BODY, 0, PEER, keep) is not None
    assert unsent.admit(b"y" * 60, 0, OTHER, keep) is None
