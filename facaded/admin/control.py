"""The daemon's end of the control socket: HTTP and JSON over a Unix socket that only the daemon's own user can open.

`GET /status` returns the status document, `GET /recent-pulls` the recently pulled images; `POST /reload` reloads the
settings; `POST /pin` and the other overrides take `backend` and `seconds` in the query. A refusal is a 409 with
`problems`, which are sentences.
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
from facaded.web.responses import respond

JSON = {"Content-Type": "application/json", "Cache-Control": "no-store"}


class CommandRefusedError(Exception):
    """A command was refused and changed nothing. `problems` are sentences that say why."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@frozen
class Parameters:
    """The parameters of a command; those that were not sent are empty or None."""

    backend: str = ""
    seconds: float | None = None
    image: str = ""
    client: str = ""

    @classmethod
    def read(cls, query: str) -> "Parameters":
        """Read the query of a request. Raises CommandRefusedError if `seconds` is not a duration."""
        values = dict(parse_qsl(query))
        try:
            seconds = float(values["seconds"]) if "seconds" in values else None
        except ValueError:
            seconds = -1.0
        if seconds is not None and not 0 < seconds < float("inf"):
            raise CommandRefusedError("seconds: expected a number of seconds above 0")
        return cls(values.get("backend", ""), seconds, values.get("image", ""), values.get("client", ""))


CommandTable: TypeAlias = Mapping[tuple[str, str], Callable[[Parameters], Document]]
"""Commands by method and path. A command returns a document or raises CommandRefusedError."""


class Control(Resource):
    """Runs the command that a request names."""

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
            names = ", ".join(f"{method} {path}" for method, path in self._commands)
            return 404, Problems((f"no such command: expected one of {names}",))
        try:
            return 200, command(Parameters.read(query))
        except CommandRefusedError as error:
            return 409, Problems(error.problems)
