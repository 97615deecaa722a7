"""The log of `facaded serve`: its lines, their order, and one write for many of them."""

from io import StringIO

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel

from facaded.cli.log_output import BATCH, LogOutput

NOON = 1_790_000_000.0


class Stream(StringIO):
    """A stream that counts its flushes, and can be full."""

    flushes = 0
    is_full = False

    def write(self, text: str) -> int:
        if self.is_full:
            raise OSError("no space left")
        return super().write(text)

    def flush(self) -> None:
        self.flushes += 1


def event(text: str, level: LogLevel = LogLevel.info, namespace: str = "facaded.test") -> LogEvent:
    return {"log_format": text, "log_level": level, "log_namespace": namespace, "log_time": NOON}


def test_the_lines_of_a_turn_are_written_at_once() -> None:
    stream, clock = Stream(), Clock()
    log = LogOutput(stream, clock, lambda: NOON)
    for number in range(3):
        log.add_line(f"line {number}")
    assert stream.getvalue() == ""
    clock.advance(0)
    assert [line.partition(" ")[2] for line in stream.getvalue().splitlines()] == ["line 0", "line 1", "line 2"]
    assert stream.flushes == 1
    assert clock.getDelayedCalls() == []


def test_a_line_has_the_same_time_as_an_event() -> None:
    stream = Stream()
    log = LogOutput(stream, Clock(), lambda: NOON)
    log.add_line("x")
    log.observer(event("x"))
    first, second = stream.getvalue().splitlines()
    assert first == second


def test_lines_and_events_keep_their_order() -> None:
    stream, clock = Stream(), Clock()
    log = LogOutput(stream, clock, lambda: NOON)
    log.add_line("first")
    log.observer(event("second"))
    log.add_line("third")
    log.flush()
    clock.advance(0)
    assert [line.partition(" ")[2] for line in stream.getvalue().splitlines()] == ["first", "second", "third"]


def test_many_lines_do_not_wait_for_the_end_of_the_turn() -> None:
    stream = Stream()
    log = LogOutput(stream, Clock(), lambda: NOON)
    for _ in range(BATCH):
        log.add_line("x")
    assert len(stream.getvalue().splitlines()) == BATCH


def test_lines_for_the_journal_have_a_priority_and_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    stream = Stream()
    log = LogOutput(stream, Clock(), lambda: NOON)
    log.add_line("x")
    log.observer(event("two\nlines", LogLevel.error))
    assert stream.getvalue() == "<6>x\n<3>two\n<3>lines\n"


def test_a_full_disk_loses_lines_and_nothing_else() -> None:
    stream, clock = Stream(), Clock()
    log = LogOutput(stream, clock, lambda: NOON)
    stream.is_full = True
    log.add_line("lost")
    clock.advance(0)
    stream.is_full = False
    log.add_line("written")
    clock.advance(0)
    assert "lost" not in stream.getvalue()
    assert "written" in stream.getvalue()


def test_libraries_are_heard_from_warnings_on() -> None:
    stream = Stream()
    log = LogOutput(stream, Clock(), lambda: NOON)
    log.observer(event("quiet", namespace="twisted"))
    log.observer(event("loud", LogLevel.warn, "twisted"))
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()
