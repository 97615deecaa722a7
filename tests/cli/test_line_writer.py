"""The writer of the log, on real pipes and devices: whole lines, in order, and nobody waits for a slow reader."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from facaded.cli.line_writer import EVENT_BYTES, PIPE_PIECE, WAITING_BYTES, Batch, LineWriter

SECONDS = 10.0
"""How long the writer may take, which is never needed."""

LINES = b"".join(b"line %d of some length\n" % number for number in range(1000))


class Pipe:
    """A pipe that is only read when the test says so."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.writer = LineWriter(self.writing)

    def end(self) -> bytes:
        """Read everything until the writer has ended and the pipe is closed."""
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.extend(iter(lambda: os.read(self.reading, 1 << 16), b"")))
        reader.start()
        self.writer.end(SECONDS)
        os.close(self.writing)
        reader.join(SECONDS)
        os.close(self.reading)
        return b"".join(received)


class FailingWriter(LineWriter):
    """A writer to /dev/null that fails after so many bytes of each batch, as a full disk does; -1: it works."""

    def __init__(self, path: Path) -> None:
        self.room = -1
        self.path = path
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        super().__init__(descriptor)
        self._descriptor = descriptor

    def _write_piece(self, text: bytes, position: int) -> int:
        if self.room == 0:
            raise OSError(28, "No space left on device")
        end = len(text) if self.room < 0 else position + self.room
        self.room = max(0, self.room - len(text[position:end])) if self.room >= 0 else -1
        return os.write(self._descriptor, text[position:end])


def test_lines_are_written_in_order_and_all_of_them_before_the_end() -> None:
    pipe = Pipe()
    pipe.writer.put_lines(LINES)
    pipe.writer.put_event(b"event\n")
    pipe.writer.put_lines(b"last\n")
    assert pipe.end() == LINES + b"event\nlast\n"
    assert pipe.writer.lost_lines == 0
    assert pipe.writer.is_free


