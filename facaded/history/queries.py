"""What is read of the history: functions of a connection, for `Recorder.read`. They raise sqlite3.Error.

Times are in seconds since the epoch, days and minutes are counted from there, UTC. Every answer is bounded.
"""

import sqlite3
from collections.abc import Mapping

from attrs import frozen

from facaded.history.past import DAY, MINUTE, STARTED, STOPPED, MinuteCount, PastChange
from facaded.policy.events import EventKind
from facaded.policy.pull_kinds import PullKind

MOST_CHANGES_READ = 2000
"""Most changes of one answer: with the longest texts 2 MB."""

MOST_ROWS_READ = 500
"""Most rows of pulls of one kind in one answer."""

MOST_MINUTES_READ = 2000
"""Most rows of requests of one answer: an hour with 30 kinds of answers and families."""

CONDITIONS = tuple(
    kind.value for kind in (EventKind.UP, EventKind.DOWN, EventKind.LIMITED, EventKind.DEGRADED, EventKind.UNKNOWN)
)
"""The kinds of changes that say what a backend is like."""

_SUM = "ifnull(sum(CASE WHEN kind = (SELECT id FROM words WHERE word = '{}') THEN count END), 0)"

SUMS = ", ".join(_SUM.format(kind.value) for kind in (PullKind.IMAGE, PullKind.CHECK, PullKind.SIGNATURE))
"""The columns of a `PullSum` after its name."""


@frozen
class PullSum:
    """How often something was pulled, checked for updates, and its signatures were read."""

    name: str
    pulls: int = 0
    checks: int = 0
    signatures: int = 0


@frozen
class PullTotals:
    """Pulls of some days, by image (or by tag and digest, of one image), by family and by day, most first.

    The days are in their order. An empty name stands for names beyond a bound, and for signatures, which have no tag.
    """

    whole: PullSum
    images: tuple[PullSum, ...]
    families: tuple[PullSum, ...]
    days: tuple[PullSum, ...]


@frozen
class PastCondition:
    """What a backend was like from a time on: `kind` is a value of `EventKind`."""

    at: float
    kind: str


def read_changes(connection: sqlite3.Connection, since: float, most: int = MOST_CHANGES_READ) -> tuple[PastChange, ...]:
    """Return the last changes since a time, the latest first."""
    rows = connection.execute(
        "SELECT at, kind, severity, backend, text FROM changes WHERE at >= ? ORDER BY at DESC, id DESC LIMIT ?",
        (since, min(most, MOST_CHANGES_READ)),
    )
    return tuple(PastChange(*row) for row in rows)


def read_conditions(connection: sqlite3.Connection, since: float) -> Mapping[str, tuple[PastCondition, ...]]:
    """Return what each backend was like since a time, the earliest first.

    The first one of each may be earlier: it was in force at that time. Of too many, the latest are read, and what
    was in force before them. Starts and stops of the daemon are under the empty name, because nothing is known of the
    time between a stop and a start.
    """
    kinds = ", ".join(f"'{kind}'" for kind in (*CONDITIONS, STARTED, STOPPED))
    after = connection.execute(
        f"SELECT backend, at, kind FROM changes WHERE at >= ? AND kind IN ({kinds}) ORDER BY at DESC, id DESC LIMIT ?",  # noqa: S608  # nosec B608  # constants
        (since, MOST_CHANGES_READ),
    ).fetchall()[::-1]
    before = connection.execute(
        f"SELECT backend, max(at), kind FROM changes WHERE at < ? AND kind IN ({kinds}) GROUP BY backend",  # noqa: S608  # nosec B608  # constants
        (after[0][1] if len(after) == MOST_CHANGES_READ else since,),
    ).fetchall()
    conditions: dict[str, list[PastCondition]] = {}
    for backend, at, kind in (*before, *after):
        conditions.setdefault(backend, []).append(PastCondition(at, kind))
    return {backend: tuple(rows) for backend, rows in conditions.items()}


def read_requests(connection: sqlite3.Connection, since: float) -> tuple[MinuteCount, ...]:
    """Return the requests of each minute that began at a time or later, the latest first."""
    rows = connection.execute(
        "SELECT minute, answers.word, families.word, count FROM requests "
        "JOIN words AS answers ON answers.id = answer JOIN words AS families ON families.id = family "
        "WHERE minute * ? >= ? ORDER BY minute DESC, count DESC LIMIT ?",
        (MINUTE, since, MOST_MINUTES_READ),
    )
    return tuple(MinuteCount(*row) for row in rows)


def read_pulls(
    connection: sqlite3.Connection,
    first_day: int,
    repository: str = "",
    reference: str = "",
    most: int = MOST_ROWS_READ,
) -> PullTotals:
    """Return the pulls since a day, of all images, of one repository, or of one tag or digest."""
    scope = _Scope(connection, first_day, repository, reference, min(most, MOST_ROWS_READ))
    return PullTotals(
        next(iter(scope.read("''")), PullSum("")),
        tuple(scope.read("reference" if repository else "repository")),
        tuple(scope.read("(SELECT word FROM words WHERE id = family)")),
        tuple(
            sorted(scope.read(f"strftime('%Y-%m-%d', day * {DAY}, 'unixepoch')", "1 DESC"), key=lambda row: row.name)
        ),
    )


def read_most_pulled(connection: sqlite3.Connection, first_day: int, most: int) -> PullTotals:
    """Return the pulls since a day, with the images that were pulled most.

    Those by family and by day are left out: to add up all pulls once more for each takes as long again.
    """
    scope = _Scope(connection, first_day, "", "", min(most, MOST_ROWS_READ))
    return PullTotals(next(iter(scope.read("''")), PullSum("")), tuple(scope.read("repository")), (), ())


@frozen
class _Scope:
    """Which pulls are read."""

    connection: sqlite3.Connection
    first_day: int
    repository: str
    reference: str
    most: int

    def read(self, name: str, order: str = "2 DESC, 3 DESC, 4 DESC, 1") -> list[PullSum]:
        """Return a sum for each value of the expression `name`."""
        statement = (
            f"SELECT {name}, {SUMS} FROM pulls WHERE day >= ? AND (? = '' OR repository = ?) "  # noqa: S608  # nosec B608  # constants only
            f"AND (? = '' OR reference = ?) GROUP BY 1 ORDER BY {order} LIMIT ?"
        )
        names = self.repository, self.repository, self.reference, self.reference
        rows = self.connection.execute(statement, (self.first_day, *names, self.most))
        return [PullSum(*row) for row in rows]
