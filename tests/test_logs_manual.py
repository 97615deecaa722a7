"""The manual's page of the log: its examples have the form that facaded writes, and its settings exist."""

import json
import re
from pathlib import Path

import pytest
from twisted.logger import LogLevel

from facaded.announcer import LEVELS
from facaded.cli.line_writer import EVENT_BYTES, PIPE_PIECE, WAITING_BYTES
from facaded.cli.log_forms import FIELDS, WORDS, Place, format_json, format_text
from facaded.cli.log_output import END_TIME
from facaded.config.schema import SETTINGS
from facaded.policy.events import Event, EventKind, Severity
from facaded.web.answer_batches import BATCH_TIME
from facaded.web.answered_requests import AGENT_LENGTH, HOST_LENGTH, Outcome
from tests.web.test_accesslog import JSON_KEYS, LINE

PAGE = (Path(__file__).parent.parent / "facaded" / "manual" / "logs.md").read_text()
TEXTS = [line for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
DOCUMENTS = [json.loads(line) for line in re.findall(r"```json\n(.*)\n```", PAGE)]

NEWS = "docker-hub is down (manifest: answered 500; 5 of 5 confirming requests failed); ghcr is active"
EVENTS = (
    Event(EventKind.DOWN, Severity.WARNING, NEWS, "docker-hub"),
    Event(EventKind.FAILOVER, Severity.WARNING, NEWS, "ghcr"),
)
CHANGE = {
    "log_format": "{news}",
    "news": NEWS,
    "log_level": LEVELS[Severity.WARNING],
    "severity": Severity.WARNING,
    "change_events": EVENTS,
    "log_time": 1_795_712_101.123,
}


@pytest.mark.parametrize("place", Place)
def test_an_example_of_each_place_is_what_facaded_writes(place: Place) -> None:
    written = format_text(CHANGE, place).removesuffix("\n")
    undated = re.sub(r"^\S*\d\d:\d\d\S* ", "", written)
    assert undated in [re.sub(r"^\S*\d\d:\d\d\S* ", "", line) for line in TEXTS]


def test_the_example_of_an_event_in_json_is_what_facaded_writes() -> None:
    assert json.loads(format_json(CHANGE, Place.FILE)) == DOCUMENTS[0]


def test_the_examples_of_the_access_log_have_its_form() -> None:
    (example,) = [match for match in map(LINE.fullmatch, TEXTS) if match]
    document = DOCUMENTS[1]
    assert list(document) == JSON_KEYS
    for key in ("address", "method", "path", "protocol", "host", "user_agent", "backend", "family", "answer"):
        assert example[key] == document[key]
    assert (example["id"], example["ms"]) == (document["request_id"], str(document["duration_ms"]))


@pytest.mark.parametrize("key", ["log", "access_log", "addresses"])
def test_every_value_of_a_setting_is_on_the_page(key: str) -> None:
    (setting,) = [one for one in SETTINGS.keys if one.name == key]
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{key}` |"))
    values = re.findall(r'`"(\w+)"`', row)
    assert setting.kind.schema == {"enum": values if key != "access_log" else values[::-1]}


def test_every_level_is_on_the_page() -> None:
    for number, word in WORDS.items():
        if word != "debug":
            assert f"| {word} | `<{number}>` |" in PAGE
    assert LEVELS[Severity.NOTICE] is LogLevel.info


def test_every_field_is_on_the_page() -> None:
    for name in (*FIELDS.values(), "event", "events", "traceback", *JSON_KEYS, "asked_again", "reason"):
        assert f"`{name}`" in PAGE, name
    for outcome in Outcome:
        assert outcome.word in PAGE


def test_the_figures_are_those_of_the_code() -> None:
    assert f"at most\n{BATCH_TIME} s late" in PAGE
    assert f"for {END_TIME:.0f} s at most" in PAGE
    assert f"as soon as {WAITING_BYTES >> 20} MiB waits" in PAGE
    assert f"{EVENT_BYTES >> 10} KiB more" in PAGE
    assert f"pieces of {PIPE_PIECE >> 10} KiB" in PAGE
    assert f"The User-Agent, up to {AGENT_LENGTH} characters" in PAGE
    assert f"The Host header, up to {HOST_LENGTH} characters" in PAGE
