"""The manual's page of answers as data: the rows of its tables, and what each describes as values of the code.

The page says how its tables are read. A phrase that is unknown here raises an error, so that it fails a test.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from attrs import evolve, frozen

from facaded.config.checks import PlacedSettings, contradictions
from facaded.config.reading import Reader
from facaded.oci.clients import Client, identify
from facaded.oci.errors import Refusal
from facaded.oci.requests import Home, PageFile, Request, TokenRequest, parse
from facaded.policy.decision import (
    Answer,
    Forward,
    OwnChallenge,
    OwnToken,
    Page,
    Pong,
    Redirect,
    RoutingState,
    Rule,
    Rules,
    Serve,
    Visit,
    choose_rule,
    decide,
)

PAGE = (Path(__file__).parent.parent.parent / "facaded" / "manual" / "answers.md").read_text()
NOT_DECIDED = "## What serving answers"
"""From this heading on, the page describes what `decide` does not settle."""

HOST = "docker.example.com"
"""The Host header of rows without one."""

DIGEST = "sha256:" + "0" * 64

CLIENT_GROUPS: Mapping[str, Callable[[Client], bool]] = {
    "any": lambda client: True,
    "redirect-safe": lambda client: client.redirect_safe,
    "not redirect-safe": lambda client: not client.redirect_safe,
    "pings": lambda client: client.takes_token_from_ping,
    "redirect-safe, does not ping": lambda client: client.redirect_safe and not client.takes_token_from_ping,
}

VISITS: Mapping[str, Callable[[Visit], Visit]] = {
    "own token": lambda visit: evolve(visit, has_token=True),
    "asked again": lambda visit: evolve(visit, asked_again=True),
    "unproven": lambda visit: evolve(visit, unproven=True),
    "listed elsewhere": lambda visit: evolve(visit, elsewhere=True),
    "docker-hub is avoided": lambda visit: evolve(visit, avoided="docker-hub"),
}
"""The phrases of the column "when" for a `Visit`."""

Settings = Mapping[str, object]
"""Settings as tomllib returns them."""


@frozen
class Row:
    """A row of a table: its line on the page, its cells by column, and the settings of its section."""

    line: int
    cells: Mapping[str, str]
    settings: Settings

    def __str__(self) -> str:
        return f"answers.md:{self.line}"


def read_rows(text: str) -> Iterator[Row]:
    """Read the rows of all tables.

    The first block of settings on the page holds everywhere. A later one replaces keys of it until the next heading.
    """
    columns: list[str] = []
    blocks: list[Settings] = [{}, {}]
    block: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if block is not None and line != "```":
            block.append(line)
        elif block is not None:
            blocks[1 if blocks[0] else 0] = tomllib.loads("\n".join(block))
            block = None
        elif line == "```toml":
            block = []
        elif line.startswith("#"):
            blocks[1] = {}
        if not line.startswith("|"):
            columns = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not columns:
            columns = cells
        elif set(line) != set("|-"):
            assert len(cells) == len(columns), f"line {number}: {len(cells)} cells for {len(columns)} columns"
            yield Row(number, dict(zip(columns, cells, strict=True)), {**blocks[0], **blocks[1]})


def code(cell: str) -> str:
    """Return the text of a cell that is one code span, with its placeholders replaced. An empty span is ``."""
    match = re.fullmatch(r"`([^`]*)`", cell)
    assert match, f"not a code span: {cell}"
    text = match[1].replace("DIGEST", DIGEST)
    return re.sub(r"(.)\{(\d+)\}", lambda repeated: repeated[1] * int(repeated[2]), text)


ROWS = list(read_rows(PAGE.partition(NOT_DECIDED)[0]))
CLIENT_ROWS = [row for row in ROWS if "User-Agent" in row.cells]
ANSWER_ROWS = [row for row in ROWS if "request" in row.cells]
SHOWN_CLIENTS = {code(row.cells["User-Agent"]): identify(code(row.cells["User-Agent"])) for row in CLIENT_ROWS}


@frozen
class Case:
    """A row for one client, and what the code makes of it."""

    row: Row
    client: Client
    request: Request | Refusal
    rules: Rules
    routing: RoutingState
    visit: Visit
    answer: Answer

    @property
    def rule(self) -> Rule | None:
        """Return why the request is redirected or served, or None if it is neither."""
        if isinstance(self.request, Refusal | Home | PageFile | TokenRequest) or isinstance(self.answer, Refusal):
            return None
        return choose_rule(self.request, self.client, self.rules, self.routing, self.visit)


def cases(row: Row) -> list[Case]:
    """Execute a row for each of its clients."""
    host = code(row.cells["Host"]) if "Host" in row.cells else HOST
    method, _, target = code(row.cells["request"]).partition(" ")
    is_browser = "text/html" in row.cells.get("Accept", "")
    request = parse(method.encode(), target.encode(), host.encode(), is_browser=is_browser)
    rules, routing, visit = _described(row)
    return [
        Case(row, client, request, rules, routing, visit, decide(request, host, client, rules, routing, visit))
        for client in _clients(row.cells["client"])
    ]


def written(answer: Answer, request: Request | Refusal) -> str:
    """Write an answer as the page does."""
    match answer:
        case Redirect():
            return f"307 `{answer.location}`".replace(DIGEST, "DIGEST")
        case Serve():
            assert answer.read == request
            preferred = "" if answer.preferred == answer.backends[0] else f", preferred {answer.preferred}"
            return f"served by {', then '.join(answer.backends)}{preferred}"
        case Forward():
            assert answer.request == request
            return f"forwarded to {answer.backend}"
        case Pong():
            return "200 `{}`"
        case OwnChallenge():
            return "401"
        case OwnToken():
            return "the facade's token"
        case Page():
            image = answer.image.replace(DIGEST, "DIGEST")
            return f"page for `{answer.host}`" + (f" with `{image}`" if image else "")
        case PageFile():
            return "file of the page"
        case Refusal():
            allow = f", Allow: {', '.join(answer.allow)}" if answer.allow else ""
            return f"{answer.status} {answer.code.value}{allow}"


def _clients(cell: str) -> list[Client]:
    if cell.startswith("`"):
        return [identify(code(cell))]
    return [client for client in SHOWN_CLIENTS.values() if CLIENT_GROUPS[cell](client)]


def _described(row: Row) -> tuple[Rules, RoutingState, Visit]:
    """Return the settings, the state and the visit that a row describes. Settings that facaded would refuse fail."""
    conditions = [condition for condition in row.cells.get("when", "").split("; ") if condition]
    settings = row.settings
    for condition in conditions:
        if condition.startswith("`"):
            settings = _with_setting(settings, code(condition))
    reader = Reader()
    config = reader.read(settings)
    problems = [*reader.problems, *contradictions(PlacedSettings(config, reader.places))]
    assert not problems, f"{row}: not valid settings: {', '.join(map(str, problems))}"
    active = tuple(route.backends[0] for route in config.rules.routes)
    routing, visit = RoutingState(active, active), Visit()
    for condition in conditions:
        if condition in VISITS:
            visit = VISITS[condition](visit)
        elif not condition.startswith("`"):
            routing = _in_state(routing, condition, config.rules)
    return config.rules, routing, visit


def _with_setting(settings: Settings, assignment: str) -> Settings:
    """Add `key = value` or `backend[0].key = value` to settings."""
    match = re.fullmatch(r"(?:backend\[(\d)\]\.)?([a-z_]+ = .*)", assignment)
    assert match, f"not a setting: {assignment}"
    keys = tomllib.loads(match[2])
    if match[1] is None:
        return {**settings, **keys}
    backends = settings["backend"]
    assert isinstance(backends, list)
    changed = [*backends]
    changed[int(match[1])] = {**backends[int(match[1])], **keys}
    return {**settings, "backend": changed}


def _in_state(routing: RoutingState, condition: str, rules: Rules) -> RoutingState:
    """Change the state by a phrase of the column "when"."""
    if condition == "handover in progress":
        return evolve(routing, handover=True)
    match = re.fullmatch(r"(\S+) is (active|active for serving|drained)", condition)
    assert match, f"unknown condition: {condition}"
    name, state = match.groups()
    assert all(name in route.backends for route in rules.routes), f"{name} is not a backend of every route"
    if state == "drained":
        return evolve(routing, drained=routing.drained | {name})
    everywhere = (name,) * len(rules.routes)
    return evolve(routing, serving=everywhere, redirecting=everywhere if state == "active" else routing.redirecting)
