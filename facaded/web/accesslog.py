"""The access log: one line for each answer, for a person who asks what a client was told.

No query and no header but User-Agent is written: tokens travel in the others.
"""

from twisted.logger import Logger

from facaded.web.answered import Answered

_log = Logger()


def write(answered: Answered) -> None:
    """Log an answered request."""
    _log.info("{line}", line=line(answered))


def line(answered: Answered) -> str:
    """`192.0.2.7 GET /v2/org/app/manifests/latest 307 docker-hub (docker)`; `?` marks a family that may not pull
    through redirects.
    """
    client = answered.client
    doubt = "" if client.redirect_safe else "?"
    where = f"{answered.address} {answered.method} {answered.path} {answered.status} {answered.decision.backend or '-'}"
    return f"{where} ({client.family.value}{doubt})"
