"""Both ends of the control socket, of the same version and of different versions."""

import errno
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import pytest_twisted
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import LogEvent
from twisted.web.http_headers import Headers

from facaded.admin import control_client
from facaded.admin.control import CommandRefusedError, Control, Parameters
from facaded.admin.control_client import (
    URL,
    ControlError,
    NewerDaemonError,
    NoDaemonError,
    OlderDaemonError,
    explain_failure,
    read_answer,
)
from facaded.admin.protocol import Overridden, RecentImages, Reloaded, RenewalBegun
from facaded.admin.status import Status
from facaded.explain.explanation import Explanation
from facaded.net.client import BoundedClient, Response
from facaded.net.json_documents import Document
from facaded.net.reactor import installed
from facaded.web.server import BoundedSite
from tests.web.raw import Connection

SOCKET = Path("/run/control.sock")


def refuse(_: Parameters) -> Document:
    raise CommandRefusedError("main is pinned", "unpin it first")


def echo(parameters: Parameters) -> Document:
    return Overridden(f"{parameters.backend} {parameters.seconds} {parameters.image} {parameters.client}", ())


CONTROL = Control({("GET", "/echo"): echo, ("POST", "/unpin"): refuse})


async def ask(method: str, resource: str) -> Response:
    client = BoundedClient(URL, RequestTraversalAgent(CONTROL))
    return await client.ask(method, f"{URL}{resource}", headers={}, limit=10_000)


@pytest_twisted.ensureDeferred
async def test_a_command_gets_its_parameters_and_gives_a_document() -> None:
    answer = await ask("GET", "/echo?backend=main&seconds=1.5&image=org%2Fapp&client=docker&more=5")
    assert (answer.status, answer.value("Content-Type")) == (200, "application/json")
    assert json.loads(answer.body) == {"schema": 1, "why": "main 1.5 org/app docker", "warnings": []}
    assert read_answer(answer, SOCKET, Overridden).why == "main 1.5 org/app docker"


@pytest_twisted.ensureDeferred
async def test_a_refusal_is_a_409_with_sentences() -> None:
    answer = await ask("POST", "/unpin?")
    assert answer.status == 409
    assert json.loads(answer.body) == {"schema": 1, "problems": ["main is pinned", "unpin it first"]}
    with pytest.raises(CommandRefusedError) as refused:
        read_answer(answer, SOCKET, Overridden)
    assert refused.value.problems == ("main is pinned", "unpin it first")


@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing"), ("POST", "/echo"), ("GET", "/")])
@pytest_twisted.ensureDeferred
async def test_an_unknown_command_is_answered_with_the_known_ones(method: str, path: str) -> None:
    answer = await ask(method, path)
    assert (answer.status, json.loads(answer.body)["problems"]) == (
        404,
        ["no such command: expected one of GET /echo, POST /unpin"],
    )
    with pytest.raises(OlderDaemonError, match=r"the daemon behind .* is older and does not know this command: rest"):
        read_answer(answer, SOCKET, Overridden)


@pytest_twisted.ensureDeferred
async def test_a_command_that_is_too_long_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    resource = f"/pin?reason={'a' * 8000}"
    with pytest.raises(CommandRefusedError, match="the arguments are too long: use at most 8000 characters"):
        await control_client.ask(installed(), tmp_path / "none", "POST", resource, Overridden)


@pytest.mark.parametrize("seconds", ["soon", "-1", "0", "nan", "inf"])
@pytest_twisted.ensureDeferred
async def test_a_duration_that_is_no_positive_number_is_refused(seconds: str) -> None:
    answer = await ask("GET", f"/echo?seconds={seconds}")
    assert (answer.status, json.loads(answer.body)["problems"]) == (
        409,
        ["seconds: expected a number of seconds above 0"],
    )


LATER = b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_a_command_may_answer_later() -> None:
    waiting: Deferred[Document] = Deferred()
    connection = Connection(BoundedSite(Control({("GET", "/later"): lambda _: waiting}), Clock()))
    connection.send(LATER)
    assert connection.transport.value() == b""
    waiting.callback(Reloaded(("later",)))
    assert connection.transport.value().endswith(b'{"schema": 1, "warnings": ["later"]}\n')
    connection.lose()


@pytest_twisted.ensureDeferred
async def test_a_command_may_be_refused_later() -> None:
    control = Control({("GET", "/later"): lambda _: fail(CommandRefusedError("too late"))})
    answer = await BoundedClient(URL, RequestTraversalAgent(control)).ask("GET", f"{URL}/later", headers={}, limit=999)
    assert (answer.status, json.loads(answer.body)["problems"]) == (409, ["too late"])


@pytest_twisted.ensureDeferred
async def test_a_command_that_fails_is_logged_and_answered(no_errors_are_logged: list[LogEvent]) -> None:
    control = Control({("GET", "/broken"): lambda _: fail(ZeroDivisionError("secret"))})
    answer = await BoundedClient(URL, RequestTraversalAgent(control)).ask("GET", f"{URL}/broken", headers={}, limit=999)
    assert answer.status == 500
    assert json.loads(answer.body)["problems"] == ["the command failed: see the log of the daemon"]
    assert len(no_errors_are_logged) == 1
    no_errors_are_logged.clear()


def test_an_answer_for_a_client_that_has_gone_is_dropped() -> None:
    waiting: Deferred[Document] = Deferred()
    connection = Connection(BoundedSite(Control({("GET", "/later"): lambda _: waiting}), Clock()))
    connection.send(LATER)
    connection.lose()
    waiting.callback(Reloaded())
    assert connection.transport.value() == b""


