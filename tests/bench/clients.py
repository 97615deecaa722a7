"""The clients of a soak: the synthetic one and the hostile ones in processes of their own, and real ones."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.counts import Counts
from tests.process.daemon import Daemon
from tests.system.clients import Podman
from tests.system.images import RandomImage

ROOT = Path(__file__).parents[2]

MOST_FAILURES = 10
"""Failed pulls of real clients whose messages are kept."""

MESSAGE_LENGTH = 400
"""Characters of such a message."""


def spawn(module: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a program of this package; it ends with its input."""
    command = [sys.executable, "-m", f"tests.bench.{module}", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


class SyntheticClient:
    """The synthetic client in a process of its own; `take` returns its counts since the last call."""

    def __init__(self, port: int, daemon: Daemon, image: RandomImage, rate: float, tls: bool) -> None:
        flags = ("--tls",) if tls else ()
        blob = next(iter(image.blobs))
        self._process = spawn("load", daemon.host, str(port), image.digest, blob, f"--rate={rate}", *flags)
        self._lock = threading.Lock()
        self._counts = Counts()
        self._total = Counts()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def take(self) -> Counts:
        with self._lock:
            counts, self._counts = self._counts, Counts()
        self._total.add(Counts(counts.ok, counts.failed, counts.refused))
        return counts

    @property
    def total(self) -> Counts:
        """All pulls so far, without latencies."""
        self.take()
        return self._total

    def stop(self) -> None:
        end(self._process)
        self._thread.join(5)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._lock:
                self._counts.add(Counts(**json.loads(line)))


class RealClients:
    """Skopeo and Podman, as far as they are installed, one pull after the other in a thread."""

    def __init__(self, image: str, directory: Path) -> None:
        directory.mkdir()
        self.pulls: dict[str, list[int]] = {
            name: [0, 0] for name in ("skopeo", "podman") if shutil.which(name) is not None
        }
        self.failures: list[str] = []
        self._image = image
        self._podman = Podman(directory)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._pull, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait for the pull in progress."""
        self._stopped.set()
        self._thread.join(60)

    def _pull(self) -> None:
        commands = {"skopeo": self._podman.pull_with_skopeo, "podman": self._podman.pull_with_podman}
        while not self._stopped.is_set():
            for name, counts in self.pulls.items():
                failure = _pull(commands[name], self._image)
                counts[0 if failure is None else 1] += 1
                if failure is not None and len(self.failures) < MOST_FAILURES:
                    self.failures.append(f"{name}: {failure}")
                self._podman.delete_pulls()
            self._stopped.wait(1)


def _pull(command: Callable[[str], "subprocess.CompletedProcess[str]"], image: str) -> str | None:
    """Pull an image with a real client; return the end of what it says if that fails, else None."""
    try:
        pulled = command(image)
    except subprocess.TimeoutExpired:
        return "timeout"
    return None if pulled.returncode == 0 else f"{time.strftime('%H:%M:%S')} {pulled.stderr.strip()[-MESSAGE_LENGTH:]}"
