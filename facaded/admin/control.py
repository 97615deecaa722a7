"""The control socket: HTTP and JSON over a Unix socket that only the daemon's own user can open.

`GET /status` gives the status document, `GET /lately` the images pulled last, `POST /reload` reloads the settings,
`POST /pin` and the like take `backend` and `seconds` in the query. A refusal is 409 with `problems`, which are
sentences. The client end is here too, so that both agree.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IReactorTime, IReactorUNIX, IStreamClientEndpoint
from twisted.web.client import URI, Agent
from twisted.web.iweb import IAgentEndpointFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from facaded.net.client import BoundedClient
from facaded.web.server import respond

ANSWER_SIZE = 4 << 20
"""Bytes of an answer that a command reads."""

ANSWER_TIME = 10.0
"""Seconds that a command waits for its answer."""

JSON = {"Content-Type": "application/json", "Cache-Control": "no-store"}

Document = dict[str, Any]


class ControlError(Exception):
    """The daemon could not be asked. The text is a sentence for the person who asked."""


class NoDaemonError(ControlError):
    """There is none to be asked."""


class RefusedError(Exception):
    """What was asked is not done, and nothing has changed. `problems` are sentences that say why."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@frozen
class Asked:
    """What a command asks for, besides its name."""

    backend: str = ""
    seconds: float | None = None
    image: str = ""
    client: str = ""

    @classmethod
    def read(cls, query: str) -> "Asked":
        """From a query. Raises RefusedError."""
        given = dict(parse_qsl(query))
        try:
            seconds = float(given["seconds"]) if "seconds" in given else None
        except ValueError:
            seconds = -1.0
        if seconds is not None and not 0 < seconds < float("inf"):
            raise RefusedError("seconds: not a time")
        return cls(given.get("backend", ""), seconds, given.get("image", ""), given.get("client", ""))


Commands: TypeAlias = Mapping[tuple[str, str], Callable[[Asked], Document]]
"""What is done, by method and path. A command gives a document, or raises RefusedError."""


class Control(Resource):
    """The daemon's end."""

    isLeaf = True

    def __init__(self, commands: Commands) -> None:
        Resource.__init__(self)
        self._commands = commands

    def render(self, request: Request) -> int:
        path, _, query = request.uri.decode("latin-1").partition("?")
        status, document = self._answer(request.method.decode("latin-1"), path, query)
        respond(request, status, JSON, json.dumps(document).encode() + b"\n")
        return NOT_DONE_YET

    def _answer(self, method: str, path: str, query: str) -> tuple[int, Document]:
        command = self._commands.get((method, path))
        if command is None:
            return 404, {"problems": [f"here are {', '.join(' '.join(each) for each in self._commands)}"]}
        try:
            return 200, command(Asked.read(query))
        except RefusedError as error:
            return 409, {"problems": list(error.problems)}


@implementer(IAgentEndpointFactory)
class _Socket:
    """Leads every URL to one Unix socket."""

    def __init__(self, reactor: IReactorUNIX, path: Path) -> None:
        self._reactor = reactor
        self._path = path

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return UNIXClientEndpoint(self._reactor, str(self._path), timeout=ANSWER_TIME)


async def ask(reactor: Any, path: Path, method: str, resource: str) -> Document:
    """Ask the daemon behind the socket at `path`; gives the document.

    Raises ControlError if there is no daemon, or none that answers, and RefusedError if it refuses.
    """
    agent = Agent.usingEndpointFactory(reactor, _Socket(reactor, path))
    daemon = BoundedClient("http://localhost", agent)
    asked = Deferred.fromCoroutine(daemon.ask(method, f"http://localhost{resource}", headers={}, limit=ANSWER_SIZE))
    clock: IReactorTime = reactor
    try:
        answer = await asked.addTimeout(ANSWER_TIME, clock)
        document: Document = json.loads(answer.body)
    except Exception as error:
        why = getattr(getattr(error, "osError", None), "strerror", "") or str(error) or type(error).__name__
        raise ControlError(f"the daemon behind {path} does not answer ({why})") from error
    if answer.status != 200:
        raise RefusedError(*document["problems"])
    return document
