"""Simulated years of an ACME client: outages of the CA, of the network and of the process, and wrong clocks.

By hand: `python -m tests.tls.acme.simulation --years 1 --seed 1` prints a table, and fails if a certificate lapsed
although the CA was up for a tenth of its validity (10 minutes at least) between the due renewal and its expiry.
"""

import argparse
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IResponse

from facaded.tls.acme.acme_client import AcmeClient
from facaded.tls.acme.schedule import DAY, HOUR, MINUTE, RENEWAL_FRACTION, SPREAD, WEEK
from facaded.tls.acme.settings import AcmeSettings
from facaded.tls.acme.wire import CaNetwork
from facaded.tls.server_certificate import ServerCertificate
from tests.tls.acme.memory import CLOSED, NAME, MemoryCa, MemoryNetwork, RecordingResponder
from tests.tls.acme.test_schedule import most_within

LIVES = {"6 h": 6 * HOUR, "24 h": DAY, "6 days": 6 * DAY, "47 days": 47 * DAY, "90 days": 90 * DAY}

TROUBLES = ("down", "errors", "hangs", "unfinished", "network", "closed", "process")
"""What an outage is: the CA refuses connections, answers 503, does not answer, or fails at the end of an order; this
machine has no network, or the CA cannot reach it; the process does not run."""

LONGEST_OUTAGE = 3 * DAY
LOST_ANSWERS = 0.02
KILLS = 0.01
"""Fractions of the requests whose answer is lost, and which a kill -9 follows."""

LARGEST_SKEW = 3 * HOUR
UPTIME, SHORTEST_UPTIME = 0.1, 10 * MINUTE
"""Fraction of the validity, and seconds at least, of continuous uptime that must suffice for a renewal."""

STEP = 60.0


@frozen
class Outage:
    start: float
    end: float
    trouble: str


def outages(random: Random, life: float, begin: float, end: float) -> Iterator[Outage]:
    """Yield outages of minutes to days, at intervals that are shorter and longer than a renewal takes."""
    at = begin + life * (1 + random.random())
    while at < end:
        longest = LONGEST_OUTAGE if random.random() < 0.2 else min(life, LONGEST_OUTAGE)
        length = math.exp(random.uniform(math.log(MINUTE), math.log(longest)))
        yield Outage(at, at + length, random.choice(TROUBLES))
        at += length + random.expovariate(1 / max(life / 4, HOUR))


class TroubledNetwork(MemoryNetwork):
    """A network on which answers are lost, and during whose requests the process is killed."""

    def __init__(self, random: Random) -> None:
        MemoryNetwork.__init__(self, "ca")
        self.random = random
        self.calm = True
        self.killed = False
        self.cas["ca"].loses = lambda _: not self.calm and self.random.random() < LOST_ANSWERS

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        response = MemoryNetwork.request(self, method, uri, headers, bodyProducer)
        if self.killed or (not self.calm and self.random.random() < KILLS):
            self.killed = True
            response.addErrback(lambda _: None)
            return Deferred()
        return response


@define
class Tally:
    """What happened in one simulation; `lapses` are unexcused, `extras` the times of certificates nobody needed."""

    renewals: int = 0
    orders: int = 0
    kills: int = 0
    excused: int = 0
    lapses: list[float] = field(factory=list)
    extras: list[float] = field(factory=list)
    failed: list[float] = field(factory=list)
    up: float = 0.0

    @property
    def extras_a_week(self) -> int:
        return most_within(self.extras, WEEK)

    @property
    def failed_an_hour(self) -> int:
        return most_within(self.failed, HOUR)

    @property
    def is_good(self) -> bool:
        return not self.lapses and self.extras_a_week < 5 and self.failed_an_hour < 5


