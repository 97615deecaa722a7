"""The command line's end of the control socket. The daemon behind it may be of another version."""

import errno
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IReactorUNIX, IStreamClientEndpoint
from twisted.web.client import URI, Agent
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from facaded.admin.control import CommandRefusedError
from facaded.admin.protocol import Problems
from facaded.net.client import BoundedClient, Response, describe_error
from facaded.net.json_documents import Document, InvalidDocumentError, NewerSchemaError, from_json
from facaded.net.reactor import IFacadedReactor

ANSWER_SIZE = 4 << 20
"""Bytes of an answer that a command reads: far more than the status of 100 backends."""

ANSWER_TIME = 10.0
"""Seconds that a command waits for its answer: a reload reads every certificate file before it answers."""

RESOURCE_LENGTH = 8000
"""The most characters of a command with its parameters: half of what the daemon reads as one line."""

URL = "http://localhost"
"""The URL of every request: HTTP needs a host, and the socket has none."""

D = TypeVar("D", bound=Document)


class ControlError(Exception):
    """The daemon did not answer, or its answer cannot be read. The text is a sentence for a person."""


class NoDaemonError(ControlError):
    """No daemon is running."""


class NewerDaemonError(ControlError):
    """The daemon speaks a newer version of the control protocol."""


class OlderDaemonError(ControlError):
    """The daemon does not know the command."""


async def ask(reactor: IFacadedReactor, path: Path, method: str, resource: str, kind: type[D]) -> D:
    """Send a command to the daemon behind the socket at `path`, and return the document that it answers.

    Raises CommandRefusedError if the daemon refuses, and ControlError if it does not answer with such a document.
    """
    if len(resource) > RESOURCE_LENGTH:
        raise CommandRefusedError(f"the arguments are too long: use at most {RESOURCE_LENGTH} characters")
    client = BoundedClient(URL, Agent.usingEndpointFactory(reactor, _Socket(reactor, path)))
    request = Deferred.fromCoroutine(client.ask(method, f"{URL}{resource}", headers={}, limit=ANSWER_SIZE))
    try:
        answer = await request.addTimeout(ANSWER_TIME, reactor)
    except Exception as error:
        raise explain_failure(error, path) from error
    return read_answer(answer, path, kind)


def explain_failure(error: Exception, path: Path) -> ControlError:
    """Return why the daemon behind the socket at `path` could not be request, and the remedy."""
    match error.osError if isinstance(error, ConnectError) else None:
        case errno.ENOENT:
            return NoDaemonError(f"not running: there is no control socket at {path}")
        case errno.ECONNREFUSED:
            return NoDaemonError(f"not running: {path} is left over from an earlier run")
        case errno.EACCES:
            remedy = f'use sudo, or set listen.control = "unix:{path}:mode=660"'
            return ControlError(f"permission denied on {path}: {remedy}")
    return ControlError(f"the daemon behind {path} does not answer ({describe_error(error)}): see its log")


def read_answer(answer: Response, path: Path, kind: type[D]) -> D:
    """Return the document in an answer of the daemon behind the socket at `path`. Raises as `ask` does."""
    try:
        if answer.status == 200:
            return from_json(answer.body, kind)
        problems = from_json(answer.body, Problems).problems
        if answer.status == 404:
            raise OlderDaemonError(f"the daemon behind {path} is older and does not know this command: restart it")
        raise CommandRefusedError(*problems)
    except NewerSchemaError:
        raise NewerDaemonError(
            f"the daemon behind {path} speaks a newer control protocol: use the daemon's own facaded program"
        ) from None
    except InvalidDocumentError as error:
        raise ControlError(
            f"the answer of the daemon behind {path} cannot be read ({error}): use the daemon's own facaded program"
        ) from None


@implementer(IAgentEndpointFactory)
class _Socket:
    """Connects to one Unix socket, whatever the URL."""

    def __init__(self, reactor: IReactorUNIX, path: Path) -> None:
        self._reactor = reactor
        self._path = path

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return UNIXClientEndpoint(self._reactor, str(self._path), timeout=ANSWER_TIME)
