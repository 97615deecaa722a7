"""A report of a comparison as programs read it."""

from collections.abc import Mapping

from attrs import frozen

from facaded.net.json_documents import Document
from facaded.parity.findings import Report, Side


@frozen
class SideDocument:
    """What one backend has of an image."""

    outcome: str
    reason: str
    digest: str | None
    platforms: tuple[str, ...]
    referrers: tuple[str, ...]


@frozen
class RowDocument:
    """One reference, and what each backend has of it."""

    image: str
    reference: str
    verdict: str
    backends: Mapping[str, SideDocument]


@frozen
class ReportDocument(Document):
    """A whole report. `equal` is null if nothing was compared."""

    equal: bool | None
    backends: tuple[str, ...]
    images: tuple[RowDocument, ...]
    notes: tuple[str, ...]


def document(report: Report) -> ReportDocument:
    """Turn a report into its document."""
    images = tuple(
        RowDocument(row.name, row.reference, row.verdict.value, {name: _side(side) for name, side in row.sides.items()})
        for row in report.rows
    )
    return ReportDocument(report.equal, report.backends, images, report.notes)


def _side(side: Side) -> SideDocument:
    return SideDocument(side.finding.value, side.reason, side.digest or None, side.platforms, side.referrers)
