"""The plain HTTP port beside TLS: it answers http-01 challenges, and redirects everything else to https."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen
from twisted.web.http import Request
from twisted.web.resource import Resource

from facaded.oci.requests import READS
from facaded.policy.decision import split_host
from facaded.tls.challenges import Challenges
from facaded.web.begun_answers import AnswersHeads, BegunAnswer
from facaded.web.request_head import Origin, RequestHead
from facaded.web.responses import respond
from facaded.web.server import NOT_DONE_YET

WELL_KNOWN = (".well-known", "acme-challenge")
"""The directory that a CA asks for http-01 (RFC 8555 §8.3)."""

ANSWER_SIZE = 1024
"""Bytes: the largest answer that is read from a file. A token and a thumbprint have fewer than 200."""

HTTPS_PORT = 443

NO_STORE = {"Cache-Control": "no-store"}
TEXT = {"Content-Type": "text/plain; charset=utf-8", **NO_STORE}

_WELL_KNOWN = b"/.well-known/"
_CHALLENGE_PATH = re.compile(rb"/\.well-known/acme-challenge/([A-Za-z0-9_-]{1,128})(?:\?.*)?")
_PATH = re.compile(rb"/[\x21-\x7e]*")


@frozen
class PlainPortSettings:
    """The settings of the plain port.

    Other ACME clients write their challenges to `webroot`. With `redirects`, every other request is redirected to
    https: to the requested host if it is one of `hosts`, else to the first of them, at `public_port`.
    """

    webroot: Path | None = None
    redirects: bool = False
    hosts: tuple[str, ...] = ()
    public_port: int = HTTPS_PORT


class PlainPort(Resource):
    """Answers requests on the plain port; without redirects, all but challenges go to `facade`."""

    isLeaf = True

    def __init__(self, challenges: Challenges, settings: PlainPortSettings, facade: Resource) -> None:
        Resource.__init__(self)
        self._challenges = challenges
        self._settings = settings
        self._facade = facade
        self._answers = facade if isinstance(facade, AnswersHeads) else None

    def reconfigure(self, settings: PlainPortSettings) -> None:
        """Apply new settings. It cannot fail."""
        self._settings = settings

    def begin(self, head: RequestHead, origin: Origin) -> BegunAnswer | None:
        """Begin what goes to the facade; leave challenges and redirects to `render`."""
        is_own = self._settings.redirects or head.target.startswith(_WELL_KNOWN)
        return None if is_own or self._answers is None else self._answers.begin(head, origin)

    def render(self, request: Request) -> int:
        settings = self._settings
        match = _CHALLENGE_PATH.fullmatch(request.uri)
        if match and request.method.decode("latin-1") in READS:
            answer = self._answer(match[1].decode("ascii"), settings.webroot)
            if answer is not None:
                respond(request, 200, TEXT, answer)
                return NOT_DONE_YET
            if settings.redirects:
                respond(request, 404, TEXT, b"no such challenge is pending\n")
                return NOT_DONE_YET
        if not settings.redirects:
            rendered: int = self._facade.render(request)
            return rendered
        if not settings.hosts:  # a reload has removed them
            respond(request, 421, TEXT, b"this registry has no host name to redirect to: use https\n")
            return NOT_DONE_YET
        host = request.requestHeaders.getRawHeaders(b"Host", [b""])[0].decode("latin-1")
        respond(request, 307, {"Location": https_location(host, request.uri, settings), **NO_STORE}, b"")
        return NOT_DONE_YET

    def _answer(self, token: str, webroot: Path | None) -> bytes | None:
        answer = self._challenges.answer(token)
        if answer is None and webroot is not None:
            answer = read_webroot(webroot, token)
        return answer


def https_location(host: str, target: bytes, settings: PlainPortSettings) -> str:
    """Return the https URL for a request-target; `host` is the value of the Host header.

    A target that is not a path of printable ASCII becomes `/`, so that no part of it can end up in the host.
    """
    name, _ = split_host(host)
    if name not in settings.hosts:
        name = settings.hosts[0]
    bracketed = f"[{name}]" if ":" in name else name
    port = "" if settings.public_port == HTTPS_PORT else f":{settings.public_port}"
    path = target.decode("ascii") if _PATH.fullmatch(target) else "/"
    return f"https://{bracketed}{port}{path}"


def read_webroot(webroot: Path, token: str) -> bytes | None:
    """Return the answer that another ACME client wrote for a token; no symbolic link below `webroot` is followed."""
    with contextlib.suppress(OSError), _open_challenges(webroot) as directory:

        def opener(path: str, flags: int) -> int:
            return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)

        with open(token, "rb", opener=opener) as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                content = file.read(ANSWER_SIZE + 1)
                return content if len(content) <= ANSWER_SIZE else None
    return None


@contextlib.contextmanager
def _open_challenges(webroot: Path) -> Iterator[int]:
    """Open the directory of the challenges, and yield its descriptor."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = os.open(webroot, flags)
    try:
        for part in WELL_KNOWN:
            parent, descriptor = descriptor, os.open(part, flags | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(parent)
        yield descriptor
    finally:
        os.close(descriptor)
