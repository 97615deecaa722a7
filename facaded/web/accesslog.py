"""The access log: one line for each answer, in the common form or in JSON.

Queries are not logged, nor any header but Host and User-Agent, because they may carry tokens. Every value is printable
ASCII without double quotes and backslashes (see `quotable`), so that nobody can make up fields, and JSON needs no
escapes, which would take longer than all else.
"""

import time
from collections.abc import Callable
from enum import Enum
from typing import Protocol, TypeAlias

from attrs import frozen
from twisted.logger import Logger

from facaded.policy.sources import Addresses, show_address
from facaded.web.answered_requests import AnsweredRequest, quotable

_log = Logger()

WriteLine: TypeAlias = Callable[[str], None]
"""Writes a line to the access log."""

REASON_LENGTH = 300
"""Characters of the reason of an error that are logged."""

NEVER = 1000
"""A status that no answer has."""


class LoggedAnswers(Enum):
    """Which answers are logged: none, errors (status 400 and above), or all."""

    OFF = "off"
    ERRORS = "errors"
    ALL = "all"


class LogStyle(Enum):
    """How the log is written: for people, in the form that suits where it goes, or for programs."""

    AUTO = "auto"
    JSON = "json"


class LineForm(Enum):
    """The form of an access line: common, the same without its time for logs that have another one, or JSON."""

    COMMON = "common"
    UNTIMED = "untimed"
    JSON = "json"


LEAST_STATUSES = {LoggedAnswers.OFF: NEVER, LoggedAnswers.ERRORS: 400, LoggedAnswers.ALL: 0}
"""The least status of the answers that are logged."""

TIME_FORMATS = {LineForm.COMMON: "[%d/%b/%Y:%H:%M:%S %z] ", LineForm.UNTIMED: "", LineForm.JSON: "%Y-%m-%dT%H:%M:%S"}
"""The second in a line, for strftime(3)."""


class AccessOutput(Protocol):
    """Where the access log goes."""

    @property
    def lost_lines(self) -> int:
        """How many lines could not be written since the start."""

    def add_line(self, line: str) -> None:
        """Write a line, now or soon."""

    def form_for(self, style: LogStyle) -> LineForm:
        """Return the form of access lines in this style."""

    def reconfigure(self, style: LogStyle) -> None:
        """Write the log in another style from now on."""


class TwistedOutput:
    """Writes lines with Twisted's logger, for any observer, which knows the time; that of twistd knows no style.

    It takes longer than all else that an answer needs.
    """

    lost_lines = 0

    def add_line(self, line: str) -> None:
        """Write a line."""
        _log.info("{line}", line=line)

    def form_for(self, style: LogStyle) -> LineForm:
        """Return the form without a time."""
        return LineForm.UNTIMED

    def reconfigure(self, style: LogStyle) -> None:
        """Do nothing."""


TWISTED = TwistedOutput()


@frozen
class AccessLogSettings:
    """Which answers are logged, how addresses are shown, and in which form."""

    answers: LoggedAnswers = LoggedAnswers.ALL
    addresses: Addresses = Addresses.FULL
    form: LineForm = LineForm.UNTIMED


class AccessLog:
    """Logs answered requests with `write`. `wall` returns seconds since the epoch."""

    def __init__(
        self,
        write: WriteLine,
        settings: AccessLogSettings = AccessLogSettings(),
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._write = write
        self._wall = wall
        self.reconfigure(settings)

    def reconfigure(self, settings: AccessLogSettings) -> None:
        """Log by new settings from now on."""
        self._addresses = settings.addresses
        self._shows_address = settings.addresses is Addresses.FULL
        self._least_status = LEAST_STATUSES[settings.answers]
        self._form = settings.form
        self._describe = describe_in_json if settings.form is LineForm.JSON else describe_in_words
        self._second, self._stamp = -1, ""

    def follow(self, answered: AnsweredRequest) -> None:
        """Log an answered request; it is a `Subscriber`."""
        if answered.status < self._least_status:
            return
        now = self._wall()
        second = int(now)
        if second != self._second:
            self._begin_second(second)
        address = answered.address if self._shows_address else show_address(answered.address, self._addresses)
        parts = answered.logged.line_parts
        if parts is None or parts[0] is not self._form:
            parts = answered.logged.line_parts = (self._form, self._describe(answered))
        if self._form is LineForm.JSON:
            stamp = f"{self._stamp}.{int((now - second) * 1000):03d}Z"
            self._write(
                f'{{"time": "{stamp}", "level": "info", "address": "{address}", {parts[1]}, '
                f'"duration_ms": {answered.seconds * 1000:.2f}, "request_id": "{answered.request_id}"}}'
            )
        else:
            milliseconds = answered.seconds * 1000
            self._write(f"{address} - - {self._stamp}{parts[1]} ms={milliseconds:.2f} id={answered.request_id}")

    def _begin_second(self, second: int) -> None:
        zone = time.gmtime if self._form is LineForm.JSON else time.localtime
        self._second, self._stamp = second, time.strftime(TIME_FORMATS[self._form], zone(second))


def describe_in_words(answered: AnsweredRequest) -> str:
    """Return what is the same in all lines about an answer in the combined form of the common log.

    A line is `192.0.2.7 - - [26/Nov/2026:16:55:01 +0000] "GET /v2/ HTTP/1.1" 307 0 "-" "docker/28.5"
    host=docker.example.com backend=docker-hub family=docker answer=redirected ms=0.21 id=1f0c9a7e-2b`. Before `ms`
    there may be `asked_again=yes`: the client was served because it had been redirected and asked again; and the
    `reason` of an error.
    """
    decision, logged = answered.decision, answered.logged
    line = (
        f'"{answered.method} {answered.path} {logged.protocol}" {answered.status} {answered.bytes} "-" '
        f'"{logged.user_agent}" host={logged.host or "-"} backend={decision.backend or "-"} '
        f"family={answered.client.label} answer={decision.outcome.word}"
    )
    if decision.asked_again:
        line += " asked_again=yes"
    return f'{line} reason="{_reason(decision.reason)}"' if decision.reason else line


def describe_in_json(answered: AnsweredRequest) -> str:
    """Return the same as members of a JSON object, with long names."""
    decision, logged = answered.decision, answered.logged
    backend = f'"{decision.backend}"' if decision.backend else "null"
    line = (
        f'"message": "{answered.method} {answered.path} {answered.status}", "method": "{answered.method}", '
        f'"path": "{answered.path}", "protocol": "{logged.protocol}", "status": {answered.status}, '
        f'"bytes": {answered.bytes}, "host": "{logged.host}", "user_agent": "{logged.user_agent}", '
        f'"backend": {backend}, "family": "{answered.client.family.value}", "answer": "{decision.outcome.word}"'
    )
    if decision.asked_again:
        line += ', "asked_again": true'
    return f'{line}, "reason": "{_reason(decision.reason)}"' if decision.reason else line


def _reason(reason: str) -> str:
    return quotable(reason.replace('"', "'"), REASON_LENGTH)
