"""Writes the log to a file descriptor in a thread of its own, so that a slow reader or disk never delays an answer.

A descriptor that others have too, as standard error is, must not become non-blocking: that would be so for all of them.
Without that, only a pipe can be asked whether it has room, and only a socket be written without waiting; a terminal, a
disk and a network file system can block at any time. A thread may block on all of them.
"""

import os
import select
import stat
from queue import Empty, SimpleQueue
from threading import Thread

from attrs import frozen

WAITING_BYTES = 1 << 20
"""Bytes of access lines that wait to be written: some 5,000 lines."""

EVENT_BYTES = 256 << 10
"""Bytes of other lines that wait beyond that, and that are written later if that fails: they are lost last."""

PIPE_PIECE = 4096
"""Bytes that are written to a pipe at once: Linux's PIPE_BUF, up to which nobody else's lines can come between."""

PIECE = 64 << 10
"""Bytes that are written to anything else at once."""


RETRY_TIME = 1.0
"""Seconds after which what could not be written is tried again, if nothing else comes."""


@frozen
class Batch:
    """Whole lines that are written together. Events are not access lines."""

    text: bytes
    is_event: bool


NOTHING = Batch(b"", is_event=True)


class LineWriter:
    """Writes lines in order to `descriptor`, which may block. Only its own thread ever waits.

    What cannot be written is lost, and counted. The rest of a line that was written in part comes before anything else.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._piece = PIPE_PIECE if stat.S_ISFIFO(os.fstat(descriptor).st_mode) else PIECE
        self._batches: SimpleQueue[Batch | None] = SimpleQueue()
        self._accepted = self._refused = 0  # changed by the caller's thread only
        self._written = self._failed = 0  # changed by the writing thread only
        self._left = b""
        self._thread = Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    @property
    def lost_lines(self) -> int:
        """How many lines were lost since the start."""
        return self._refused + self._failed

    @property
    def is_free(self) -> bool:
        """Whether all lines have been written that were not lost."""
        return self._written == self._accepted and not self._left

    def put_lines(self, text: bytes) -> None:
        """Write lines of the access log, which are lost if too many wait."""
        self._put(Batch(text, is_event=False), WAITING_BYTES)

    def put_event(self, text: bytes) -> None:
        """Write other lines, which are lost last."""
        self._put(Batch(text, is_event=True), WAITING_BYTES + EVENT_BYTES)

    def end(self, seconds: float) -> None:
        """Write what waits, for so many seconds at most. Nothing is written after that."""
        self._batches.put(None)
        self._thread.join(seconds)
        if not self._thread.is_alive():
            self._failed += self._left.count(b"\n")
            self._left = b""

    def _put(self, batch: Batch, most: int) -> None:
        if self._accepted - self._written + len(batch.text) > most:
            self._refused += batch.text.count(b"\n")
        else:
            self._accepted += len(batch.text)
            self._batches.put(batch)

    def _write_all(self) -> None:
        while (batch := self._next()) is not None:
            self._write(batch)
            self._written += len(batch.text)
        self._write(NOTHING)

    def _next(self) -> Batch | None:
        """Wait for the next batch; an empty one comes after a while if something is left that could not be written."""
        try:
            return self._batches.get(timeout=RETRY_TIME if self._left else None)
        except Empty:
            return NOTHING

    def _write(self, batch: Batch) -> None:
        earlier, self._left = self._left, b""
        text, position = earlier + batch.text, 0
        try:
            while position < len(text):
                position += self._write_piece(text, position)
        except OSError:
            self._left = earlier[position:] + self._salvage(batch, max(0, position - len(earlier)), len(earlier))

    def _write_piece(self, text: bytes, position: int) -> int:
        """Write as many whole lines as one piece has, and return how many bytes were written. Raises OSError."""
        end = position + self._piece
        if end < len(text):
            end = text.rfind(b"\n", position, end) + 1 or end
        try:
            return os.write(self._descriptor, text[position:end])
        except BlockingIOError:  # another process has made it non-blocking
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll()
            return 0

    def _salvage(self, batch: Batch, position: int, waiting: int) -> bytes:
        """Return what is written later of a batch that failed there: events, and the rest of a line; count the rest."""
        end = position
        if batch.is_event and waiting + len(batch.text) <= EVENT_BYTES:
            end = len(batch.text)
        elif position > 0 and batch.text[position - 1] != ord("\n"):
            end = batch.text.find(b"\n", position) + 1
        self._failed += batch.text.count(b"\n", end)
        return batch.text[position:end]
