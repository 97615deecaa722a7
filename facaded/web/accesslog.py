"""The access log: one line per answer.

Queries are not logged, nor any header but User-Agent, because they may carry tokens.
"""

from twisted.logger import Logger

from facaded.web.answered_requests import AnsweredRequest

_log = Logger()


def write(answered: AnsweredRequest) -> None:
    """Log an answered request."""
    _log.info("{line}", line=format_line(answered))


def format_line(answered: AnsweredRequest) -> str:
    """Return a line such as `192.0.2.7 GET /v2/org/app/manifests/latest 307 docker-hub (docker)`.

    A `?` after the client's family means that it is not redirect-safe. At the end, `asked again` means that the client
    was served because it had been redirected and asked again.
    """
    request = f"{answered.address} {answered.method} {answered.path}"
    family = answered.client.family.value + ("" if answered.client.redirect_safe else "?")
    again = " asked again" if answered.decision.asked_again else ""
    return f"{request} {answered.status} {answered.decision.backend or '-'} ({family}){again}"
