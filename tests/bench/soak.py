"""Soak: `python -m tests.bench.soak --minutes 20` runs facaded under load with faults and hostile clients.

Two registries fail in turn, a synthetic client pulls, and hostile clients attack. Every 10 s there is a line with the
pulls and the latency of their requests since the last line, and what the daemon takes. The exit status is 1 if memory,
descriptors or timers have grown, or if the daemon logged an exception.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from attrs import define, field

from tests.bench.clients import ROOT, RealClients, SyntheticClient, end, spawn
from tests.bench.judging import SPARE_DESCRIPTORS, Sample, find_errors, judge, memory_levels
from tests.bench.measuring import Meter, write_timer_count
from tests.bench.registries import Faults, ImageRegistry
from tests.process.daemon import FAST, Daemon
from tests.system.images import RandomImage
from tests.tls.authority import Authority

WARM_UP = 120.0
"""Seconds until memory has its level: caches have filled, and every kind of fault has begun."""

WARM_UP_SHARE = 0.4
"""The part of a shorter soak that is its warm-up."""

FAULT_PERIOD = 20.0
"""Seconds from one fault to the next: ten last, long enough to be down, and ten are calm."""

LINE = 10.0
"""Seconds between two lines."""

SAMPLE = 0.5
"""Seconds between two measurements."""

QUIET = 90.0
"""Seconds that connections may take to close when all clients have left: an idle one is kept for a minute."""

HEADINGS = " time     ok failed refused median   99 %    MiB files thr timers  fault"

HOSTS = 'hosts = ["docker.lab.test", "127.0.0.1"]'

CERTIFICATE = """
[[tls.certificate]]
chain = "{chain}"
key = "{key}"
"""


@define
class Options:
    """What to run: `seconds` in all, `rate` pulls a second, with `tls` and real clients if set."""

    seconds: float
    rate: float
    tls: bool
    real: bool
    line: float = LINE

    @property
    def warm_up(self) -> float:
        return min(WARM_UP, self.seconds * WARM_UP_SHARE)

    @property
    def fault_period(self) -> float:
        return min(FAULT_PERIOD, self.seconds / 6)


@define
class Soak:
    """One run: a daemon with two registries in `directory`. `say` prints a line."""

    options: Options
    directory: Path
    say: Callable[[str], None]
    image: RandomImage = field(factory=lambda: RandomImage.create(platforms=("amd64",)))
    samples: list[Sample] = field(factory=list)

    def run(self) -> int:
        """Return the exit status."""
        with ExitStack() as stack:
            registries = {
                name: ImageRegistry(host, self.image).start()
                for name, host in (("main", "127.0.0.2"), ("second", "127.0.0.3"))
            }
            for registry in registries.values():
                stack.callback(registry.stop)
            daemon = self._daemon(registries["main"], registries["second"])
            timers = write_timer_count(self.directory)
            daemon.environ["PYTHONPATH"] = os.pathsep.join([str(self.directory), str(ROOT)])
            daemon.start()
            stack.callback(lambda: daemon.kill() if daemon.process else None)
            daemon.wait_until(timers.exists, "the number of timers")
            assert daemon.process is not None
            meter = Meter(daemon.process.pid, timers)
            time.sleep(1)
            self.samples.append(meter.measure(0))
            self._load(daemon, meter, Faults(registries, self.options.fault_period))
            quiet = self._quiet(daemon, meter)
            status = daemon.stop()
        return self._report(quiet, status, daemon.log)

    def _daemon(self, main: ImageRegistry, second: ImageRegistry) -> Daemon:
        settings = FAST.format(main=main, second=second)
        if self.options.tls:
            files = Authority().write(self.directory / "tls", "docker.lab.test")
            settings = f"{HOSTS}{settings}{CERTIFICATE.format(chain=files.chain, key=files.key)}"
        return Daemon(self.directory, settings)

    def _load(self, daemon: Daemon, meter: Meter, faults: Faults) -> None:
        """Let all clients work, switch faults, and print lines, until the time is over."""
        port = daemon.https if self.options.tls else daemon.port
        client = SyntheticClient(port, daemon, self.image, self.options.rate, self.options.tls)
        hostile = spawn("hostile", daemon.host, str(port))
        real = (
            RealClients(f"{daemon.host}:{port}/org/app:latest", self.directory / "real") if self.options.real else None
        )
        try:
            self._watch(daemon, meter, faults, client)
        finally:
            client.stop()
            end(hostile)
            total = client.total
            self.say(f"pulls: {total.ok} ok, {total.failed} failed, {total.refused} refused")
            if real is not None:
                real.stop()
                for name, (good, bad) in real.pulls.items():
                    self.say(f"{name}: {good} ok, {bad} failed")
                for failure in real.failures:
                    self.say(f"failed: {failure}")
        for name in faults.registries:
            faults.switch(name, "")

    def _watch(self, daemon: Daemon, meter: Meter, faults: Faults, client: SyntheticClient) -> None:
        start, schedule, fault, line = time.monotonic(), faults.schedule(), "", 0
        change_at, name, next_fault = next(schedule)
        while (elapsed := time.monotonic() - start) < self.options.seconds:
            assert daemon.process is not None
            assert daemon.process.poll() is None, f"the daemon has ended:\n{daemon.log[-2000:]}"
            if elapsed >= change_at:
                faults.switch(name, next_fault)
                fault = f"{name} {next_fault}" if next_fault else ""
                change_at, name, next_fault = next(schedule)
            self.samples.append(meter.measure(elapsed))
            if elapsed >= (line + 1) * self.options.line:
                if line % 20 == 0:
                    self.say(HEADINGS)
                line += 1
                self.say(self._line(client, fault))
                for registry in faults.registries.values():
                    registry.requests.clear()
            time.sleep(SAMPLE)

    def _line(self, client: SyntheticClient, fault: str) -> str:
        counts, sample = client.take(), self.samples[-1]
        clock = f"{int(sample.seconds) // 60}:{int(sample.seconds) % 60:02}"
        pulls = f"{clock:>5} {counts.ok:>6} {counts.failed:>6} {counts.refused:>7}"
        latency = f"{counts.median:>6.1f} {counts.slow:>6.0f}"
        daemon = f"{sample.memory / (1 << 20):>6.1f} {sample.descriptors:>5} {sample.threads:>3} {sample.timers:>6}"
        return f"{pulls} {latency} {daemon}  {fault}".rstrip()

    def _quiet(self, daemon: Daemon, meter: Meter) -> Sample:
        """Wait until the connections have closed, for at most QUIET seconds, and measure the daemon."""
        most = self.samples[0].descriptors + SPARE_DESCRIPTORS
        end_at = time.monotonic() + QUIET
        while (quiet := meter.measure(self.options.seconds)).descriptors > most and time.monotonic() < end_at:
            time.sleep(SAMPLE)
        time.sleep(2)  # its timers are counted twice a second
        return meter.measure(quiet.seconds)

    def _report(self, quiet: Sample, status: int, log: str) -> int:
        first, last = memory_levels(self.samples, self.options.warm_up)
        self.say(
            f"memory: {first / (1 << 20):.1f} MiB after {self.options.warm_up:.0f} s, {last / (1 << 20):.1f} at the end"
        )
        start = self.samples[0]
        self.say(f"descriptors: {start.descriptors} at the start, {quiet.descriptors} at the end")
        self.say(f"timers: {start.timers} at the start, {quiet.timers} at the end")
        problems = judge(self.samples, quiet, self.options.warm_up)
        problems += [f"the log has an error:\n{excerpt}" for excerpt in find_errors(log)[:3]]
        problems += [f"the daemon ended with status {status}"] if status else []
        for problem in problems:
            self.say(f"FAILED: {problem}")
        return 1 if problems else 0


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long; default: 20")
    parser.add_argument("--rate", type=float, default=20.0, help="synthetic pulls a second; default: 20")
    parser.add_argument("--tls", action="store_true", help="pull over TLS")
    parser.add_argument("--real", action="store_true", help="pull with Skopeo and Podman too, if they are installed")
    parser.add_argument("--line", type=float, default=LINE, help="seconds between two lines; default: 10")
    arguments = parser.parse_args()
    options = Options(arguments.minutes * 60, arguments.rate, arguments.tls, arguments.real, arguments.line)
    with tempfile.TemporaryDirectory(prefix="facaded-soak-") as directory:
        return Soak(options, Path(directory), lambda line: print(line, flush=True)).run()


if __name__ == "__main__":
    sys.exit(main())
