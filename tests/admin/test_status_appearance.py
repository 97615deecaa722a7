"""Ages, colours and widths of the status as text, and the reasons of overrides."""

import re

import pytest

from facaded.admin.printed_times import PrintedTimes
from facaded.admin.status_text import Appearance, text
from tests.admin.test_status_text import (
    AT,
    BACKEND,
    CERTIFICATE,
    DOWN,
    GHCR,
    HOUR,
    MISSING,
    SELF_SIGNED,
    SENTENCE,
    UNUSED,
    status,
    unwrapped,
    utc,
)

__all__ = ["utc"]  # the fixture


def colours(shown: str) -> list[str]:
    """Return the lines that have a colour, with its number before them."""
    return [f"{number}: {line}" for number, line in re.findall(r"\x1b\[(\d+)m(.*?)\x1b\[0m", shown)]


def test_ages_are_beside_the_times() -> None:
    drained = GHCR | {"drained": {"since": AT, "until": AT + 3 * HOUR}}
    shown = text(status(backends=[BACKEND, drained, UNUSED]), Appearance(AT + 125))
    assert unwrapped(shown.split("\n\n")[1]) == [
        "NAME        STATE        SINCE                 AGE    URL",
        "docker-hub  up           2027-01-15 08:00 UTC  2 min https://registry-1.docker.io",
        "ghcr        up, drained  2027-01-15 08:00 UTC  2 min  https://ghcr.io",
        "spare       not used     -                     -      https://spare.test",
    ]
    assert "ghcr: drained until 2027-01-15 11:00 UTC (in 3 h)" in shown


def test_an_age_within_parentheses_has_none_of_its_own() -> None:
    failed = CERTIFICATE | {"error": "no key", "error_at": AT}
    shown = text(status(certificates=[failed]), Appearance(AT + 125)).replace("\n  ", " ")
    assert "certificate not replaced: no key (at 2027-01-15 08:00 UTC, 2 min ago)" in shown


@pytest.mark.parametrize(
    ("seconds", "age"),
    [(0, "0 s"), (119, "119 s"), (121, "2 min"), (7199, "120 min"), (7200, "2 h"), (172800, "2 d"), (1e9, "11574 d")],
)
def test_an_age_has_one_unit(seconds: float, age: str) -> None:
    assert PrintedTimes(AT).age(AT - seconds) == age
    assert PrintedTimes(AT).age(AT + seconds) == age


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e300])
def test_a_number_that_is_no_time_has_no_age(seconds: float) -> None:
    assert PrintedTimes(AT).show(seconds) == "(unknown time)"


def test_a_pin_and_a_drain_show_their_reasons() -> None:
    pinned = status(pins={"docker-hub": {"since": AT, "until": None, "reason": "ticket 4711"}})
    assert "docker-hub: pinned: ticket 4711" in text(pinned).splitlines()
    drained = status(backends=[BACKEND | {"drained": {"since": AT, "until": AT + HOUR, "reason": "slow"}}])
    assert "docker-hub: drained until 2027-01-15 09:00 UTC: slow" in text(drained).splitlines()


def test_colours_say_how_good_a_line_is() -> None:
    limited = BACKEND | {"name": "quay", "state": "limited", "url": "https://quay.io"}
    shown = text(
        status(backends=[DOWN, GHCR, limited], warnings=["w"], certificates=[MISSING, SELF_SIGNED]),
        Appearance(has_colours=True),
    )
    coloured = colours(shown)
    assert coloured[0].startswith("33: docker-hub is active")
    assert [line[:9] for line in coloured[1:4]] == ["31: docke", "32: ghcr ", "33: quay "]
    assert "33: warning: w" in coloured
    assert any(line.startswith("31: a.test, b.test: no certificate") for line in coloured)
    assert any(line.startswith("33: a.test, b.test: temporary") for line in coloured)
    assert colours(text(status(), Appearance(has_colours=True)))[0].startswith("32: ")
    assert colours(text(status(backends=[DOWN]), Appearance(has_colours=True)))[0].startswith("31: ")
    expired = status(certificates=[CERTIFICATE | {"expired": True}, CERTIFICATE | {"expires_soon": True}, CERTIFICATE])
    certificates = text(expired, Appearance(has_colours=True)).split("\n\n")[3]
    assert [line[:2] for line in colours(certificates) if "a.test" in line] == ["31", "31", "33", "33"]
    assert len(certificates.splitlines()) > 4, "the certificate that is all right has no colour"
    assert "\x1b" not in text(status(backends=[DOWN]))


@pytest.mark.parametrize("width", [0, 20, 40, 200])
def test_lines_fit_the_terminal(width: int) -> None:
    shown = text(status(why=SENTENCE), Appearance(AT, width))
    assert all(len(line) <= max(width, 20) or len(line.split()) == 1 for line in shown.splitlines()[:4])
