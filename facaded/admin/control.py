"""The daemon's end of the control socket: HTTP and JSON over a Unix socket that only the daemon's own user can open.

`GET /status` returns the status document, `GET /recent-pulls` the recently pulled images, `GET /history` and
`GET /stats` what has happened and was pulled in the last `days`; `POST /reload` reloads the settings; `POST /pin` and
the other overrides take `backend`, `seconds` and `reason` in the query, `POST /renew` any number of `names`, and
`force=true`; `POST /answer-challenge` takes `kind`, `name`, `token` and `key_authorization`. A refusal is a 409 with
`problems`, which are sentences.
"""

import json
from collections.abc import Callable, Mapping
from typing import TypeAlias
from urllib.parse import parse_qsl

from attrs import fields, frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource

from facaded.admin.protocol import Problems
from facaded.net.json_documents import Document, to_json
from facaded.net.text import printable
from facaded.policy.overrides import REASON_LENGTH
from facaded.web.responses import respond
from facaded.web.server import NOT_DONE_YET

JSON = {"Content-Type": "application/json", "Cache-Control": "no-store"}


OTHER_PARAMETERS = ("seconds", "names", "force")
"""The parameters that are no single text."""


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
    reason: str = ""
    image: str = ""
    client: str = ""
    names: tuple[str, ...] = ()
    force: bool = False
    kind: str = ""
    name: str = ""
    token: str = ""
    key_authorization: str = ""
    days: str = ""

    @classmethod
    def read(cls, query: str) -> "Parameters":
        """Read the query of a request. Raises CommandRefusedError if `seconds` or `reason` cannot be used."""
        pairs = parse_qsl(query)
        values = dict(pairs)
        try:
            seconds = float(values["seconds"]) if "seconds" in values else None
        except ValueError:
            seconds = -1.0
        if seconds is not None and not 0 < seconds < float("inf"):
            raise CommandRefusedError("seconds: expected a number of seconds above 0")
        if printable(values.get("reason", ""), REASON_LENGTH) != values.get("reason", ""):
            raise CommandRefusedError(f"reason: use at most {REASON_LENGTH} printable characters, on one line")
        texts = {field.name: values.get(field.name, "") for field in fields(cls) if field.name not in OTHER_PARAMETERS}
        names = tuple(value for key, value in pairs if key == "names")
        return cls(seconds=seconds, names=names, force=values.get("force") == "true", **texts)


CommandTable: TypeAlias = Mapping[tuple[str, str], Callable[[Parameters], Document | Deferred[Document]]]
"""Commands by method and path. A command returns a document, now or later, or fails with CommandRefusedError."""


class Control(Resource):
    """Runs the command that a request names."""

    isLeaf = True

    def __init__(self, commands: CommandTable) -> None:
        Resource.__init__(self)
        self._commands = commands

    def render(self, request: Request) -> int:
        path, _, query = request.uri.decode("latin-1").partition("?")
        command = self._commands.get((request.method.decode("latin-1"), path))
        if command is None:
            names = ", ".join(f"{method} {path}" for method, path in self._commands)
            _write(request, 404, Problems((f"no such command: expected one of {names}",)))
            return NOT_DONE_YET
        finished = request.notifyFinish()
        finished.addErrback(lambda _: None)  # its client has gone, which is no error
        result = _run_command(command, query)

        def answer(result: Document | Failure) -> None:
            if not finished.called:
                _write(request, *_answer_of(result))

        result.addBoth(answer)
        return NOT_DONE_YET


_log = Logger()


def _run_command(command: Callable[[Parameters], Document | Deferred[Document]], query: str) -> Deferred[Document]:
    try:
        result = command(Parameters.read(query))
    except Exception:
        return fail()
    return result if isinstance(result, Deferred) else succeed(result)


def _answer_of(result: Document | Failure) -> tuple[int, Document]:
    """Return the status and the document that answer a command."""
    if not isinstance(result, Failure):
        return 200, result
    if isinstance(result.value, CommandRefusedError):
        return 409, Problems(result.value.problems)
    _log.failure("a command failed", result)
    return 500, Problems(("the command failed: see the log of the daemon",))


def _write(request: Request, status: int, document: Document) -> None:
    respond(request, status, JSON, json.dumps(to_json(document)).encode() + b"\n")
