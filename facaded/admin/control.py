"""The daemon's end of the control socket: HTTP and JSON over a Unix socket that only the daemon's own user can open.

`GET /status` gives the status document, `GET /recent-pulls` the images pulled last, `POST /reload` reloads
the settings,
`POST /pin` and the like take `backend` and `seconds` in the query. A refusal is 409 with `problems`, which are
sentences.
"""

import json
from collections.abc import Callable, Mapping
from typing import TypeAlias
from urllib.parse import parse_qsl

from attrs import frozen
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.admin.protocol import Problems
from facaded.net.json_documents import Document, to_json
from facaded.web.server import respond

JSON = {"Content-Type": "application/json", "Cache-Control": "no-store"}


class CommandRefusedError(Exception):
    """A command is refused, and nothing has changed. `problems` are sentences that say why."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@frozen
class Parameters:
    """What a command asks for, besides its name."""

    backend: str = ""
    seconds: float | None = None
    image: str = ""
    client: str = ""

    @classmethod
    def read(cls, query: str) -> "Parameters":
        """Read a query. Raises CommandRefusedError."""
        given = dict(parse_qsl(query))
        try:
            seconds = float(given["seconds"]) if "seconds" in given else None
        except ValueError:
            seconds = -1.0
        if seconds is not None and not 0 < seconds < float("inf"):
            raise CommandRefusedError("seconds: not a time")
        return cls(given.get("backend", ""), seconds, given.get("image", ""), given.get("client", ""))


CommandTable: TypeAlias = Mapping[tuple[str, str], Callable[[Parameters], Document]]
"""What is done, by method and path. A command returns a document, or raises CommandRefusedError."""


class Control(Resource):
    """Answers commands by their table."""

    isLeaf = True

    def __init__(self, commands: CommandTable) -> None:
        Resource.__init__(self)
        self._commands = commands

    def render(self, request: Request) -> int:
        path, _, query = request.uri.decode("latin-1").partition("?")
        status, document = self._answer(request.method.decode("latin-1"), path, query)
        respond(request, status, JSON, json.dumps(to_json(document)).encode() + b"\n")
        return NOT_DONE_YET

    def _answer(self, method: str, path: str, query: str) -> tuple[int, Document]:
        command = self._commands.get((method, path))
        if command is None:
            return 404, Problems((f"here are {', '.join(' '.join(each) for each in self._commands)}",))
        try:
            return 200, command(Parameters.read(query))
        except CommandRefusedError as error:
            return 409, Problems(error.problems)
