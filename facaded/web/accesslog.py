"""The access log: one line for each answer, in the common form or in JSON.

Queries are not logged, nor any header but Host and User-Agent, because they may carry tokens. Every value is printable
ASCII without double quotes and backslashes (see `quotable`), so that nobody can make up fields, and JSON needs no
escapes, which would take longer than all else.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Protocol, TypeAlias

from attrs import frozen
from twisted.logger import Logger

from facaded.policy.sources import Addresses, show_address
from facaded.web.answered_requests import AnsweredRequest, quotable

_log = Logger()

WriteLines: TypeAlias = Callable[[Sequence[str]], None]
"""Writes lines to the access log."""

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

    def add_lines(self, lines: Sequence[str]) -> None:
        """Write lines."""

    def let_precede(self, flush: Callable[[], None]) -> None:
        """Call `flush`, which adds lines that wait, before anything else is written, and at the end."""

    def form_for(self, style: LogStyle) -> LineForm:
        """Return the form of access lines in this style."""

    def reconfigure(self, style: LogStyle) -> None:
        """Write the log in another style from now on."""


class TwistedOutput:
    """Writes lines with Twisted's logger, for any observer, which knows the time; that of twistd knows no style.

    It takes longer than all else that an answer needs.
    """

    lost_lines = 0

    def add_lines(self, lines: Sequence[str]) -> None:
        """Write lines."""
        for line in lines:
            _log.info("{line}", line=line)

    def let_precede(self, flush: Callable[[], None]) -> None:
        """Do nothing: observers cannot be told to wait."""

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
    """Logs answered requests with `write`."""

    def __init__(self, write: WriteLines, settings: AccessLogSettings = AccessLogSettings()) -> None:
        self._write = write
        self.reconfigure(settings)

    def reconfigure(self, settings: AccessLogSettings) -> None:
        """Log by new settings from now on."""
        self._addresses = settings.addresses
        self._least_status = LEAST_STATUSES[settings.answers]
        self._describe = DESCRIPTIONS[settings.form]
        self._time_format = TIME_FORMATS[settings.form]
        self._zone = time.gmtime if settings.form is LineForm.JSON else time.localtime

    def follow(self, batch: Sequence[AnsweredRequest]) -> None:
        """Log answered requests; it is a `BatchSubscriber`."""
        if self._least_status < NEVER and (lines := list(self._lines(batch))):
            self._write(lines)

    def _lines(self, batch: Sequence[AnsweredRequest]) -> Iterator[str]:
        describe, least_status, addresses = self._describe, self._least_status, self._addresses
        shows_address, second, stamp = addresses is Addresses.FULL, 0, ""
        for answered in batch:
            if answered.status < least_status:
                continue
            if not second <= answered.at < second + 1:
                second = int(answered.at)
                stamp = time.strftime(self._time_format, self._zone(second))
            address = answered.address if shows_address else show_address(answered.address, addresses)
            yield describe(answered, address, stamp)


def describe_in_words(answered: AnsweredRequest, address: str, stamp: str) -> str:
    """Return a line in the combined form of the common log, with the client's address as it is shown.

    A line is `192.0.2.7 - - [26/Nov/2026:16:55:01 +0000] "GET /v2/ HTTP/1.1" 307 0 "-" "docker/28.5"
    host=docker.example.com backend=docker-hub family=docker answer=redirected ms=0.21 id=1f0c9a7e-2b`. The `stamp` is
    its time and a space, or nothing. Before `ms` there may be `asked_again=yes`: the client was served because it had
    been redirected and asked again; and the `reason` of an error.
    """
    decision, logged, more = answered.decision, answered.logged, ""
    if decision.asked_again or decision.reason:
        again, reason = decision.asked_again, decision.reason
        more = (" asked_again=yes" if again else "") + (f' reason="{_reason(reason)}"' if reason else "")
    return (
        f'{address} - - {stamp}"{answered.method} {answered.path} {logged.protocol}" {answered.status} '
        f'{answered.bytes} "-" "{logged.user_agent}" host={logged.host or "-"} backend={decision.backend or "-"} '
        f"family={answered.client.label} answer={decision.outcome.word}{more} ms={answered.seconds * 1000:.2f} "
        f"id={answered.request_id}"
    )


def describe_in_json(answered: AnsweredRequest, address: str, stamp: str) -> str:
    """Return the same as a JSON object, with long names. The `stamp` is the second of its time."""
    decision, logged, more = answered.decision, answered.logged, ""
    if decision.asked_again or decision.reason:
        again, reason = decision.asked_again, decision.reason
        more = (', "asked_again": true' if again else "") + (f', "reason": "{_reason(reason)}"' if reason else "")
    backend = f'"{decision.backend}"' if decision.backend else "null"
    return (
        f'{{"time": "{stamp}.{int(answered.at % 1 * 1000):03d}Z", "level": "info", "address": "{address}", '
        f'"message": "{answered.method} {answered.path} {answered.status}", "method": "{answered.method}", '
        f'"path": "{answered.path}", "protocol": "{logged.protocol}", "status": {answered.status}, '
        f'"bytes": {answered.bytes}, "host": "{logged.host}", "user_agent": "{logged.user_agent}", '
        f'"backend": {backend}, "family": "{answered.client.family.value}", "answer": "{decision.outcome.word}"{more}, '
        f'"duration_ms": {answered.seconds * 1000:.2f}, "request_id": "{answered.request_id}"}}'
    )


DESCRIPTIONS = {
    LineForm.COMMON: describe_in_words,
    LineForm.UNTIMED: describe_in_words,
    LineForm.JSON: describe_in_json,
}
"""The function that returns a line in each form."""


def _reason(reason: str) -> str:
    return quotable(reason.replace('"', "'"), REASON_LENGTH)
