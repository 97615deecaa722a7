"""`status --watch`: what fits on the screen, and what it writes."""

import io
import json

import pytest

from facaded.cli import status_watch
from facaded.cli.status_watch import BEGIN, END, JsonLines, Printout, Screen, fit
from facaded.cli.terminal import has_colours
from tests.admin.test_status_text import BACKEND, GHCR, status


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("count", "height", "expected"),
    [
        (3, 3, ["0", "1", "2"]),
        (4, 3, ["0", "1", "... 2 more lines"]),
        (4, 2, ["0", "... 3 more lines"]),
        (4, 1, ["0"]),
        (4, 0, ["0"]),
    ],
)
def test_no_more_lines_are_shown_than_fit(count: int, height: int, expected: list[str]) -> None:
    assert fit([str(number) for number in range(count)], height) == expected


@pytest.mark.parametrize(
    ("environ", "stream", "expected"),
    [
        ({"TERM": "xterm"}, Terminal(), True),
        ({"TERM": "xterm", "NO_COLOR": ""}, Terminal(), True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, Terminal(), False),
        ({"TERM": "dumb"}, Terminal(), False),
        ({}, Terminal(), False),
        ({"TERM": "xterm"}, io.StringIO(), False),
    ],
)
def test_colours_are_for_terminals_that_have_them(environ: dict[str, str], stream: io.StringIO, expected: bool) -> None:
    assert has_colours(stream, environ) is expected


def test_a_screen_is_drawn_in_place_within_its_size_and_left_as_it_was(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "4")
    screen = Screen(Terminal(), {"TERM": "xterm"})
    screen.show(status(backends=[BACKEND, GHCR]), "")
    first = capsys.readouterr().out
    assert first.startswith(f"{BEGIN}\x1b[H")
    assert first.count("\n") == 3
    assert "more lines" in first
    assert "\x1b[32m" in first
    screen.show(status(backends=[BACKEND, GHCR]), "not running")
    second = capsys.readouterr().out
    assert BEGIN not in second
    assert "no answer, this is the last one: not running" in second
    screen.end()
    last = capsys.readouterr().out
    assert last.startswith(END)
    assert last.endswith("ghcr: OK, all steps passed\x1b[0m\n")


def test_a_screen_that_showed_nothing_is_not_ended(capsys: pytest.CaptureFixture[str]) -> None:
    Screen(Terminal(), {}).end()
    assert capsys.readouterr().out == ""


def test_elsewhere_each_status_follows_the_last_one(capsys: pytest.CaptureFixture[str]) -> None:
    for display in (Printout(), JsonLines()):
        display.show(status(), "")
        display.show(status(), "gone \x1b[2J")
        display.end()
    printed, documents = capsys.readouterr().out.split("\n{", 1)
    assert printed.count("docker-hub is active: ") == 2
    assert "the last one: gone ?[2J" in printed
    assert [json.loads(line)["active"] for line in f"{{{documents}".splitlines()] == ["docker-hub"]


def test_the_display_depends_on_the_stream() -> None:
    def choose(stream: io.StringIO, term: str, is_json: bool = False) -> str:
        return type(status_watch.choose_display(stream, {"TERM": term}, is_json=is_json)).__name__

    assert choose(Terminal(), "xterm") == "Screen"
    assert choose(Terminal(), "dumb") == "Printout"
    assert choose(io.StringIO(), "xterm") == "Printout"
    assert choose(Terminal(), "xterm", is_json=True) == "JsonLines"
