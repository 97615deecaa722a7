"""The direct and the ordinary path of the site side by side: every byte and event, and every id, must be the same.

`python -m tests.fuzz.both_paths 100000` sends as many requests down both.
"""

import re
import sys
from collections.abc import Iterable
from ipaddress import ip_network
from random import Random

from attrs import define, evolve, field
from twisted.internet.task import Clock

from facaded.backends.reached_limits import ReachedLimits
from facaded.policy.decision import BackendRules, Mode, Rules
from facaded.policy.health import Step
from facaded.policy.limits import Limits
from facaded.policy.repositories import parse
from facaded.web.admission import Admission, AdmissionSettings
from facaded.web.answered_requests import AnsweredRequest
from facaded.web.facade import Facade
from facaded.web.request_ids import number_requests
from facaded.web.returning_clients import ReturningClients
from facaded.web.server import BoundedRequest, BoundedSite
from tests.backends.memory import Fake, Network
from tests.fuzz import seeds
from tests.fuzz.checking import no_error_is_logged
from tests.fuzz.mutations import MOST_EDITS, Edit, Kind, mutate
from tests.watching import BAD, GOOD, Watching
from tests.web.raw import Connection

RULES = Rules(
    hosts=("facade.test", "x"),
    repositories=(parse("org/*"),),
    backends={"main": BackendRules("https://main.test"), "second": BackendRules("https://second.test")},
)

PROXY = "192.0.2.7"
"""The address of all connections, which is a trusted proxy in some rounds."""

ROUND = 250
"""Requests until settings and backends are other ones."""

REPEATED = 0.5
"""The part of the requests that are the same as one of the last `EARLIER`, whose answer may have been kept."""

EARLIER = 10

TURNS = 8
"""How often the network in memory is run after a request that needs a backend."""

_DATE = re.compile(rb"\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n")

HEADER_LINES = (
    b"Connection: close",
    b"connection: Keep-Alive",
    b"Connection: close, TE",
    b"Content-Length: 0",
    b"Content-Length: 3",
    b"Transfer-Encoding: chunked",
    b"Expect: 100-continue",
    b"Upgrade: h2c",
    b"Host: other.test",
    b"Host: x:5000",
    b"X-Forwarded-For: 198.51.100.7",
    b"X-Forwarded-For: nonsense, 203.0.113.9",
    b"Forwarded: for=198.51.100.8;proto=https",
    b"X-Forwarded-Proto: https",
    b"Authorization: Bearer facaded-serves-this-pull",
    b"Authorization: Bearer other",
    b"Accept:\t" + seeds.MANIFEST_TYPE.encode(),
    b"If-None-Match: " + b'"' + seeds.MANIFEST_DIGEST.encode() + b'"',
    b"Accept: text/html,application/xhtml+xml,*/*;q=0.8",
    b"Accept: text/html;q=0, */*",
    b"If-None-Match: *",
    b"Host: 192.0.2.1:8080",
    b"Range: bytes=3-",
    b"Cookie: a=b; c",
    b"User-Agent: skopeo/1.22.0",
    b"X-Empty:",
    b"X-High: \xe9\xff",
    b"X-Control: a\x01b",
    b" folded",
    b"Bad Name: x",
)

TARGETS = (
    b"/",
    b"/org/app",
    b"/org/app:v1",
    b"/_facaded/page.css",
    b"/v2/",
    b"/v2",
    b"/token?service=x",
    b"/v2/_catalog",
    b"/v2/org/app/manifests/latest",
    b"/v2/org/app/manifests/latest?ns=x",
    b"/v2/org/app/manifests/none",
    b"/v2/org/app/manifests/" + seeds.MANIFEST_DIGEST.encode(),
    b"/v2/org/app/blobs/" + seeds.BLOB_DIGEST.encode(),
    b"/v2/org/app/tags/list?n=3",
    b"/v2/org/app/referrers/" + seeds.MANIFEST_DIGEST.encode(),
    b"/v2/other/app/manifests/latest",
    b"/v2/org/app/blobs/uploads/",
    b"/v2/org/App/manifests/latest",
    b"/.well-known/acme-challenge/x",
    b"/v2/org/app/manifests/a\xe9",
    b"//v2/",
    b"*",
    b"http://x/v2/",
    b"/v2/?" + b"a&" * 201,
)


class CountedRequest(BoundedRequest):
    """A request on the ordinary path."""

    count = 0

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        CountedRequest.count += 1
        super().requestReceived(command, path, version)


