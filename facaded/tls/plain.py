"""The plain port beside TLS: it answers challenges, and sends everybody else to https."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.oci.requests import READS
from facaded.policy.decision import split_host
from facaded.tls.challenges import Challenges
from facaded.web.server import respond

WELL_KNOWN = (".well-known", "acme-challenge")
"""Where a validator of http-01 looks (RFC 8555 §8.3)."""

ANSWER_SIZE = 1024
"""Bytes of an answer in a file: a token and a thumbprint have fewer than 200."""

HTTPS_PORT = 443

NO_STORE = {"Cache-Control": "no-store"}
TEXT = {"Content-Type": "text/plain; charset=utf-8", **NO_STORE}

_PATH = re.compile(rb"/\.well-known/acme-challenge/([A-Za-z0-9_-]{1,128})(?:\?.*)?")
_TARGET = re.compile(rb"/[\x21-\x7e]*")


@frozen
class PlainPortSettings:
    """What the plain port does.

    `webroot` is where others leave challenges. With `redirects`, everybody is sent to https: at the host asked for if
    it is among `hosts`, else at the first of them, and at `public_port`.
    """

    webroot: Path | None = None
    redirects: bool = False
    hosts: tuple[str, ...] = ()
    public_port: int = HTTPS_PORT


class Plain(Resource):
    """Answers on the plain port. What is not its own goes to `facade`."""

    isLeaf = True

    def __init__(self, challenges: Challenges, settings: PlainPortSettings, facade: Resource) -> None:
        Resource.__init__(self)
        self._challenges = challenges
        self._settings = settings
        self._facade = facade

    def reconfigure(self, settings: PlainPortSettings) -> None:
        """Go on by other settings. It cannot fail."""
        self._settings = settings

    def render(self, request: Request) -> int:
        settings = self._settings
        if (asked := _PATH.fullmatch(request.uri)) and request.method.decode("latin-1") in READS:
            answer = self._challenge(asked[1].decode("ascii"), settings.webroot)
            if answer is not None:
                respond(request, 200, TEXT, answer)
                return NOT_DONE_YET
            if settings.redirects:
                respond(request, 404, TEXT, b"no such challenge is pending here\n")
                return NOT_DONE_YET
        if not settings.redirects:
            rendered: int = self._facade.render(request)
            return rendered
        if not settings.hosts:  # a reload has taken them out
            respond(request, 421, TEXT, b"this registry has no name to send you to: ask it over https\n")
            return NOT_DONE_YET
        host = request.requestHeaders.getRawHeaders(b"Host", [b""])[0].decode("latin-1")
        respond(request, 307, {"Location": location(host, request.uri, settings), **NO_STORE}, b"")
        return NOT_DONE_YET

    def _challenge(self, token: str, webroot: Path | None) -> bytes | None:
        answer = self._challenges.answer(token)
        if answer is None and webroot is not None:
            answer = left(webroot, token)
        return answer


def location(host: str, target: bytes, settings: PlainPortSettings) -> str:
    """Where https answers what was asked for at `host`, the Host header's value.

    A target that is not a path of printable ASCII leads to `/`: nothing of it may become a host.
    """
    name, _ = split_host(host)
    if name not in settings.hosts:
        name = settings.hosts[0]
    shown = f"[{name}]" if ":" in name else name
    port = "" if settings.public_port == HTTPS_PORT else f":{settings.public_port}"
    path = target.decode("ascii") if _TARGET.fullmatch(target) else "/"
    return f"https://{shown}{port}{path}"


def left(webroot: Path, token: str) -> bytes | None:
    """What somebody else has left for a token in `webroot`; no symbolic link below it is followed."""
    with contextlib.suppress(OSError), _directory(webroot) as directory:

        def opened(path: str, flags: int) -> int:
            return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)

        with open(token, "rb", opener=opened) as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                content = file.read(ANSWER_SIZE + 1)
                return content if len(content) <= ANSWER_SIZE else None
    return None


@contextlib.contextmanager
def _directory(webroot: Path) -> Iterator[int]:
    """The directory of the challenges, opened."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    opened = os.open(webroot, flags)
    try:
        for part in WELL_KNOWN:
            above, opened = opened, os.open(part, flags | os.O_NOFOLLOW, dir_fd=opened)
            os.close(above)
        yield opened
    finally:
        os.close(opened)
