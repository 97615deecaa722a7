"""Answered requests are passed on in batches: soon, in order, and whatever one subscriber does."""

from collections.abc import Sequence
from functools import partial

from twisted.internet.task import Clock
from twisted.logger import LogEvent

from facaded.oci.clients import identify
from facaded.web.answer_batches import APART, BATCH, BATCH_TIME, PART, SMALL_PART, AnswerBatches
from facaded.web.answered_requests import UNDECIDED, AnsweredRequest


def answered(number: int) -> AnsweredRequest:
    return AnsweredRequest("-", "GET", f"/v2/{number}", identify(""), UNDECIDED, 200, 0, 0.1, float(number))


class Batches:
    """Batches, and the paths of those that were passed on."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.passed: list[list[str]] = []
        self.answers = AnswerBatches(self.clock, [self.note])

    def note(self, batch: Sequence[AnsweredRequest]) -> None:
        self.passed.append([one.path for one in batch])


def test_answers_wait_for_a_fifth_of_a_second_at_most() -> None:
    batches = Batches()
    for number in range(3):
        batches.answers.follow(answered(number))
        batches.clock.advance(BATCH_TIME / 4)
    assert batches.passed == []
    batches.clock.advance(BATCH_TIME / 4)
    assert batches.passed == [["/v2/0", "/v2/1", "/v2/2"]]
    assert batches.clock.getDelayedCalls() == []


def test_many_answers_do_not_wait() -> None:
    batches = Batches()
    for number in range(BATCH + APART):
        batches.answers.follow(answered(number))
    assert [len(batch) for batch in batches.passed] == [PART, PART]


class Several:
    """Batches with three subscribers, c is slow: which was called, after how many answers, and with how many."""

    def __init__(self) -> None:
        self.number = 0
        self.calls: list[tuple[str, int, int]] = []
        self.clock = Clock()
        self.answers = AnswerBatches(
            self.clock, [partial(self.note, "a"), partial(self.note, "b")], [partial(self.note, "c")]
        )

    def note(self, name: str, batch: Sequence[AnsweredRequest]) -> None:
        assert [one.at for one in batch] == list(range(int(batch[0].at), int(batch[0].at) + len(batch)))
        self.calls.append((name, self.number, len(batch)))

    def answer(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            self.answers.follow(answered(self.number))


ORDER = [("a", PART)] * 2 + [("b", PART)] * 2 + [("c", SMALL_PART)] * 4


def test_under_load_the_subscribers_have_the_parts_of_a_batch_some_answers_apart() -> None:
    several = Several()
    several.answer(2 * BATCH + APART)
    order = [(name, BATCH + number * APART, size) for number, (name, size) in enumerate(ORDER)]
    again = [("a", 2 * BATCH, PART), ("a", 2 * BATCH + APART, PART)]
    assert several.calls == order + again


def test_the_rest_of_a_batch_comes_before_the_next_one() -> None:
    several = Several()
    several.answer(BATCH + 6 * APART + 7)
    several.calls.clear()
    several.answers.flush()
    sizes = [(name, size) for name, _, size in several.calls]
    assert sizes[:2] == [("c", SMALL_PART), ("a", PART)]
    assert [sum(size for name, size in sizes[1:] if name == one) for one in "abc"] == [6 * APART + 7] * 3
    several.calls.clear()
    several.answer(BATCH)
    assert [name for name, _, _ in several.calls] == ["a"]
    several.clock.advance(BATCH_TIME)
    assert [(name, size) for name, _, size in several.calls] == ORDER


def test_without_subscribers_nothing_gathers() -> None:
    answers = AnswerBatches(Clock(), [])
    for number in range(3 * BATCH):
        answers.follow(answered(number))
    assert len(answers._waiting) < BATCH


def test_what_waits_can_be_passed_on_at_once_and_only_once() -> None:
    batches = Batches()
    batches.answers.follow(answered(1))
    batches.answers.flush()
    batches.answers.flush()
    batches.clock.advance(BATCH_TIME)
    assert batches.passed == [["/v2/1"]]
    batches.answers.follow(answered(2))
    batches.clock.advance(BATCH_TIME)
    assert batches.passed == [["/v2/1"], ["/v2/2"]]


def test_the_order_is_kept_if_a_subscriber_flushes() -> None:
    """What a subscriber logs, such as lost lines of the log, follows the lines before it: the log flushes."""
    noted: list[str] = []

    def note(batch: Sequence[AnsweredRequest]) -> None:
        answers.flush()
        noted.extend(one.path for one in batch)

    answers = AnswerBatches(Clock(), [note])
    for number in range(BATCH):
        answers.follow(answered(number))
    answers.flush()
    assert noted == [f"/v2/{number}" for number in range(BATCH)]


def test_a_subscriber_that_fails_stops_no_other(no_errors_are_logged: list[LogEvent]) -> None:
    def fail(batch: Sequence[AnsweredRequest]) -> None:
        raise ValueError(len(batch))

    batches = Batches()
    answers = AnswerBatches(batches.clock, [fail, batches.note])
    answers.follow(answered(1))
    answers.flush()
    assert batches.passed == [["/v2/1"]]
    assert len(no_errors_are_logged) == 1
    no_errors_are_logged.clear()
