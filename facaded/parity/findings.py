"""Findings: the results of a comparison by backend, by reference, and as a whole. Pure values."""

from collections.abc import Mapping
from enum import Enum

from attrs import frozen

ALL_TAGS = "(all tags)"
"""The reference of a row about a list of tags."""


class Finding(Enum):
    """How one backend's copy of an image compares with that of the first backend that has the image."""

    SAME = "same"
    DIFFERS = "differs"
    NOT_THERE = "not there"
    FAILING = "failing"
    NOT_ASKED = "not asked"


@frozen
class Side:
    """One backend's side of a comparison. `reason` says how its copy differs, or why it could not be compared."""

    finding: Finding
    reason: str = ""
    digest: str = ""
    platforms: tuple[str, ...] = ()
    referrers: tuple[str, ...] = ()


@frozen
class Row:
    """One reference, and the sides of the backends of its route, preferred first."""

    name: str
    reference: str
    sides: Mapping[str, Side]

    @property
    def verdict(self) -> Finding:
        """The finding for all backends together.

        NOT_THERE if no backend has the image, FAILING if one could not be compared, and NOT_ASKED if fewer than two
        were asked.
        """
        compared = [side.finding for side in self.sides.values() if side.finding is not Finding.NOT_ASKED]
        findings = set(compared)
        if len(compared) < 2 and findings <= {Finding.SAME}:
            return Finding.NOT_ASKED
        if Finding.DIFFERS in findings or {Finding.SAME, Finding.NOT_THERE} <= findings:
            return Finding.DIFFERS
        return next((finding for finding in (Finding.FAILING, Finding.NOT_THERE) if finding in findings), Finding.SAME)


@frozen
class Report:
    """The result of a comparison. `notes` are sentences about images that were not compared."""

    backends: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()

    def with_verdict(self, *verdicts: Finding) -> tuple[Row, ...]:
        """Return the rows that have one of these verdicts."""
        return tuple(row for row in self.rows if row.verdict in verdicts)

    @property
    def is_bad_news(self) -> bool:
        """Whether an image differs or could not be compared."""
        return any(row.verdict not in (Finding.SAME, Finding.NOT_ASKED) for row in self.rows)

    @property
    def equal(self) -> bool | None:
        """Whether all compared images are the same; None if none was compared."""
        if self.is_bad_news:
            return False
        return True if self.with_verdict(Finding.SAME) else None
