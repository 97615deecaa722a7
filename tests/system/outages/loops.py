"""Endless loops: clients that pull again and again, and watches over what a facade says of itself meanwhile."""

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
"""Seconds between a client's pulls: with less, the clients of two outages at a time keep two cores busy all by
themselves, and what is late is late because of them."""

PULL_TIME = 30.0
"""Seconds that a pull may take: then it is lost, whatever its client would still try."""

LOOK = 0.1
"""Seconds between looks at a facade's status."""

LOOK_TIME = 5.0
"""Seconds that a look may take."""


@frozen
class Pull:
    """One pull, from when to when (monotonic seconds), and what its client said if it was lost."""

    client: str
    begun: float
    ended: float
    lost: bool
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
        """Begin no more pulls."""
        self._stopped.set()

    def join(self) -> None:
        """Wait for the end of the last one."""
        if self._thread is not None:
            self._thread.join(2 * PULL_TIME)
            assert not self._thread.is_alive(), f"{self.client} does not end"

    def _run(self) -> None:
        self._stopped.wait(self.delay)
        while not self._stopped.is_set():
            self.pulls.append(self._pull())
            self.delete_pulls()
            self._stopped.wait(PAUSE)

    def _pull(self) -> Pull:
        begun = time.monotonic()
        try:
            done = self.pull()
        except subprocess.TimeoutExpired:
            return Pull(self.client, begun, time.monotonic(), True, f"no end within {PULL_TIME:g} s")
        lost = done.returncode != 0
        return Pull(self.client, begun, time.monotonic(), lost, _last_line(done) if lost else "")


def _last_line(done: CompletedPull) -> str:
    return (done.stdout + done.stderr).strip().rpartition("\n")[2][-300:]


def loops(docker: Docker, directory: Path, answer: str, facade: Daemon, repository: str) -> list[PullLoop]:
    """A loop for each client through `facade`. Each has a tag of its own, so that no layer is there already.

    `directory` is for podman, which wants a path of less than 50 characters.
    """
    made = []
    for place, client in enumerate(OUTAGE_CLIENTS):
        image = f"{facade.host}:{facade.port}/{repository}:{tag(client, answer)}"
        podman = Podman(directory / f"{client}-{answer}", time_limit=PULL_TIME)
        podman.directory.mkdir()
        ways: dict[str, tuple[Callable[[str], CompletedPull], Callable[[], None]]] = {
            "docker": (docker.pull_with_docker, partial(docker.remove_with_docker, image)),
            "ctr": (docker.pull_with_ctr, partial(docker.remove_with_ctr, image)),
            "podman": (podman.pull_with_podman, podman.delete_pulls),
            "skopeo": (podman.pull_with_skopeo, podman.delete_pulls),
        }
        pull, delete_pulls = ways[client]
        delay = place * PAUSE / len(OUTAGE_CLIENTS)  # staggered
        made.append(PullLoop(client, partial(pull, image), delete_pulls, delay))
    return made


def tag(client: str, answer: str) -> str:
    return f"{client}-{answer}"


@frozen
class StatusChange:
    """What a facade said of its main registry at one time: whether it is left, and the words of the failed step."""

    at: float
    left: bool
    active: str
    reason: str


@define
class StatusWatcher:
    """Looks at a facade's status until it is stopped; `views` keeps what was new."""

    facade: Daemon
    views: list[StatusChange] = field(factory=list)
    _stopped: threading.Event = field(factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._look()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        assert self._thread is not None
        assert self._thread.is_alive(), f"no status within {LOOK_TIME:g} s"
        self._stopped.set()
        self._thread.join()

    @property
    def left(self) -> bool:
        return self.views[-1].left

    @property
    def in_charge(self) -> str:
        return self.views[-1].active

    def _run(self) -> None:
        while not self._stopped.wait(LOOK):
            self._look()

    def _look(self) -> None:
        document = status(self.facade)
        main, active = document["backends"][0], document["active"]
        left = main["state"] in ("down", "limited") or active != "main"
        words = "{step}: {reason}".format(**main["failed"]) if left and main["failed"] else ""
        if not self.views or (self.views[-1].left, self.views[-1].active) != (left, active):
            self.views.append(StatusChange(time.monotonic(), left, active, words))


def status(facade: Daemon) -> dict[str, Any]:
    """The facade's status document, from its control socket."""
    connection = _Control(facade.directory / "control.sock")
    try:
        connection.request("GET", "/status")
        document: dict[str, Any] = json.loads(connection.getresponse().read())
        return document
    finally:
        connection.close()


class _Control(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=LOOK_TIME)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(LOOK_TIME)
        self.sock.connect(str(self._path))
