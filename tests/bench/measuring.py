"""Measures a daemon from outside: /proc, and the timers of its reactor."""

from pathlib import Path

from attrs import define

from tests.bench.judging import Sample

PAGE = 4096

COUNT_TIMERS = """
import os, sys, threading, time

PATH = {path!r}

def write(reactor):
    with open(PATH + ".new", "w") as file:
        file.write(str(len(reactor.getDelayedCalls())))
    os.replace(PATH + ".new", PATH)

def watch():
    while True:
        time.sleep(0.5)
        reactor = sys.modules.get("twisted.internet.reactor")
        if getattr(reactor, "running", False):
            reactor.callFromThread(write, reactor)

threading.Thread(target=watch, daemon=True).start()
"""
"""A sitecustomize.py that writes the number of timers of the process's reactor into a file, twice a second."""


@define
class Meter:
    """Measures the process `pid`, whose timers are counted in the file `timers`."""

    pid: int
    timers: Path

    def measure(self, seconds: float) -> Sample:
        process = Path("/proc") / str(self.pid)
        memory = int((process / "statm").read_text().split()[1]) * PAGE
        descriptors = len(list((process / "fd").iterdir()))
        threads = len(list((process / "task").iterdir())) - 1  # without the one that counts timers
        timers = int(self.timers.read_text()) if self.timers.exists() else 0
        return Sample(seconds, memory, descriptors, threads, timers)


def write_timer_count(directory: Path) -> Path:
    """Write a sitecustomize.py into `directory`, and return the file that it will write."""
    path = directory / "timers"
    (directory / "sitecustomize.py").write_text(COUNT_TIMERS.format(path=str(path)))
    return path