def test_without_a_reader_access_lines_are_lost_and_counted_and_the_caller_never_waits() -> None:
    pipe = Pipe()
    while not pipe.writer.lost_lines:
        pipe.writer.put_lines(LINES)
    assert not pipe.writer.is_free
    pipe.writer.put_event(b"event\n")
    pipe.writer.put_lines(LINES)
    lost = pipe.writer.lost_lines
    received = pipe.end()
    assert lost == 2 * LINES.count(b"\n")
    assert pipe.writer.lost_lines == lost
    assert received.endswith(b"event\n")
    assert received == LINES * (len(received) // len(LINES)) + b"event\n", "no line is cut"
    assert len(received) <= WAITING_BYTES + (128 << 10)


def test_events_are_bounded_too() -> None:
    pipe = Pipe()
    for _ in range(100):
        pipe.writer.put_event(b"x" * 99_999 + b"\n")
    assert 0 < pipe.writer.lost_lines < 100
    assert len(pipe.end()) <= WAITING_BYTES + EVENT_BYTES + (128 << 10)


def test_an_end_does_not_wait_for_a_reader_without_end() -> None:
    pipe = Pipe()
    pipe.writer.put_lines(LINES * 20)
    pipe.writer.end(0.01)
    assert not pipe.writer.is_free
    pipe.end()


def test_a_pipe_gets_whole_lines_in_pieces_that_nobody_can_interrupt() -> None:
    reading, writing = os.pipe()
    writes: list[bytes] = []

    class Recording(LineWriter):
        def _write_piece(self, text: bytes, position: int) -> int:
            written = super()._write_piece(text, position)
            writes.append(text[position : position + written])
            return written

    writer = Recording(writing)
    writer.put_lines(LINES)
    writer.put_lines(b"x" * 10_000 + b"\n")
    writer.end(SECONDS)
    os.close(writing)
    os.close(reading)
    assert b"".join(writes) == LINES + b"x" * 10_000 + b"\n"
    assert all(len(write) <= PIPE_PIECE for write in writes)
    assert all(write.endswith(b"\n") for write in writes if b"x" not in write)


def test_a_descriptor_that_another_process_has_made_non_blocking_is_waited_for() -> None:
    pipe = Pipe()
    os.set_blocking(pipe.writing, False)
    for _ in range(10):
        pipe.writer.put_lines(LINES)
    assert pipe.end() == LINES * 10
    assert pipe.writer.lost_lines == 0


@pytest.mark.parametrize("close", [True, False])
def test_a_closed_reader_or_a_full_device_loses_lines_and_nothing_else(close: bool) -> None:
    reading, writing = os.pipe()
    full = os.open("/dev/full", os.O_WRONLY)
    os.close(reading)
    writer = LineWriter(writing if close else full)
    writer.put_lines(LINES)
    writer.put_event(b"event\n")
    while writer.lost_lines < 1000:
        time.sleep(0.01)
    assert not writer.is_free, "the event waits for a device that has room"
    writer.end(SECONDS)
    assert writer.lost_lines == 1001, "it has waited in vain"
    os.close(writing)
    os.close(full)


def test_an_event_is_written_soon_after_there_is_room_again(tmp_path: Path) -> None:
    writer = FailingWriter(tmp_path / "log")
    writer.room = 0
    writer.put_event(b"event\n")
    while not writer._left:
        time.sleep(0.01)
    writer.room = -1
    end = time.monotonic() + SECONDS
    while not writer.is_free and time.monotonic() < end:
        time.sleep(0.01)
    assert (tmp_path / "log").read_bytes() == b"event\n", "although nothing else was logged"
    writer.end(SECONDS)


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[FailingWriter]:
    writer = FailingWriter(tmp_path / "log")
    yield writer
    writer.end(SECONDS)


def write(writer: FailingWriter, text: bytes, *, is_event: bool, room: int) -> None:
    """Write a batch as the thread does, with room for so many bytes."""
    writer.room = room
    writer._write(Batch(text, is_event))


@pytest.mark.parametrize(
    ("room", "lost", "written"),
    [(0, 3, b"later\n"), (2, 2, b"one\nlater\n"), (4, 2, b"one\nlater\n"), (6, 1, b"one\ntwo\nlater\n")],
)
def test_a_line_that_was_cut_is_completed_when_there_is_room_again(
    failing: FailingWriter, room: int, lost: int, written: bytes
) -> None:
    write(failing, b"one\ntwo\nthree\n", is_event=False, room=room)
    write(failing, b"later\n", is_event=False, room=-1)
    assert failing.path.read_bytes() == written
    assert failing.lost_lines == lost


def test_an_event_is_written_when_there_is_room_again(failing: FailingWriter) -> None:
    for text, is_event in ((b"one\n", False), (b"event\n", True), (b"two\n", False), (b"event two\n", True)):
        write(failing, text, is_event=is_event, room=0)
    write(failing, b"three\n", is_event=False, room=-1)
    assert failing.path.read_bytes() == b"event\nevent two\nthree\n"
    assert failing.lost_lines == 2


def test_an_event_that_was_cut_is_completed_and_the_lines_after_it_are_lost(failing: FailingWriter) -> None:
    write(failing, b"event\n", is_event=True, room=3)
    write(failing, b"lost\n", is_event=False, room=0)
    write(failing, b"three\n", is_event=False, room=-1)
    assert failing.path.read_bytes() == b"event\nthree\n"


def test_events_that_cannot_be_written_take_little_memory(failing: FailingWriter) -> None:
    for _ in range(100):
        write(failing, b"x" * 9_999 + b"\n", is_event=True, room=0)
    write(failing, b"last\n", is_event=False, room=-1)
    assert 0 < len(failing.path.read_bytes()) <= EVENT_BYTES + 5
    assert failing.lost_lines == 100 - EVENT_BYTES // 10_000


def test_the_writing_thread_ends_with_the_process() -> None:
    pipe = Pipe()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "log"]
    assert thread.daemon, "a stalled reader must not keep the process"
    pipe.end()
    assert not thread.is_alive()
