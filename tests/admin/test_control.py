"""Both ends of the control socket, and what old and new versions of them make of each other."""

import json
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from treq.testing import RequestTraversalAgent
from twisted.web.http_headers import Headers

from facaded.admin.control import CommandRefusedError, Control, Parameters
from facaded.admin.control_client import URL, ControlError, NewerDaemonError, read_answer
from facaded.admin.protocol import Overridden, RecentImages, Reloaded, RenewalBegun
from facaded.admin.status import Status
from facaded.explain.explanation import Explanation
from facaded.net.client import BoundedClient, Response
from facaded.net.json_documents import Document

SOCKET = Path("/run/control.sock")


def refuse(_: Parameters) -> Document:
    raise CommandRefusedError("no backend is pinned", "and that is all")


def echo(given: Parameters) -> Document:
    return Overridden(f"{given.backend} {given.seconds} {given.image} {given.client}", ())


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
async def test_a_refusal_is_told_in_sentences() -> None:
    answer = await ask("POST", "/unpin?")
    assert answer.status == 409
    assert json.loads(answer.body) == {"schema": 1, "problems": ["no backend is pinned", "and that is all"]}
    with pytest.raises(CommandRefusedError) as refused:
        read_answer(answer, SOCKET, Overridden)
    assert refused.value.problems == ("no backend is pinned", "and that is all")


@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing"), ("POST", "/echo"), ("GET", "/")])
@pytest_twisted.ensureDeferred
async def test_what_is_no_command_is_answered_with_those_that_there_are(method: str, path: str) -> None:
    answer = await ask(method, path)
    assert (answer.status, json.loads(answer.body)["problems"]) == (404, ["here are GET /echo, POST /unpin"])


@pytest.mark.parametrize("seconds", ["soon", "-1", "0", "nan", "inf"])
@pytest_twisted.ensureDeferred
async def test_a_time_that_is_none_is_refused(seconds: str) -> None:
    answer = await ask("GET", f"/echo?seconds={seconds}")
    assert (answer.status, json.loads(answer.body)["problems"]) == (409, ["seconds: not a time"])


# The client against daemons of other versions


def answered(body: bytes | dict[str, Any], status: int = 200) -> Response:
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
            "last": {"verdict": "good", "step": "blob", "reason": "blob found", "latency": 0.1, "drift": "odd"},
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


@pytest.mark.parametrize(("kind", "body"), OLD, ids=lambda each: getattr(each, "__name__", ""))
def test_answers_of_a_daemon_of_the_version_before_are_read(kind: type[Document], body: dict[str, Any]) -> None:
    assert read_answer(answered(body), SOCKET, kind).schema == 1


def test_a_refusal_of_a_daemon_of_the_version_before_is_read() -> None:
    with pytest.raises(CommandRefusedError, match="not now"):
        read_answer(answered({"problems": ["not now"]}, 409), SOCKET, Reloaded)


@pytest.mark.parametrize("status", [200, 409])
def test_a_newer_daemon_is_told_apart_with_what_to_do(status: int) -> None:
    newer = answered({"schema": 2, "problems": {"not": "a list"}}, status)
    with pytest.raises(NewerDaemonError) as told:
        read_answer(newer, SOCKET, Reloaded)
    assert str(told.value).endswith("speaks a newer version of the control protocol: use the facaded that it runs")


STRANGE = [b"", b"<html>", b"[]", b"5", b"null", b"\xff\xfe", b"[" * 100_000, b'{"why": 5}', b'{"schema": "x"}', b"{}"]


@pytest.mark.parametrize("status", [200, 409, 500])
@pytest.mark.parametrize("body", STRANGE, ids=lambda body: repr(body[:20]))
def test_strange_answers_are_told_in_a_sentence(body: bytes, status: int) -> None:
    with pytest.raises(ControlError, match="gives an answer that cannot be read"):
        read_answer(answered(body, status), SOCKET, Overridden)
