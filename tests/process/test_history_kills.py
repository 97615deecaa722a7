"""The history of a process that is killed while it writes: nothing that was written is lost, or damaged."""

import random
import signal
import subprocess
import sys
from pathlib import Path

from facaded.history.history_file import NAME
from facaded.history.history_store import HistoryStore
from facaded.history.past import HistoryBatch
from facaded.history.queries import read_pulls
from tests.history.recording import NOON, SIZE, place

KILLS = 10

WRITER = """
import sys
from pathlib import Path
from facaded.history.history_store import HistoryStore
from facaded.history.past import DAY, HistoryBatch, MinuteCount
from tests.history.recording import NOON, place, pull

store = HistoryStore(place(Path(sys.argv[1])))
for number in range(100_000):
    minute = MinuteCount(int(NOON // 60) + number, "served", "docker", 1)
    pulls = tuple((pull(f"v{number % 7}-{row}"), 1) for row in range(100))
    problem = store.write(HistoryBatch(NOON + number % 3 * DAY, requests=(minute,), pulls=pulls))
    print(problem or "written", flush=True)
"""


def write_until_killed(directory: Path, seconds: float) -> int:
    """Start a process that writes, kill it so long after its first write, and return how many writes it reported."""
    command = [sys.executable, "-c", WRITER, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    complete = [line for line in lines if line.endswith("\n")]
    assert set(complete) == {"written\n"}, "nothing was set aside, and nothing locked"
    return len(complete)


def test_what_a_killed_process_has_written_is_there(tmp_path: Path) -> None:
    dice, written = random.Random(18), 0
    for _ in range(KILLS):
        written += write_until_killed(tmp_path, dice.random() / 4)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= SIZE
    assert (tmp_path / f"{NAME}-wal").exists(), "it was killed"
    store = HistoryStore(place(tmp_path))
    assert store.write(HistoryBatch(NOON)) == ""
    pulls = store.read(lambda connection: read_pulls(connection, 0)).whole.pulls
    assert 100 * written <= pulls <= 100 * (written + KILLS)
    store.close()