# The client without a daemon


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (ConnectError(errno.ENOENT), NoDaemonError, "not running: there is no control socket at /run/control.sock"),
        (
            ConnectError(errno.ECONNREFUSED),
            NoDaemonError,
            "not running: /run/control.sock is left over from an earlier run",
        ),
        (
            ConnectError(errno.EACCES),
            ControlError,
            "permission denied on /run/control.sock: "
            'use sudo, or set listen.control = "unix:/run/control.sock:mode=660"',
        ),
        (
            ConnectionLost(),
            ControlError,
            "the daemon behind /run/control.sock does not answer (connection reset): see its log",
        ),
    ],
)
def test_a_daemon_that_cannot_be_asked_is_explained(error: Exception, kind: type[ControlError], sentence: str) -> None:
    explained = explain_failure(error, SOCKET)
    assert (type(explained), str(explained)) == (kind, sentence)


# The client against daemons of other versions


def response(body: bytes | dict[str, Any], status: int = 200) -> Response:
    return Response(status, Headers(), body if isinstance(body, bytes) else json.dumps(body).encode())


OLD_STATUS = {
    "version": "0.1.0",
    "settings": "/etc/facaded/facaded.toml",
    "warnings": [],
    "active": "main",
    "active_since": 1764000000.0,
    "why": "main is active: it is the preferred backend and is up",
    "pins": {"main": {"since": 1764000000.0, "until": None}},
    "handover_until": None,
    "stale_names": {},
    "routes": [
        {"repositories": [], "for": "redirect", "backend": "main", "since": 1764000000.0, "why": "it is the first"}
    ],
    "backends": [
        {
            "name": "main",
            "url": "https://main.test",
            "state": "up",
            "since": 1764000000.0,
            "last": {"verdict": "good", "step": "blob", "reason": "all steps passed", "latency": 0.1, "drift": "odd"},
            "failed": {"verdict": "bad", "step": "blob", "reason": "answered 500", "latency": 1, "at": 1764000000.0},
            "drift": "odd",
            "drained": {"since": 1764000000.0, "until": 1764000001.0},
            "pulls_left": {"address": {"remaining": 7, "limit": None, "window": 0.0, "at": 1764000000.0}},
            "limited_until": None,
            "relapses": 0,
            "failback_after": 60.0,
        },
        {
            "name": "spare",
            "url": "https://spare.test",
            "state": None,
            "since": None,
            "last": None,
            "failed": None,
            "drift": None,
            "drained": None,
            "limited_until": None,
            "relapses": None,
            "failback_after": None,
            "pulls_left": {},
        },
    ],
    "certificates": [
        {
            "names": [],
            "issuer": None,
            "until": None,
            "expired": False,
            "expires_soon": False,
            "from": "ACME",
            "next_renewal": None,
            "error": "no",
        }
    ],
}
OLD = [
    (Status, OLD_STATUS),
    (RecentImages, {"images": ["org/app:1"]}),
    (Overridden, {"why": "main is active", "warnings": []}),
    (RenewalBegun, {"certificates": ["a.test"], "warnings": []}),
    (Reloaded, {}),
    (
        Explanation,
        {
            "image": "org/app:latest",
            "client": "docker",
            "requests": [{"request": "GET /v2/", "answer": "200", "why": "because"}],
            "refused": False,
            "why": "main is active",
        },
    ),
]


@pytest.mark.parametrize(("kind", "body"), OLD, ids=lambda value: getattr(value, "__name__", ""))
def test_answers_of_a_daemon_of_the_previous_version_are_read(kind: type[Document], body: dict[str, Any]) -> None:
    assert read_answer(response(body), SOCKET, kind).schema == 1


def test_a_refusal_of_a_daemon_of_the_previous_version_is_read() -> None:
    with pytest.raises(CommandRefusedError, match="not now"):
        read_answer(response({"problems": ["not now"]}, 409), SOCKET, Reloaded)


@pytest.mark.parametrize("status", [200, 409])
def test_a_newer_daemon_is_recognised_and_the_remedy_named(status: int) -> None:
    newer = response({"schema": 2, "problems": {"not": "a list"}}, status)
    with pytest.raises(NewerDaemonError) as raised:
        read_answer(newer, SOCKET, Reloaded)
    remedy = "use the daemon's own facaded program"
    assert str(raised.value).endswith(f"speaks a newer control protocol: {remedy}")


STRANGE = [b"", b"<html>", b"[]", b"5", b"null", b"\xff\xfe", b"[" * 100_000, b'{"why": 5}', b'{"schema": "x"}', b"{}"]


@pytest.mark.parametrize("status", [200, 409, 500])
@pytest.mark.parametrize("body", STRANGE, ids=lambda body: repr(body[:20]))
def test_an_answer_that_cannot_be_read_is_a_control_error(body: bytes, status: int) -> None:
    with pytest.raises(ControlError, match=r"the answer of the daemon behind .* cannot be read"):
        read_answer(response(body, status), SOCKET, Overridden)


@pytest.mark.parametrize("reason", ["ticket%204711", "a" * 200, ""])
def test_a_reason_is_text_on_one_line(reason: str) -> None:
    assert Parameters.read(f"reason={reason}").reason == unquote(reason)


@pytest.mark.parametrize("reason", ["a" * 201, "two%0Alines", "%1B%5B2J", "%E2%80%AE"])
def test_a_reason_that_is_too_long_or_not_printable_is_refused(reason: str) -> None:
    with pytest.raises(CommandRefusedError, match="at most 200 printable characters"):
        Parameters.read(f"reason={reason}")