@define
class Side:
    """A site with a facade over two registries, for one of the paths."""

    is_direct: bool
    mode: Mode
    is_proxied: bool
    rate: int
    is_down: bool
    trust: float
    clock: Clock = field(factory=Clock)
    answered: list[AnsweredRequest] = field(factory=list)
    network: Network = field(init=False)
    watching: Watching = field(init=False)
    reached: ReachedLimits = field(init=False)
    site: BoundedSite = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.network = Network(Fake("main"), Fake("second"))
        for fake in self.network.fakes.values():
            fake.put("org/app", "latest", seeds.MANIFEST_TYPE, seeds.MANIFEST)
        self.watching = watching = Watching.begin("main", "second", trust=self.trust)
        watching.backends.answer("main", BAD if self.is_down else GOOD)
        watching.backends.answer("second", GOOD)
        self.reached = ReachedLimits(self.clock)
        returning = ReturningClients(self.clock.seconds, watching.watch.probe_soon)
        facade = Facade(watching.watch, evolve(RULES, mode=self.mode), self.network.fetcher(), returning)
        limits = Limits(requests_per_source=self.rate)
        proxies = (ip_network(PROXY),) if self.is_proxied else ()
        admission = Admission(self.clock, self.reached, AdmissionSettings(limits, trusted_proxies=proxies))
        ids = number_requests("both")
        self.site = BoundedSite(facade, self.clock, [self.answered.append], admission, request_ids=ids)
        if self.is_direct:
            self.site.requestFactory = CountedRequest
        else:
            self.site.direct = None

    def send(self, connection: Connection, pieces: Iterable[bytes]) -> bytes:
        """Send these pieces, and return what comes back, but for the date."""
        received = b""
        for piece in pieces:
            received += connection.send(piece)
            for _ in range(TURNS):
                self.network.agent.flush()
            self.clock.advance(0.002)
        return _DATE.sub(b"\r\nDate\r\n", received + connection.received())

    def let_pass(self, seconds: float, failed: Step | None) -> None:
        """Let time pass, and then end the check of the first backend, if there is one; a step of it may have failed."""
        self.clock.advance(seconds)
        self.watching.clock.advance(seconds)
        if "main" in self.watching.backends.checking:
            self.watching.backends.end_check("main", self.watching.clock.seconds(), failed)

    def events(self) -> list[AnsweredRequest]:
        """Return the requests that were answered since the last call, without how long that took."""
        events, self.answered[:] = [evolve(answered, seconds=0.0, at=0.0) for answered in self.answered], []
        return events


def make_request(random: Random) -> bytes:
    """Return a request, mostly a simple one, sometimes one that is none or no HTTP at all."""
    method = random.choices([b"GET", b"HEAD", b"POST", b"get"], [20, 6, 1, 1])[0]
    version = random.choices([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0"], [30, 1, 1])[0]
    lines = [b"Host: facade.test", b"User-Agent: " + random.choice(seeds.USER_AGENTS).encode()]
    lines += random.sample(HEADER_LINES, random.choices([0, 1, 2, 3], [6, 6, 2, 1])[0])
    if random.random() < 0.1:
        random.shuffle(lines)
    target = random.choices(TARGETS, [1, 6, 1, 1, 1, *[8] * 7, *[1] * (len(TARGETS) - 12)])[0]
    request = b"\r\n".join([b" ".join([method, target, version]), *lines, b"", b""])
    if random.random() < 0.1:
        request = mutate(request, [_make_edit(random) for _ in range(random.randint(1, MOST_EDITS))])
    return request


def _make_edit(random: Random) -> Edit:
    payload = random.choice([*HEADER_LINES, random.randbytes(3)])
    return Edit(random.choice(list(Kind)), random.randrange(1 << 16), random.randint(1, 64), payload, 2)


def compare(requests: int, seed: int = 7) -> float:
    """Send requests down both paths, and return the part of them that was answered directly. Raises AssertionError."""
    random, sent, CountedRequest.count = Random(seed), 0, 0
    while sent < requests:
        rate = random.choice([1, 1000])
        is_proxied, is_down, trust = random.random() < 0.3, random.random() < 0.2, random.choice([0.0, 0.0, 2.0])
        settings = random.choice(list(Mode)), is_proxied, rate, is_down, trust
        sides = [Side(is_direct, *settings) for is_direct in (True, False)]
        earlier, end = list[bytes](), sent + ROUND
        while sent < end:
            connections = [Connection(side.site, PROXY) for side in sides]
            for _ in range(random.randint(1, 5)):
                batch = [make_request(random) for _ in range(random.choices([1, 2, 3], [20, 1, 1])[0])]
                if random.random() < REPEATED:
                    batch = [random.choice(earlier)] if earlier else batch
                earlier = [*earlier[1 - EARLIER :], *batch]
                pieces = [b"".join(batch)] if random.random() < 0.9 else [batch[0][:40], batch[0][40:], *batch[1:]]
                pause, failed = random.choice([0.0, 0.01, 1.1]), random.choice([None, None, Step.MANIFEST])
                received = [side.send(connection, pieces) for side, connection in zip(sides, connections, strict=True)]
                for side in sides:
                    side.let_pass(pause, failed)
                assert received[0] == received[1], pieces
                assert sides[0].events() == sides[1].events(), pieces
                assert connections[0].closed == connections[1].closed, pieces
                sent += len(batch)
            for connection in connections:
                connection.lose()
        assert sides[0].reached.all() == sides[1].reached.all()
    return 1 - CountedRequest.count / sent


if __name__ == "__main__":
    with no_error_is_logged():
        share = compare(int(sys.argv[1]))
    print(f"{sys.argv[1]} requests: the same bytes and events on both paths; {share:.0%} were answered directly")
