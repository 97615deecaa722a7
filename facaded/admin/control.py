"""The control socket: HTTP and JSON over a Unix socket that only the daemon's own user can open.

`GET /status` gives the status document, `POST /reload` reloads the settings. The client end is here too, so that
both agree.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IReactorTime, IReactorUNIX, IStreamClientEndpoint
from twisted.web.client import URI, Agent
from twisted.web.iweb import IAgentEndpointFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from facaded.backends.registry import Registry
from facaded.web.site import respond

ANSWER_SIZE = 4 << 20
"""Bytes of an answer that a command reads."""

ANSWER_TIME = 10.0
"""Seconds that a command waits for its answer."""

JSON = {"Content-Type": "application/json", "Cache-Control": "no-store"}

Document = dict[str, Any]


class ControlError(Exception):
    """The daemon could not be asked. The text is a sentence for the person who asked."""


class Control(Resource):
    """The daemon's end.

    `status` makes the status document; `reload` reloads, and gives the problems that kept it from doing so.
    """

    isLeaf = True

    def __init__(self, status: Callable[[], Document], reload: Callable[[], tuple[str, ...]]) -> None:
        Resource.__init__(self)
        self._status = status
        self._reload = reload

    def render(self, request: Request) -> int:
        status, document = self._answer(request.method, request.path)
        respond(request, status, JSON, json.dumps(document).encode() + b"\n")
        return NOT_DONE_YET

    def _answer(self, method: bytes, path: bytes) -> tuple[int, Document]:
        match method, path:
            case b"GET", b"/status":
                return 200, self._status()
            case b"POST", b"/reload":
                problems = self._reload()
                return (422 if problems else 200), {"problems": list(problems)}
            case _:
                return 404, {"problems": ["here are GET /status and POST /reload"]}


@implementer(IAgentEndpointFactory)
class _Socket:
    """Leads every URL to one Unix socket."""

    def __init__(self, reactor: IReactorUNIX, path: Path) -> None:
        self._reactor = reactor
        self._path = path

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return UNIXClientEndpoint(self._reactor, str(self._path), timeout=ANSWER_TIME)


async def ask(reactor: Any, path: Path, method: str, resource: str) -> tuple[int, Document]:
    """Ask the daemon behind the socket at `path`; gives the HTTP status and the document.

    Raises ControlError if there is no daemon, or none that answers.
    """
    agent = Agent.usingEndpointFactory(reactor, _Socket(reactor, path))
    daemon = Registry("http://localhost", agent)
    asked = Deferred.fromCoroutine(daemon.ask(method, f"http://localhost{resource}", headers={}, limit=ANSWER_SIZE))
    clock: IReactorTime = reactor
    try:
        answer = await asked.addTimeout(ANSWER_TIME, clock)
        return answer.status, json.loads(answer.body)
    except Exception as error:
        why = getattr(getattr(error, "osError", None), "strerror", "") or str(error) or type(error).__name__
        raise ControlError(f"the daemon behind {path} does not answer ({why})") from error
