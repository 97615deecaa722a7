"""The access log: one line for each answer, for a person who asks what a client was told.

No query and no header but User-Agent is written: tokens travel in the others.
"""

from twisted.logger import Logger
from twisted.web.http import Request

from facaded.oci.clients import identify

TARGET_LENGTH = 400
"""Characters of a request-target that are written: the longest lawful path is shorter."""

_log = Logger()


def write(request: Request) -> None:
    """Log an answer that has been written."""
    _log.info("{line}", line=line(request))


def line(request: Request) -> str:
    """`192.0.2.7 GET /v2/org/app/manifests/latest 307 docker-hub (docker)`; `?` marks a family that may not pull
    through redirects.
    """
    peer = getattr(request.getClientAddress(), "host", "-")
    client = identify((request.getHeader(b"User-Agent") or b"").decode("latin-1"))
    path = request.uri.partition(b"?")[0].decode("latin-1")[:TARGET_LENGTH]
    shown = "".join(character if "!" <= character <= "~" else "?" for character in path)
    backend = next(iter(request.responseHeaders.getRawHeaders("X-Facaded-Backend", ["-"])))
    doubt = "" if client.proven else "?"
    return f"{peer} {request.method.decode('latin-1')} {shown} {request.code} {backend} ({client.family.value}{doubt})"
