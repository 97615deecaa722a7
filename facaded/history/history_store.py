"""The history in its thread: opens the file, sets a damaged one aside, and stops after an error until it is retried."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from facaded.history.history_file import HistoryFile, NewerFileError, is_damage, set_aside
from facaded.history.past import HistoryBatch, HistoryError, HistoryPlace

T = TypeVar("T")

RETRY = 600.0
"""Seconds after which a history that has stopped is tried again."""

REMEDY = "nothing is recorded now, and facaded tries again every 10 minutes"


class HistoryStore:
    """The file of the history at a place, used by one thread only.

    What cannot be written is lost, because it must not gather in memory.
    """

    def __init__(self, place: HistoryPlace) -> None:
        self._place = place
        self._file: HistoryFile | None = None
        self._problem = ""
        self._retry_at = 0.0

    def write(self, batch: HistoryBatch) -> str:
        """Write a batch, and return a sentence to be logged, or an empty text.

        Raises HistoryError the first time that it fails; then nothing is written until RETRY has passed.
        """
        if self._problem and 0 < self._retry_at - batch.at <= RETRY:  # more if the clock was set back
            return ""
        recovered = "the history works again" if self._problem else ""
        try:
            notice = self._open_again(batch.at)
            if self._file is not None:
                self._file.write(batch)
        except (sqlite3.Error, OSError) as error:
            is_news = not self._problem
            self._stop(error, batch.at)
            if is_news:
                raise HistoryError(self._problem) from None
            return ""
        self._problem = ""
        return notice or recovered

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Return what a query reads. Raises HistoryError."""
        if self._file is None:
            raise HistoryError(self._problem or "the history has not begun: try again in a few seconds")
        try:
            return self._file.read(query)
        except sqlite3.Error as error:
            raise HistoryError(f"the history cannot be read ({error}): see the log") from None

    def close(self) -> None:
        """Close the file, if it is open. Never raises."""
        if self._file is not None:
            with suppress(sqlite3.Error):
                self._file.close()
            self._file = None

    def move(self, place: HistoryPlace) -> None:
        """Use another place, or other bounds, from the next batch on; a history that has stopped is tried again."""
        self.close()
        self._place, self._retry_at = place, 0.0

    def _open_again(self, now: float) -> str:
        """Open the file if it is not open, or is another one now; return what happened, in a sentence."""
        if self._file is None:
            return self._open(now)
        if self._file.is_there:
            return ""
        self._file.abandon()
        self._file, directory = None, self._place.directory
        return self._open(now) or f"the history in {directory} was removed or replaced: it is opened again"

    def _open(self, now: float) -> str:
        """Open the file, and return what was set aside for that, in a sentence."""
        try:
            self._file = HistoryFile(self._place)
        except NewerFileError:
            aside = set_aside(self._place, "newer", now)
            notice = f"the history was written by a newer facaded: it is now {aside}, and a new one begins"
        except Exception as error:
            if not is_damage(error):
                raise
            aside = set_aside(self._place, "damaged", now)
            notice = f"the history is damaged: it is now {aside}, and a new one begins"
        else:
            return ""
        self._file = HistoryFile(self._place)
        return notice

    def _stop(self, error: Exception, now: float) -> None:
        self.close()
        if is_damage(error):
            self._retry_at = 0.0  # it is set aside when it is opened
        else:
            self._retry_at = now + RETRY
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self._problem = f"the history in {self._place.directory} cannot be written ({reason}): {REMEDY}"
