"""The processes that answer clients: the first one, which has the metrics and the status, and its workers."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from facaded.admin.status import WorkerStatus
from facaded.net.shared_listening import FIRST

UP = "up"
"""The state of a process that answers clients."""


@frozen
class ProcessLife:
    """A process: its number, its id, since when it runs (seconds since the epoch), and its state in a word.

    A worker that is being replaced still has its number. `UP` is the only state with a meaning here.
    """

    number: int
    pid: int
    since: float
    state: str


@frozen
class Figures:
    """What a process is like now: open connections by listener, bytes in its cache, and requests since its start."""

    connections: Mapping[str, int]
    cache_bytes: int
    requests: int


class Processes:
    """What the workers add to metrics and status.

    `relayed_bytes` and `lost_lines` are those of all workers since the start of this process, ended ones included, and
    `restarts` is how often a worker was replaced.
    """

    def __init__(self) -> None:
        self.relayed_bytes = 0
        self.lost_lines = 0
        self.restarts = 0
        self._figures: dict[int, Figures] = {}
        self._lives: Callable[[], Sequence[ProcessLife]] = _no_lives

    def follow(self, lives: Callable[[], Sequence[ProcessLife]]) -> None:
        """Ask `lives` which processes there are: one for each number, with the first one, whatever its state."""
        self._lives = lives

    def note_restart(self) -> None:
        """Count that a worker was replaced."""
        self.restarts += 1

    def put(self, worker: int, figures: Figures) -> None:
        """Store what a worker is like now."""
        self._figures[worker] = figures

    def forget(self, worker: int) -> None:
        """Forget a worker that has ended."""
        self._figures.pop(worker, None)

    @property
    def count(self) -> int:
        """How many processes there are by the settings."""
        return len(self._lives()) or 1

    @property
    def up(self) -> int:
        """How many processes answer clients."""
        lives = self._lives()
        return sum(life.state == UP for life in lives) if lives else 1

    @property
    def connections(self) -> Counter[str]:
        """The connections of the workers by listener."""
        connections: Counter[str] = Counter()
        for figures in self._figures.values():
            connections.update(figures.connections)
        return connections

    @property
    def cache_bytes(self) -> int:
        """The memory that the workers' caches use, in bytes."""
        return sum(figures.cache_bytes for figures in self._figures.values())

    def statuses(self, connections: int, requests: int) -> tuple[WorkerStatus, ...]:
        """Return the status of each process; the arguments are the client connections and requests of the first one."""

        def status(life: ProcessLife) -> WorkerStatus:
            own = connections, requests
            if life.number != FIRST:
                figures = self._figures.get(life.number)
                own = (sum(figures.connections.values()), figures.requests) if figures else (0, 0)
            return WorkerStatus(life.number, life.pid, life.since, life.state, *own)

        return tuple(map(status, self._lives()))


def _no_lives() -> tuple[ProcessLife, ...]:
    return ()
