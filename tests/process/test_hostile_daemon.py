"""Commands whose daemon is another program that sends what could command the terminal."""

import contextlib
import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.process.daemon import WAIT

ESCAPES = "\x1b]0;title\x07\x1b[31mred\r\x9b2J\u202e"

ANSWERS: dict[str, dict[str, Any]] = {
    "/failback": {"moves": [ESCAPES], "why": ESCAPES, "warnings": [ESCAPES]},
    "/pin": {"why": ESCAPES, "warnings": [ESCAPES]},
    "/renew": {"certificates": [ESCAPES], "warnings": [ESCAPES]},
    "/reload": {"warnings": [ESCAPES]},
    "/explain": {
        **dict.fromkeys(("image", "client", "family", "why"), ESCAPES),
        "requests": [{"request": ESCAPES, "answer": ESCAPES, "why": ESCAPES}],
        "asked_again": [ESCAPES],
        "backends": [ESCAPES],
        "refused": False,
    },
    "/history": {
        "days": 1,
        "changes": [{"at": 1e300, "kind": ESCAPES, "severity": ESCAPES, "backend": ESCAPES, "text": ESCAPES}],
    },
    "/stats": {
        "days": 7,
        "first": ESCAPES,
        "image": ESCAPES,
        "total": {"name": ESCAPES},
        "images": [{"name": ESCAPES, "pulls": 10**40}],
        **{name: [{"name": ESCAPES}] for name in ("tags", "families", "by_day")},
    },
}
"""What is answered to each command; anything else is refused."""


class Answers(BaseHTTPRequestHandler):
    """Answers every request on its Unix socket."""

    def do_GET(self) -> None:
        document = ANSWERS.get(self.path.partition("?")[0])
        body = json.dumps(document or {"problems": [ESCAPES]}).encode()
        self.send_response(200 if document else 409)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def address_string(self) -> str:
        return "a command"

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Path]:
    """The settings of the commands, with a control socket that another program has opened."""
    path = tmp_path / "facaded.toml"
    path.write_text(f'listen.control = "unix:{tmp_path}/control.sock"\n')
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "control.sock"), Answers) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield path
        finally:
            with contextlib.suppress(OSError):
                server.shutdown()


@pytest.mark.parametrize(
    "command", ["failback", "pin main", "renew", "reload", "explain org/app", "history", "stats", "unpin"]
)
def test_no_text_of_the_daemon_commands_the_terminal(settings: Path, command: str) -> None:
    name, *rest = command.split()
    run = subprocess.run(
        [sys.executable, "-m", "facaded", name, "--config", str(settings), *rest],
        capture_output=True,
        timeout=WAIT,
        check=False,
    )
    printed = (run.stdout + run.stderr).decode()
    assert "[31mred" in printed
    assert all(character.isprintable() or character == "\n" for character in printed), printed
    assert "Traceback" not in printed