class Simulation:
    """One client with certificates for `life` seconds, for `duration` seconds."""

    certificate: ServerCertificate | None = None

    def __init__(self, directory: Path, life: float, duration: float, seed: int) -> None:
        self.random = Random(seed)
        self.life = life
        self.network = TroubledNetwork(self.random)
        self.ca: MemoryCa = self.network.cas["ca"]
        self.ca.validity = life
        self.directory = directory / "0"
        self.skew = 0.0
        self.responder = RecordingResponder()
        self.tally = Tally()
        self.acme: AcmeClient | None = None
        self.begin = self.network.now()
        self.end = self.begin + duration
        self.outages = list(outages(self.random, life, self.begin, self.end))
        self.up_since = self.begin
        self.ups: list[tuple[float, float]] = []
        self._counted = 0
        self._issued_for: float | None = None

    def run(self) -> Tally:
        """Return what happened."""
        self.start()
        self.pass_time(STEP)
        assert self.certificate is not None
        skew_at = self.network.now() + self.random.expovariate(1 / (4 * self.life))
        for outage in [*self.outages, Outage(self.end, self.end, "down")]:
            self.network.calm = False
            while self.network.now() < outage.start:
                if self.network.now() >= skew_at:
                    self.skew = self.random.choice((0.0, 1.0)) * self.random.uniform(-LARGEST_SKEW, LARGEST_SKEW)
                    skew_at += self.random.expovariate(1 / (4 * self.life))
                    self.pass_time(STEP)  # the client checks its clock every minute
                self.advance(min(outage.start, skew_at))
            self.suffer(outage)
        self.tally.failed = self.ca.failed
        self.tally.up = sum(end - start for start, end in self.ups) / (self.network.now() - self.begin)
        return self.tally

    def start(self) -> None:
        network = self.network
        self.acme = AcmeClient(
            CaNetwork(network.connect, network.clock, lambda: network.now() + self.skew),
            Random(self.random.random()),
            AcmeSettings(domains=((NAME,),), cas=(self.ca.settings,)),
            self.directory,
            self.responder,
            lambda: None,
        )
        self.acme.startService()

    def kill(self) -> None:
        """Go on with a copy of the directory: what the client writes when it is stopped is lost."""
        assert self.acme is not None
        self.tally.kills += 1
        copy = self.directory.with_name(str(int(self.directory.name) + 1))
        shutil.copytree(self.directory, copy)
        self.network.killed = True
        self.acme.stopService()
        self.network.settle()
        self.network.killed = False
        shutil.rmtree(self.directory)
        self.directory, self.acme = copy, None

    def suffer(self, outage: Outage) -> None:
        """Let an outage begin, last and end."""
        ca, now = self.ca, self.network.now
        self.ups.append((self.up_since, now()))
        retry_after = (
            {"Retry-After": str(self.random.choice((60, 7200, 99999999)))} if self.random.random() < 0.5 else {}
        )
        match outage.trouble:
            case "down" | "network":
                ca.down = True
            case "errors":
                ca.faults["directory"] = 503, retry_after, b""
            case "hangs":
                ca.hangs = True
            case "unfinished":
                ca.faults["finalize"] = 500, {}, b""
            case "closed":
                ca.refusal = CLOSED
            case "process":
                self.kill()
        while now() < outage.end:
            self.advance(outage.end)
        ca.down = ca.hangs = False
        ca.refusal = None
        ca.faults.clear()
        if self.acme is None:
            self.start()
        ca.slow_issuance = self.random.choice((0.0, 0.0, 0.0, 45.0, 400.0))
        self.up_since = now()

    def advance(self, until: float) -> None:
        """Let time pass until the client has something to do, but not beyond `until`."""
        now = self.network.now()
        next_at = min(until, self.next_action()) if self.acme else until
        if next_at - now > 3 * STEP:
            self.network.clock.rightNow += next_at - now - 2 * STEP  # the checks in between would change nothing
        self.pass_time(min(STEP, max(until - self.network.now(), 1.0)))

    def next_action(self) -> float:
        """Return when the client has something to do."""
        assert self.acme is not None
        inventory = self.acme._inventory
        (entry,) = inventory
        return min(inventory.due_at(entry), entry.information_at) - self.skew

    def pass_time(self, seconds: float) -> None:
        self.network.pass_time(seconds)
        if self.network.killed and self.acme:
            self.kill()
            self.start()
        self.ca.requests.clear()
        self.ca.payloads.clear()
        self.responder.history.clear()
        self.account()

    def account(self) -> None:
        """Count what was issued, and judge a certificate that was replaced."""
        now = self.network.now()
        for at in self.ca.issued[self._counted :]:
            self.tally.orders += 1
            if self._issued_for == self.expiry or at < self.due - SPREAD * self.life - STEP:
                self.tally.extras.append(at)
            self._issued_for = self.expiry
        self._counted = len(self.ca.issued)
        current = next(iter(self.acme.current().values()), None) if self.acme else None
        if current is None or current == self.certificate:
            return
        if self.certificate is not None:
            self.tally.renewals += 1
            if now > self.expiry:
                self.judge(now)
        self.certificate = current

    @property
    def expiry(self) -> float:
        return self.certificate.validity.end if self.certificate else 0.0

    @property
    def due(self) -> float:
        return self.expiry - self.life * RENEWAL_FRACTION

    def judge(self, now: float) -> None:
        """Count a lapse: it is excused if there was no uptime that is long enough."""
        enough = max(UPTIME * self.life, SHORTEST_UPTIME)
        uptimes = [*self.ups, (self.up_since, now)]
        usable = (min(end, self.expiry) - max(start, self.due) for start, end in uptimes)
        if any(length >= enough for length in usable):
            self.tally.lapses.append(self.expiry)
        else:
            self.tally.excused += 1


def simulate(life: float, duration: float, seed: int) -> Tally:
    """Return what happened in one simulation, whose files are in memory if possible."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        return Simulation(Path(directory), life, duration, seed).run()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--life", choices=LIVES, action="append")
    options = parser.parse_args()
    columns = ("life", "renewals", "issued", "kills", "up", "excused", "LAPSED", "extra/week", "refused/hour")
    print("".join(column.rjust(13) for column in columns))
    is_good = True
    for name in options.life or LIVES:
        tally = simulate(LIVES[name], options.years * 365 * DAY, options.seed)
        counts = (tally.renewals, tally.orders, tally.kills, f"{tally.up:.0%}", tally.excused, len(tally.lapses))
        cells = (name, *counts, tally.extras_a_week, tally.failed_an_hour)
        print("".join(str(cell).rjust(13) for cell in cells), flush=True)
        is_good = is_good and tally.is_good
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
