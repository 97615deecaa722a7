"""What a comparison of images found: by backend, by reference, and in all. Pure values."""

from collections.abc import Mapping
from enum import Enum

from attrs import frozen

ALL_TAGS = "(all tags)"
"""Stands for the reference in a row about a list of tags."""


class Finding(Enum):
    """How one backend's copy of an image compares with that of the first backend that has it."""

    SAME = "same"
    DIFFERS = "differs"
    NOT_THERE = "not there"
    FAILING = "failing"
    NOT_ASKED = "not asked"


@frozen
class Side:
    """What one backend has of an image. `reason` say how it differs or fails."""

    finding: Finding
    reason: str = ""
    digest: str = ""
    platforms: tuple[str, ...] = ()
    referrers: tuple[str, ...] = ()


@frozen
class Row:
    """One reference, and what each backend of its route has of it, preferred first."""

    name: str
    reference: str
    sides: Mapping[str, Side]

    @property
    def verdict(self) -> Finding:
        """The finding over all backends.

        It is "not there" if no backend has the image, "failing" if one could not be compared, and "not asked" if there
        were no two to compare.
        """
        asked = [side.finding for side in self.sides.values() if side.finding is not Finding.NOT_ASKED]
        findings = set(asked)
        if len(asked) < 2 and findings <= {Finding.SAME}:
            return Finding.NOT_ASKED
        if Finding.DIFFERS in findings or {Finding.SAME, Finding.NOT_THERE} <= findings:
            return Finding.DIFFERS
        return next((each for each in (Finding.FAILING, Finding.NOT_THERE) if each in findings), Finding.SAME)


@frozen
class Report:
    """What a comparison found. `notes` are sentences about what was not compared."""

    backends: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()

    def with_verdict(self, *verdicts: Finding) -> tuple[Row, ...]:
        """Return the rows that have one of these verdicts."""
        return tuple(row for row in self.rows if row.verdict in verdicts)

    @property
    def is_bad_news(self) -> bool:
        """Whether something differs, or could not be compared."""
        return any(row.verdict not in (Finding.SAME, Finding.NOT_ASKED) for row in self.rows)

    @property
    def equal(self) -> bool | None:
        """Whether all that was compared is the same; None if nothing was."""
        if self.is_bad_news:
            return False
        return True if self.with_verdict(Finding.SAME) else None
