"""Findings: the verdict on a row and on a report."""

import pytest
from attrs import evolve

from facaded.parity.findings import Finding, Report, Row, Side

SAME, DIFFERS, NOT_THERE, FAILING, NOT_ASKED = Finding


@pytest.mark.parametrize(
    ("findings", "verdict"),
    [
        ((SAME, SAME), SAME),
        ((SAME, DIFFERS), DIFFERS),
        ((DIFFERS, FAILING), DIFFERS),
        ((SAME, NOT_THERE), DIFFERS),
        ((SAME, NOT_THERE, FAILING), DIFFERS),
        ((NOT_THERE, NOT_THERE), NOT_THERE),
        ((NOT_THERE, FAILING), FAILING),
        ((SAME, FAILING), FAILING),
        ((SAME, NOT_ASKED), NOT_ASKED),
        ((NOT_THERE, NOT_ASKED), NOT_THERE),
        ((NOT_ASKED, NOT_ASKED), NOT_ASKED),
    ],
)
def test_the_findings_at_the_backends_make_one_verdict(findings: tuple[Finding, ...], verdict: Finding) -> None:
    row = Row("org/app", "latest", {str(number): Side(finding) for number, finding in enumerate(findings)})
    assert row.verdict is verdict
    report = Report(("main",), (row,))
    assert report.is_bad_news is (verdict not in (SAME, NOT_ASKED))
    assert report.with_verdict(verdict) == (row,)


def test_images_that_were_not_compared_do_not_count_as_equal() -> None:
    alone = Row("org/app", "latest", {"main": Side(Finding.SAME), "second": Side(Finding.NOT_ASKED)})
    both = evolve(alone, sides={"main": Side(Finding.SAME), "second": Side(Finding.SAME)})
    missing = evolve(both, sides={"main": Side(Finding.SAME), "second": Side(Finding.NOT_THERE)})
    reports = [Report(("main", "second"), rows) for rows in ((), (alone,), (alone, both), (both, missing))]
    assert [report.equal for report in reports] == [None, None, True, False]
    assert [report.is_bad_news for report in reports] == [False, False, False, True]
