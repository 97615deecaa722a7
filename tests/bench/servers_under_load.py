"""Servers that are measured: processes pinned to a core, and what they have used, from /proc."""

import contextlib
import http.client
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from secrets import token_hex

from attrs import define, field, frozen

from facaded.web.answer_batches import BATCH_TIME

START_TIME = 20.0
"""Seconds within which a server must answer."""

POLL = 0.001
"""Seconds between two attempts to get the first answer."""

HEADERS = {
    "Host": "docker.lab.test",
    "User-Agent": "docker/28.5.1",
    "Accept": "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json",
}

TAG = "/v2/org/app/manifests/latest"
"""The request that a server must answer before it counts as started."""

STATUS = re.compile(rb'"(?:GET|HEAD) /v2/\S* HTTP/1\.[01]" (\d{3}) ')
"""The status in a line of facaded's access log."""


ID = re.compile(rb" id=([0-9a-f]+)-[0-9a-f]+$")
"""What the id of a request in such a line begins with."""


@frozen
class Memory:
    """Resident memory in MiB, as in proc(5).

    `rss` has all pages, `pss` only a share of those that other processes use too, and `uss` none of those: it is what
    the machine would get back if the processes ended.
    """

    uss: float
    pss: float
    rss: float


@contextlib.contextmanager
def pinned(*cores: int) -> Iterator[None]:
    """Let processes that are started meanwhile run on these cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@define
class Server:
    """A server in a process, at an address of its own. `command` starts it in `directory`; it logs into `access_log`.

    `expected` is the status of its answer to a request for a tag: 307, but 200 if it is a registry or serves.
    """

    name: str
    version: str
    command: Sequence[str]
    directory: Path
    host: str
    http: int
    https: int
    access_log: Path
    environ: dict[str, str] = field(factory=dict)
    expected: int = 307
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.http}"

    @property
    def secure_url(self) -> str:
        return f"https://{self.host}:{self.https}"

    def start(self, *cores: int) -> float:
        """Start it on a core, or on several, and return the seconds until its first answer."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY_", "NOTIFY_"))}
        began = time.monotonic()
        with pinned(*cores), (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.directory, stdout=log, stderr=log, env=environ | self.environ
            )
        while self._status(TAG) != self.expected:
            assert self.process.poll() is None, f"{self.name} has ended:\n{self._log}"
            assert time.monotonic() - began < START_TIME, f"{self.name} does not answer:\n{self._log}"
            time.sleep(POLL)
        return time.monotonic() - began

    def wake(self) -> None:
        """Send a redirecting server one request for a new image.

        After a pause facaded first checks its registry, and a load of one second should not measure that.
        """
        if self.expected == 307:
            self._status(f"/v2/org/{token_hex(6)}/manifests/latest")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def cpu_seconds(self) -> float:
        """Return the CPU time that all threads of the server have used."""
        return sum(self.cpu_of_processes().values())

    def cpu_of_processes(self) -> dict[int, float]:
        """Return the CPU seconds that each process of the server has used, by its pid."""
        return {
            pid: sum(
                int((thread / "schedstat").read_text().split()[0]) for thread in Path(f"/proc/{pid}/task").iterdir()
            )
            / 1e9
            for pid in self._pids()
        }

    def memory(self) -> Memory:
        """Return the memory that all processes of the server take."""
        kibibytes = Counter[str]()
        for pid in self._pids():
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            numbers = dict(re.findall(r"^(Pss|Rss|Private_Clean|Private_Dirty):\s+(\d+) kB", rollup, re.MULTILINE))
            assert len(numbers) == 4, rollup
            kibibytes.update({name: int(number) for name, number in numbers.items()})
        unique = kibibytes["Private_Clean"] + kibibytes["Private_Dirty"]
        return Memory(unique / 1024, kibibytes["Pss"] / 1024, kibibytes["Rss"] / 1024)

    def count_statuses(self) -> dict[int, int]:
        """Return the number of answers of each status in facaded's access log, and empty the log of any server."""
        counts = Counter[int]()
        for (status, _), answers in self.count_answers().items():
            counts[status] += answers
        return counts

    def count_answers(self) -> Counter[tuple[int, str]]:
        """The same as `count_statuses` by status and by what the ids of requests begin with.

        That is different in each process of facaded, and in each of its listeners.
        """
        if self.name == "facaded":
            time.sleep(2 * BATCH_TIME)  # its lines are late
        with self.access_log.open("rb") as log:
            matches = ((STATUS.search(line), ID.search(line)) for line in log)
            counts = Counter((int(status[1]), id_[1].decode() if id_ else "") for status, id_ in matches if status)
        os.truncate(self.access_log, 0)
        return counts

    def _pids(self) -> list[int]:
        """Return the process and those that it has started."""
        assert self.process is not None
        pids = [self.process.pid]
        for pid in pids:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                pids += [int(child) for child in (thread / "children").read_text().split()]
        return pids

    def _status(self, target: str) -> int | None:
        """Return the status of an answer, None if there is none."""
        connection = http.client.HTTPConnection(self.host, self.http, timeout=START_TIME)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", target, headers=HEADERS)
            return connection.getresponse().status
        connection.close()
        return None

    @property
    def _log(self) -> str:
        return (self.directory / "log").read_text()[-2000:]


def read_version(program: str, option: str, pattern: str) -> str:
    """Return what a program says of its version, as far as the group of the pattern matches."""
    run = subprocess.run([program, option], capture_output=True, text=True, timeout=10, check=True)
    match = re.search(pattern, run.stdout + run.stderr)
    assert match is not None, f"{program} {option} prints no version"
    return match[1]
