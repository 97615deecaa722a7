"""The access log: one line per answer.

Queries are not logged, nor any header but User-Agent, because they may carry tokens.
"""

from collections.abc import Callable
from typing import TypeAlias

from twisted.logger import Logger

from facaded.web.answered_requests import AnsweredRequest, Subscriber

_log = Logger()

WriteLine: TypeAlias = Callable[[str], None]
"""Writes a line to the access log."""


def log_line(line: str) -> None:
    """Write a line with Twisted's logger, for any observer. That takes longer than all else that an answer needs."""
    _log.info("{line}", line=line)


def subscriber(write: WriteLine) -> Subscriber:
    """Return what logs answered requests with `write`."""
    return lambda answered: write(format_line(answered))


def format_line(answered: AnsweredRequest) -> str:
    """Return a line such as `192.0.2.7 GET /v2/org/app/manifests/latest 307 docker-hub (docker)`.

    A `?` after the client's family means that it is not redirect-safe. At the end, `asked again` means that the client
    was served because it had been redirected and asked again.
    """
    request = f"{answered.address} {answered.method} {answered.path}"
    again = " asked again" if answered.decision.asked_again else ""
    return f"{request} {answered.status} {answered.decision.backend or '-'} ({answered.client.label}){again}"
