"""The answers of the admin listener about the status: the page, its files, and the same as JSON."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from attrs import frozen
from twisted.internet.defer import Deferred, succeed

from facaded.admin.overview import Overview
from facaded.admin.survey import Survey
from facaded.net.json_documents import to_json
from facaded.web.static_files import read_static_file

DIRECTORY = Path(__file__).parent / "page_files"

FILES = frozenset(["/status.css", "/status.js", "/status-green.svg", "/status-amber.svg", "/status-red.svg"])
"""The paths of the files of the page."""

JSON = {"Content-Type": "application/json", "Cache-Control": "no-store"}


@frozen
class AdminAnswer:
    """An answer of the admin listener."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StatusPages:
    """Answers requests for the status, which `survey` collects. What is written of an overview is kept for others."""

    def __init__(self, survey: Survey) -> None:
        self._survey = survey
        self._overview: Overview | None = None
        self._written: dict[str, AdminAnswer] = {}

    def find(self, path: str, if_none_match: str) -> Deferred[AdminAnswer] | None:
        """Return the answer to a request for a path, None if it is none of the status.

        `if_none_match` is the value of that header, empty without one.
        """
        if path in FILES:
            return succeed(_file(path, if_none_match))
        if path in ("/", "/status.json"):
            return self._survey.overview().addCallback(partial(self._write, path))
        return None

    def _write(self, path: str, overview: Overview) -> AdminAnswer:
        if overview is not self._overview:
            self._overview, self._written = overview, {}
        if path not in self._written:
            self._written[path] = _page(overview) if path == "/" else _document(overview)
        return self._written[path]


def _file(path: str, if_none_match: str) -> AdminAnswer:
    file = read_static_file(DIRECTORY / path.removeprefix("/"))
    if file.is_known_by(if_none_match):
        return AdminAnswer(304, file.headers, b"")
    return AdminAnswer(200, file.headers, file.content)


def _page(overview: Overview) -> AdminAnswer:
    from facaded.admin.status_page import HEADERS, write_status_page  # not before somebody looks: it takes memory

    return AdminAnswer(200, HEADERS, write_status_page(overview))


def _document(overview: Overview) -> AdminAnswer:
    return AdminAnswer(200, JSON, json.dumps(to_json(overview)).encode() + b"\n")
