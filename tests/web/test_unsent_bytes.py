"""The memory for unread answers: shared bodies count once, and what does not fit is refused."""

import pytest
from twisted.internet.task import Clock

from facaded.backends.reached_limits import ReachedLimits
from facaded.policy.limits import Limit, Limits
from facaded.web.unsent_bytes import UnsentBytes

PEER = "192.0.2.7"
BODY = b"x" * 100


@pytest.fixture
def reached() -> ReachedLimits:
    return ReachedLimits(Clock())


@pytest.fixture
def unsent(reached: ReachedLimits) -> UnsentBytes:
    return UnsentBytes(Limits(unsent_bytes=150), reached)


def test_a_body_counts_once_and_the_buffer_of_each_answer_too(unsent: UnsentBytes) -> None:
    assert [unsent.admit(BODY, 20, PEER) is not None for _ in range(3)] == [True, True, False]
    assert unsent.used == 140


def test_an_equal_body_that_is_another_object_counts_again(unsent: UnsentBytes) -> None:
    assert unsent.admit(BODY, 0, PEER) is not None
    assert unsent.admit(bytes(bytearray(BODY)), 0, PEER) is None


def test_a_body_counts_until_its_last_answer_has_ended(unsent: UnsentBytes) -> None:
    releases = [unsent.admit(BODY, 20, PEER), unsent.admit(BODY, 20, PEER)]
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
    assert unsent.admit(b"x" * 151, 0, address) is None
    assert [(limit, noted.subject) for limit, noted in reached.all().items()] == [(Limit.UNSENT_BYTES, subject)]
    assert unsent.used == 0


def test_new_limits_apply_to_new_answers(unsent: UnsentBytes) -> None:
    release = unsent.admit(BODY, 0, PEER)
    assert release is not None
    unsent.reconfigure(Limits(unsent_bytes=10))
    assert unsent.admit(b"x", 0, PEER) is None
    release()
    assert unsent.admit(b"x", 0, PEER) is not None
