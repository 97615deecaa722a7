"""The report of a comparison: its table, its document, and the progress line."""

import io
import json

import pytest
from attrs import evolve

from facaded.net.json_documents import to_json
from facaded.parity.findings import Finding, Report, Row, Side
from facaded.parity.progress_line import ProgressLine
from facaded.parity.report_document import document
from facaded.parity.report_table import table

ONE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
SAME, MISSING = Side(Finding.SAME, "", ONE, ("linux/amd64",)), Side(Finding.NOT_THERE)
EQUAL = Row("org/app", "latest", {"main": SAME, "second": SAME})
OLDER = Row("org/app", "1.2", {"main": SAME, "second": Side(Finding.DIFFERS, "lacks linux/arm64", OTHER)})
DOWN = Row("org/b", ONE, {"main": SAME, "second": Side(Finding.FAILING, "connection refused")})
NOWHERE = Row("org/c", "typo", {"main": MISSING, "second": evolve(MISSING, reason="answered 401")})
REPORT = Report(("main", "second"), (EQUAL, OLDER, DOWN, NOWHERE), ("org/d comes from main only",))


def test_differences_come_first_and_a_summary_comes_last() -> None:
    assert table(REPORT, None).splitlines() == [
        "IMAGE    REFERENCE            MAIN                 SECOND",
        "org/app  1.2                  sha256:111111111111  sha256:222222222222 DIFFERS: lacks linux/arm64",
        "org/c    typo                 NOT THERE            NOT THERE (answered 401)",
        "org/b    sha256:111111111111  sha256:111111111111  FAILING: connection refused",
        "org/app  latest               sha256:111111111111  sha256:111111111111",
        "",
        "note: org/d comes from main only",
        "1 of 4 differs: org/app:1.2",
        "1 of 4 not found at any backend: org/c:typo",
        "1 of 4 could not be compared: org/b@sha256:111111111111",
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(width: int) -> None:
    long = Row("organisation/an-image-with-a-long-name", "v1.22.333-alpine3.20", OLDER.sides)
    lines = table(evolve(REPORT, rows=(long, *REPORT.rows)), width).splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.startswith("2 of 5 differ: ") for line in lines)


def test_tags_are_sorted_by_their_numbers() -> None:
    many = tuple(evolve(OLDER, reference=tag) for tag in ("1.10", "1.9-alpine", "latest", "1.9", "1.10.2", "0", "v1"))
    lines = table(evolve(REPORT, rows=many, notes=()), None).splitlines()
    assert [line.split()[1] for line in lines[1:8]] == ["0", "1.9", "1.9-alpine", "1.10", "1.10.2", "latest", "v1"]


def test_of_many_differences_some_are_named() -> None:
    many = tuple(evolve(OLDER, reference=str(number)) for number in range(5))
    last = table(evolve(REPORT, rows=many, notes=()), None).splitlines()[-1]
    assert last == "5 of 5 differ: org/app:0, org/app:1, org/app:2, 2 more"


@pytest.mark.parametrize(
    ("rows", "last"),
    [((EQUAL,), "the same at all backends"), ((EQUAL, EQUAL), "2 compared: the same at all backends")],
)
def test_the_summary_says_that_images_are_the_same(rows: tuple[Row, ...], last: str) -> None:
    assert table(Report(("main", "second"), rows), 80).splitlines()[-1] == last


def test_without_rows_only_the_notes_are_shown() -> None:
    assert table(Report(("main",), (), ("nothing to compare",)), 80) == "note: nothing to compare"


def test_a_backend_of_another_route_has_an_empty_cell() -> None:
    other = Row("org/z", "1", {"main": SAME, "third": SAME})
    assert "org/z    1          sha256:111111111111  -" in table(
        Report(("main", "second", "third"), (EQUAL, other)), None
    )


def test_a_digest_inside_a_tag_is_shortened_too() -> None:
    signature = evolve(OLDER, reference=f"{ONE.replace(':', '-')}.sig")
    shown = table(Report(("main", "second"), (signature,)), None)
    assert "org/app  sha256-111111111111.sig  sha256:" in shown
    assert shown.splitlines()[-1] == "1 of 1 differs: org/app:sha256-111111111111.sig"


def test_control_characters_of_a_backend_do_not_reach_the_terminal() -> None:
    bad = Row("org/app", "1", {"main": SAME, "second": Side(Finding.FAILING, "\x1b[2J\r\nall is well\u202e")})
    assert "\x1b" not in table(evolve(REPORT, rows=(bad,), notes=("\x1b[2J",)), 80)
    assert "FAILING: ?[2J??all is well?" in table(evolve(REPORT, rows=(bad,)), None)


def test_the_document_has_everything() -> None:
    read_back = json.loads(json.dumps(to_json(document(REPORT))))
    assert (read_back["equal"], read_back["backends"], read_back["notes"]) == (
        False,
        ["main", "second"],
        list(REPORT.notes),
    )
    assert read_back["images"][1] == {
        "image": "org/app",
        "reference": "1.2",
        "verdict": "differs",
        "backends": {
            "main": {"outcome": "same", "reason": "", "digest": ONE, "platforms": ["linux/amd64"], "referrers": []},
            "second": {
                "outcome": "differs",
                "reason": "lacks linux/arm64",
                "digest": OTHER,
                "platforms": [],
                "referrers": [],
            },
        },
    }


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_that_is_wiped_at_the_end() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        progress = ProgressLine(stream)
        progress(10, 12)
        progress(1, 2)
        progress.wipe()
        progress.wipe()
    assert terminal.getvalue() == "\r10 of 12 …\r1 of 2 …  \r        \r"
    assert file.getvalue() == ""
