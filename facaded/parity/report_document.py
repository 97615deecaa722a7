"""The report of a comparison as a JSON document."""

from collections.abc import Mapping

from attrs import frozen

from facaded.net.json_documents import Document
from facaded.parity.findings import Report, Side


@frozen
class SideDocument:
    """One backend's side of a comparison."""

    outcome: str
    reason: str
    digest: str | None
    platforms: tuple[str, ...]
    referrers: tuple[str, ...]


@frozen
class RowDocument:
    """One reference, and the side of each backend."""

    image: str
    reference: str
    verdict: str
    backends: Mapping[str, SideDocument]


@frozen
class ReportDocument(Document):
    """The whole report. `equal` is null if no image was compared."""

    equal: bool | None
    backends: tuple[str, ...]
    images: tuple[RowDocument, ...]
    notes: tuple[str, ...]


def document(report: Report) -> ReportDocument:
    """Return the document of a report."""
    images = tuple(
        RowDocument(row.name, row.reference, row.verdict.value, {name: _side(side) for name, side in row.sides.items()})
        for row in report.rows
    )
    return ReportDocument(report.equal, report.backends, images, report.notes)


def _side(side: Side) -> SideDocument:
    return SideDocument(side.finding.value, side.reason, side.digest or None, side.platforms, side.referrers)
