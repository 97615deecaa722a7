"""How much history there is: days, and bytes of the file with all that SQLite writes beside it."""

import math
import sqlite3
from collections.abc import Callable

from facaded.history.past import DAY, MINUTE, HistoryPlace

LOG_SIZE = 6 << 20
"""Bytes of the size that are left to SQLite's log: 1 MiB until a checkpoint, and the largest transaction after it.

That is one which deletes a day of requests with every answer of every family in every minute: 3.2 MB.
"""

FULL = 0.9
"""Part of the pages that may be in use before the oldest days are deleted."""

REQUEST_DAYS = 2
"""Days of requests that are deleted last: their minutes take most of the space if there are many families."""

DAYS_AT_ONCE = 4
"""Most days that are deleted after one batch: the next batch deletes more."""

VACUUM_PAGES = 250
"""Pages that the file shrinks by after one batch, if its size was lowered."""

DOUBT = 3600.0
"""Seconds for which nothing is deleted by its time after the clock has jumped by more than a day.

Until a machine has the time from the network, its clock may be years away, and would delete the whole history.
"""

OLDEST_CHANGES = 1000
"""How many changes are deleted at once."""


class Retention:
    """Deletes the oldest history. Raises sqlite3.Error. `seconds` returns monotonic time."""

    def __init__(self, connection: sqlite3.Connection, place: HistoryPlace, seconds: Callable[[], float]) -> None:
        self._connection = connection
        self._days = place.days
        self._seconds = seconds
        page_size = self._pragma("page_size")
        self._most_pages = (place.size - LOG_SIZE) // page_size
        self._pragma(f"max_page_count = {self._most_pages}")
        self._cleaned_day = -1
        self._latest = self._read_latest()
        self._doubted_until = -math.inf

    def apply(self, now: float) -> None:
        """Delete what is older than the days at `now`, and more if the file is nearly full."""
        today = int(now // DAY)
        if self._is_sure(now) and today != self._cleaned_day and self._delete_wrong_days(today):
            self._cleaned_day = today
        for _ in range(DAYS_AT_ONCE):
            if self._pragma("page_count") - self._pragma("freelist_count") <= self._most_pages * FULL:
                break
            self._delete_oldest(today)
        if self._pragma("page_count") > self._most_pages:
            # `execute` would stop after the first page, for which SQLite returns a row without columns.
            self._connection.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
            self._pragma(f"max_page_count = {self._most_pages}")

    def _is_sure(self, now: float) -> bool:
        """Return whether the clock may be believed: it has not jumped, or was right since for DOUBT."""
        if self._latest is not None and abs(now - self._latest) > DAY:
            self._doubted_until = self._seconds() + DOUBT
        self._latest = now
        return self._seconds() >= self._doubted_until

    def _read_latest(self) -> float | None:
        """Return the latest time in the file."""
        times = [self._read_number("SELECT max(at) FROM changes")]
        for bound, length in ((self._bound_requests("max"), DAY), (self._bound_pulls("max"), DAY)):
            times.append(None if bound is None else bound * length)
        return max((time for time in times if time is not None), default=None)

    def _delete_wrong_days(self, today: int) -> bool:
        """Delete some of the days that are too old, or in the future; return whether that were all."""
        first, last = today - self._days + 1, today + 1  # tomorrow may come from a clock that was a little fast
        self._connection.execute("DELETE FROM changes WHERE at < ? OR at >= ?", (first * DAY, (last + 1) * DAY))
        for _ in range(DAYS_AT_ONCE):
            old = [day for day in self._bounds("min") if day < first]
            new = [day for day in self._bounds("max") if day > last]
            if not old and not new:
                return True
            for day in (min(old, default=None), max(new, default=None)):
                if day is not None:
                    self._delete_requests(day)
                    self._delete_pulls(day)
        return False

    def _delete_oldest(self, today: int) -> None:
        """Delete the oldest day, of what is missed least."""
        requests, pulls = self._bound_requests("min"), self._bound_pulls("min")
        if requests is not None and requests <= today - REQUEST_DAYS:
            self._delete_requests(requests)
        elif pulls is not None and pulls < today:
            self._delete_pulls(pulls)
        elif not self._delete_changes() and (latest := max(self._bounds("max"), default=today)) > today:
            self._delete_requests(latest)  # all is from the future, because the clock was set back
            self._delete_pulls(latest)

    def _bounds(self, which: str) -> list[int]:
        """Return the first or the last day of requests, and that of pulls, by the name of SQLite's function."""
        return [day for day in (self._bound_requests(which), self._bound_pulls(which)) if day is not None]

    def _bound_requests(self, which: str) -> int | None:
        minute = self._read_number(f"SELECT {which}(minute) FROM requests")  # noqa: S608  # nosec B608  # constants
        return None if minute is None else int(minute) * MINUTE // DAY

    def _bound_pulls(self, which: str) -> int | None:
        day = self._read_number(f"SELECT {which}(day) FROM pulls")  # noqa: S608  # nosec B608  # constants
        return None if day is None else int(day)

    def _delete_requests(self, day: int) -> None:
        minutes = day * DAY // MINUTE, (day + 1) * DAY // MINUTE
        self._connection.execute("DELETE FROM requests WHERE minute >= ? AND minute < ?", minutes)

    def _delete_pulls(self, day: int) -> None:
        self._connection.execute("DELETE FROM pulls WHERE day = ?", (day,))

    def _delete_changes(self) -> int:
        """Delete the first changes, and return how many."""
        oldest = "DELETE FROM changes WHERE id IN (SELECT id FROM changes ORDER BY id LIMIT ?)"
        return self._connection.execute(oldest, (OLDEST_CHANGES,)).rowcount

    def _read_number(self, query: str) -> float | None:
        (number,) = self._connection.execute(query).fetchone()
        return None if number is None else float(number)

    def _pragma(self, text: str) -> int:
        (number,) = self._connection.execute(f"PRAGMA {text}").fetchone()
        return int(number)
