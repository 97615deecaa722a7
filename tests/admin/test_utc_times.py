"""Times on pages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.admin.utc_times import UNKNOWN, age, clock_time, iso, seconds_time, utc_date

AT = 1_795_659_189.0
"""2026-11-26 02:13:09 UTC."""


@pytest.mark.parametrize(
    ("ahead", "text"),
    [(0.0, "02:13 UTC"), (3600.0, "02:13 UTC"), (-3600.0, "02:13 UTC"), (86400.0, "2026-11-26 02:13 UTC")],
)
def test_a_time_of_another_day_has_its_date(ahead: float, text: str) -> None:
    assert clock_time(AT, AT + ahead) == text


def test_a_time_has_forms_for_programs_seconds_and_days() -> None:
    assert (iso(AT), seconds_time(AT), utc_date(AT)) == ("2026-11-26T02:13:09Z", "02:13:09 UTC", "2026-11-26")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (172_800, "2 d"), (-1, UNKNOWN)],
)
def test_an_age_has_one_unit(seconds: float, text: str) -> None:
    assert age(seconds) == text


@given(st.floats(), st.floats())
def test_any_number_has_a_text(seconds: float, now: float) -> None:
    assert clock_time(seconds, now)
    assert age(seconds)
    assert seconds_time(seconds)
    assert utc_date(seconds)
    iso(seconds)
