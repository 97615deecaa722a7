"""The manual's page of the status page: it has every key of the document, and the numbers of the code."""

import re
from pathlib import Path
from typing import get_args

from attrs import fields, has

from facaded.admin.backend_cards import CELLS
from facaded.admin.day_strip import SPANS
from facaded.admin.headline import FINE
from facaded.admin.overview import BackendOverview, Overview
from facaded.admin.past_glances import FRESH, PATIENCE, PULL_DAYS, SHOWN_IMAGES
from facaded.admin.recent_changes import SHOWN_CHANGES
from facaded.admin.status import Headline
from facaded.admin.status_page import SCRIPT
from facaded.admin.status_pages import DIRECTORY

PAGE = (Path(__file__).parents[2] / "facaded" / "manual" / "status-page.md").read_text()


def keys(kind: type) -> list[str]:
    """All keys of a part of the document and of the parts of it that have no page of their own."""
    names: list[str] = []
    for field in fields(kind):
        names.append(field.name)
        for inner in (field.type, *get_args(field.type)):
            if isinstance(inner, type) and has(inner) and inner.__name__ != "Status":
                names += keys(inner)
    return names


def test_the_page_has_every_key() -> None:
    assert [key for key in keys(Overview) if f"`{key}`" not in PAGE] == []


def test_the_tables_have_the_keys_in_the_order_of_the_document() -> None:
    tables = [re.findall(r"^\| (`[a-z_`, ]+) \|", part, re.MULTILINE) for part in PAGE.split("Each of `backends` has")]
    document, backend = ([key for row in rows for key in re.findall(r"`(\w+)`", row)] for rows in tables)
    assert sorted(document) == sorted(field.name for field in fields(Overview))
    assert backend == [field.name for field in fields(BackendOverview) if field.name != "window"]


def test_its_numbers_are_those_of_the_code() -> None:
    script = (DIRECTORY / SCRIPT.removeprefix("/")).read_text()
    assert "const PERIOD = 3000;" in script
    for number in (
        "every 3 s",
        f"the last {SHOWN_CHANGES}",
        f"up to {SHOWN_IMAGES} `images`",
        f"in {PULL_DAYS} days",
        f"every {FRESH:.0f} s while",
        f"parts of {24 * 60 // CELLS} minutes",
        f"{SPANS} at most",
    ):
        assert number in PAGE, number
    assert (PATIENCE, "half a second" in PAGE) == (0.5, True)
    assert FINE in PAGE
    assert {"level", "text", "since", "remarks"} == {field.name for field in fields(Headline)}
