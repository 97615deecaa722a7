"""The log of `facaded serve`: lines of answers, events, and everything in order."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, globalLogPublisher

from facaded.cli.line_writer import LineWriter
from facaded.cli.log_forms import Place
from facaded.cli.log_output import REPORT_INTERVAL, LogOutput
from facaded.web.accesslog import LineForm, LogStyle

NOON = 1_790_000_000.0


class Recorder:
    """A writer that notes what it is given."""

    def __init__(self) -> None:
        self.text = b""
        self.writes = 0
        self.lost_lines = 0
        self.is_free = True
        self.ended_within: float | None = None

    def put_lines(self, text: bytes) -> None:
        self.text += text
        self.writes += 1

    put_event = put_lines

    def end(self, seconds: float) -> None:
        self.ended_within = seconds


class Log:
    """A log output, its clock and what it has written."""

    def __init__(self, place: Place = Place.JOURNAL) -> None:
        self.clock, self.writer = Clock(), Recorder()
        self.output = LogOutput(self.writer, place, self.clock)

    @property
    def text(self) -> str:
        return self.writer.text.decode()


def event(text: str, level: LogLevel = LogLevel.info, namespace: str = "facaded.test") -> LogEvent:
    return {"log_format": text, "log_level": level, "log_namespace": namespace, "log_time": NOON}


def test_lines_are_written_together() -> None:
    log = Log()
    log.output.add_lines(["line 0", "line 1"])
    log.output.add_lines(["line 2"])
    assert log.text == "<6>line 0\n<6>line 1\n<6>line 2\n"
    assert log.writer.writes == 2


def test_lines_that_wait_precede_an_event() -> None:
    log, waiting = Log(), ["first"]
    log.output.let_precede(lambda: log.output.add_lines([waiting.pop()]) if waiting else None)
    log.output.observer(event("second", LogLevel.warn))
    assert log.text == "<6>first\n<4>second\n"
    log.output.observer(event("third"))
    assert log.text == "<6>first\n<4>second\n<6>third\n"


def test_a_stop_writes_everything() -> None:
    log = Log()
    log.output.let_precede(lambda: log.output.add_lines(["x"]))
    log.output.close()
    assert log.text == "<6>x\n"
    assert log.writer.ended_within is not None


def test_outside_the_journal_lines_have_no_prefix() -> None:
    log = Log(Place.FILE)
    log.output.add_lines(["x"])
    assert log.text == "x\n"


@pytest.mark.parametrize(
    ("place", "form"),
    [(Place.JOURNAL, LineForm.UNTIMED), (Place.TERMINAL, LineForm.COMMON), (Place.FILE, LineForm.COMMON)],
)
def test_access_lines_have_a_time_unless_the_journal_adds_it(place: Place, form: LineForm) -> None:
    output = Log(place).output
    assert output.form_for(LogStyle.AUTO) is form
    assert output.form_for(LogStyle.JSON) is LineForm.JSON


def test_another_style_applies_to_the_next_event() -> None:
    log = Log(Place.FILE)
    log.output.reconfigure(LogStyle.JSON)
    log.output.observer(event("one"))
    assert json.loads(log.text)["message"] == "one"
    log.output.reconfigure(LogStyle.AUTO)
    log.output.observer(event("two"))
    assert log.text.endswith(" two\n")


def test_libraries_are_heard_from_warnings_on() -> None:
    log = Log()
    log.output.observer(event("quiet", namespace="twisted"))
    log.output.observer(event("loud", LogLevel.warn, "twisted"))
    assert log.text == "<4>loud\n"


def test_an_event_that_says_nothing_is_not_written() -> None:
    log = Log()
    log.output.observer(event(""))
    assert log.writer.writes == 0


@pytest.fixture
def published() -> Iterator[Log]:
    """A log that gets the events of this process."""
    log = Log()
    globalLogPublisher.addObserver(log.output.observer)
    yield log
    globalLogPublisher.removeObserver(log.output.observer)


def test_lost_lines_are_reported_once_others_can_be_written_and_once_a_minute(published: Log) -> None:
    def write_line() -> str:
        before = len(published.text)
        published.output.add_lines(["x"])
        return published.text[before:]

    writer = published.writer
    assert write_line() == "<6>x\n"
    writer.lost_lines, writer.is_free = 5, False
    assert write_line() == "<6>x\n", "the reader is still stalled"
    writer.is_free = True
    sentence = "lines of the log are lost: the disk was full, or what reads the log was too slow"
    assert write_line() == f"<4>5 {sentence}\n<6>x\n"
    writer.lost_lines = 7
    assert write_line() == "<6>x\n"
    published.clock.advance(REPORT_INTERVAL)
    assert write_line() == f"<4>2 {sentence}\n<6>x\n"
    assert published.output.lost_lines == 7


def test_losses_are_reported_with_the_next_event_if_no_answers_are_logged(published: Log) -> None:
    published.writer.lost_lines = 5
    published.output(event("something else"))
    assert "5 lines of the log are lost" in published.text


def test_a_reader_that_is_always_too_slow_is_reported_after_a_while(published: Log) -> None:
    published.writer.lost_lines, published.writer.is_free = 5, False
    published.output(event("at first it may catch up"))
    assert "lost" not in published.text
    published.clock.advance(REPORT_INTERVAL)
    published.output(event("later"))
    assert "5 lines of the log are lost" in published.text


def test_it_writes_to_a_real_file_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    output = LogOutput(LineWriter(descriptor), Place.FILE, Clock())
    output.add_lines([f"{number}" for number in range(1501)])
    output.observer(event("event"))
    output.add_lines(["last"])
    output.close()
    *lines, before_last, last = path.read_text().splitlines()
    assert lines == [f"{number}" for number in range(1501)]
    assert before_last.endswith(" event")
    assert last == "last"
    assert output.lost_lines == 0
    os.close(descriptor)
