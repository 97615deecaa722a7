"""Loops in threads: clients that pull again and again, and watchers that poll the status of a facade."""

import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from tests.process.daemon import Daemon
from tests.system.clients import Docker, Podman
from tests.system.conftest import OUTAGE_CLIENTS

CompletedPull = subprocess.CompletedProcess[str]

REDIRECTED = ("docker", "ctr")
"""The clients that `answer = "auto"` redirects."""

PAUSE = 0.5
"""Seconds between the pulls of a client. With less, the clients of two concurrent outages keep two cores busy, and
their load delays the facades."""

RETRY_PAUSE = 1.2
"""The same after a pull that failed: a person waits a moment, and asks again."""

PULL_TIMEOUT = 30.0
"""Timeout of a pull in seconds: after that it has failed, even if its client would retry."""

POLL_INTERVAL = 0.1
"""Seconds between requests for the status of a facade."""

POLL_TIMEOUT = 5.0
"""Timeout of a request for the status in seconds."""


@frozen
class Pull:
    """A pull, its start and end (monotonic seconds), and the last line of the client's output if it failed."""

    client: str
    started: float
    ended: float
    failed: bool
    reason: str = ""


@define
class PullLoop:
    """A client that pulls one image through one facade until it is stopped."""

    client: str
    pull: Callable[[], CompletedPull]
    delete_pulls: Callable[[], None]
    delay: float
    pulls: list[Pull] = field(factory=list)
    _stopped: threading.Event = field(factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Start no more pulls."""
        self._stopped.set()

    def join(self) -> None:
        """Wait until the last pull ends."""
        if self._thread is not None:
            self._thread.join(2 * PULL_TIMEOUT)
            assert not self._thread.is_alive(), f"the pull of {self.client} does not end"

    def _run(self) -> None:
        self._stopped.wait(self.delay)
        while not self._stopped.is_set():
            self.pulls.append(self._pull_and_time())
            self.delete_pulls()
            self._stopped.wait(RETRY_PAUSE if self.pulls[-1].failed else PAUSE)

    def _pull_and_time(self) -> Pull:
        started = time.monotonic()
        try:
            result = self.pull()
        except subprocess.TimeoutExpired:
            return Pull(self.client, started, time.monotonic(), True, f"timed out after {PULL_TIMEOUT:g} s")
        failed = result.returncode != 0
        return Pull(self.client, started, time.monotonic(), failed, _last_line(result) if failed else "")


def _last_line(result: CompletedPull) -> str:
    return (result.stdout + result.stderr).strip().rpartition("\n")[2][-300:]


def create_loops(docker: Docker, directory: Path, answer: str, facade: Daemon, repository: str) -> list[PullLoop]:
    """Return a loop for each client that pulls through `facade`.

    Each client pulls its own tag, because a layer that another has pulled would not be fetched again. `directory` is
    for podman and skopeo: its path must be short, because podman accepts no path of 50 characters or more.
    """
    pull_loops = []
    for index, client in enumerate(OUTAGE_CLIENTS):
        image = f"{facade.host}:{facade.port}/{repository}:{image_tag(client, answer)}"
        podman = Podman(directory / f"{client}-{answer}", time_limit=PULL_TIMEOUT)
        podman.directory.mkdir()
        client_functions: dict[str, tuple[Callable[[str], CompletedPull], Callable[[], None]]] = {
            "docker": (docker.pull_with_docker, partial(docker.remove_with_docker, image)),
            "ctr": (docker.pull_with_ctr, partial(docker.remove_with_ctr, image)),
            "podman": (podman.pull_with_podman, podman.delete_pulls),
            "skopeo": (podman.pull_with_skopeo, podman.delete_pulls),
        }
        pull, delete_pulls = client_functions[client]
        delay = index * PAUSE / len(OUTAGE_CLIENTS)  # spreads the clients over the pause
        pull_loops.append(PullLoop(client, partial(pull, image), delete_pulls, delay))
    return pull_loops


def image_tag(client: str, answer: str) -> str:
    return f"{client}-{answer}"


@frozen
class StatusChange:
    """A change of a facade's status: whether it is off the main registry, the active backend, and the failed step.

    A facade is off the main registry if that is down or limited, or another backend is active. `seen_at` is in
    monotonic seconds.
    """

    seen_at: float
    is_off_main: bool
    active: str
    reason: str


@define
class StatusWatcher:
    """Polls the status of a facade until it is stopped, and records its changes."""

    facade: Daemon
    changes: list[StatusChange] = field(factory=list)
    _stopped: threading.Event = field(factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._poll()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        assert self._thread is not None
        assert self._thread.is_alive(), f"no status within {POLL_TIMEOUT:g} s"
        self._stopped.set()
        self._thread.join()

    @property
    def is_off_main(self) -> bool:
        return self.changes[-1].is_off_main

    def _run(self) -> None:
        while not self._stopped.wait(POLL_INTERVAL):
            self._poll()

    def _poll(self) -> None:
        document = fetch_status(self.facade)
        main, active = document["backends"][0], document["active"]
        is_off_main = main["state"] in ("down", "limited") or active != "main"
        failed_step = "{step}: {reason}".format(**main["failed"]) if is_off_main and main["failed"] else ""
        if not self.changes or (self.changes[-1].is_off_main, self.changes[-1].active) != (is_off_main, active):
            self.changes.append(StatusChange(time.monotonic(), is_off_main, active, failed_step))


def fetch_status(facade: Daemon) -> dict[str, Any]:
    """Fetch the status document of a facade from its control socket."""
    connection = _ControlConnection(facade.directory / "control.sock")
    try:
        connection.request("GET", "/status")
        document: dict[str, Any] = json.loads(connection.getresponse().read())
        return document
    finally:
        connection.close()


class _ControlConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=POLL_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(POLL_TIMEOUT)
        self.sock.connect(str(self._path))
