"""The site from bytes in to bytes out, with the real facade over registries in memory."""

import re

from attrs import define, field, frozen
from hypothesis import strategies as st
from twisted.internet.task import Clock

from facaded.policy.decision import BackendRules, Rules
from facaded.policy.repositories import parse
from facaded.web.answered_requests import AnsweredRequest
from facaded.web.facade import Facade
from facaded.web.request_ids import number_requests
from facaded.web.returning_clients import ReturningClients
from facaded.web.server import BoundedSite
from facaded.web.strict_channel import BAD_REQUEST
from tests.backends.memory import Fake, Network
from tests.fuzz import seeds
from tests.fuzz.checking import Property, no_error_is_logged, timers_left
from tests.fuzz.mutations import CUTS, mutated, split
from tests.watching import GOOD, Watching
from tests.web.raw import Connection

RULES = Rules(
    repositories=(parse("org/*"),),
    backends={"main": BackendRules("https://main.test"), "second": BackendRules("https://second.test")},
)

TURNS = 12
"""How often the network in memory is run: more than the steps of any request."""

MOST_REQUESTS = 4

BARE = (BAD_REQUEST, b"HTTP/1.1 400 Bad Request\r\n\r\n")
"""What refuses a request that cannot be parsed: facaded's response, and Twisted's, which has no length."""

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5]\d\d) [ -~]+")
_HEADER_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([ -~]*)")
_DATE = re.compile(rb"\r\nDate: [^\r]*")


@frozen
class Exchange:
    """What was sent on one connection and what came back: `answered` are the requests that the site answered."""

    received: bytes
    answered: tuple[AnsweredRequest, ...]
    closed: bool

    @property
    def comparable(self) -> tuple[bytes, bool]:
        """What must not depend on how the bytes are split: all but the time."""
        return _DATE.sub(b"", self.received), self.closed


@define
class Server:
    """A site with the real facade, over two registries with the same image; `clock` stands still."""

    clock: Clock = field(factory=Clock)
    network: Network = field(factory=lambda: Network(Fake("main"), Fake("second")))
    answered: list[AnsweredRequest] = field(factory=list)
    site: BoundedSite = field(init=False)

    def __attrs_post_init__(self) -> None:
        for fake in self.network.fakes.values():
            fake.put("org/app", "latest", seeds.MANIFEST_TYPE, seeds.MANIFEST)
        watching = Watching.begin("main", "second")
        for name in ("main", "second"):
            watching.backends.answer(name, GOOD)
        returning = ReturningClients(watching.clock.seconds, watching.watch.probe_soon)
        facade = Facade(watching.watch, RULES, self.network.fetcher(), returning)
        self.site = BoundedSite(facade, self.clock, [self.answered.append], request_ids=number_requests("site"))

    def exchange(self, pieces: list[bytes]) -> Exchange:
        """Send these pieces on a connection, wait for the answers, and close it."""
        connection = Connection(self.site)
        received = b""
        for piece in pieces:
            received += connection.send(piece)
            self._run()
        received += connection.received()
        exchange = Exchange(received, tuple(self.answered), connection.closed)
        connection.lose()
        self._run()
        assert timers_left(self.clock) == []
        assert self.site.channels == set()
        return exchange

    def _run(self) -> None:
        for _ in range(TURNS):
            self.network.agent.flush()
            self.clock.advance(0)


def read_responses(exchange: Exchange) -> int:
    """Return the number of complete responses, and check that there is nothing else."""
    rest, count = exchange.received, 0
    for answered in exchange.answered:
        head, found, rest = rest.partition(b"\r\n\r\n")
        assert found, "a response without an end of its head"
        status_line, *header_lines = head.split(b"\r\n")
        status = _STATUS_LINE.fullmatch(status_line)
        assert status, status_line
        assert int(status[1]) == answered.status
        headers = [_HEADER_LINE.fullmatch(line) for line in header_lines]
        assert all(headers), header_lines
        lengths = [header[2] for header in headers if header and header[1].lower() == b"content-length"]
        assert len(lengths) == (0 if answered.status in (204, 304) else 1), header_lines
        if answered.method != "HEAD" and lengths:
            assert len(rest) >= int(lengths[0]), "a response is cut off"
            rest = rest[int(lengths[0]) :]
        count += 1
    if rest:
        assert rest in BARE, rest
        assert exchange.closed
        count += 1
    return count


def check_exchange(example: tuple[list[bytes], list[int]]) -> None:
    """Any bytes get well-formed responses or a close, at most one for each request, however they are split."""
    data = b"".join(example[0])
    with no_error_is_logged():
        whole = Server().exchange([data])
        pieces = Server().exchange(split(data, example[1]))
    assert read_responses(whole) <= data.count(b"\r\n\r\n") + 1
    assert whole.comparable == pieces.comparable, "another answer to the same bytes in pieces"


def check_valid_requests(example: tuple[list[bytes], list[int]]) -> None:
    """Each of several valid requests gets its answer, up to one that announces the end of the connection."""
    data = b"".join(example[0])
    with no_error_is_logged():
        exchange = Server().exchange(split(data, example[1]))
    assert read_responses(exchange) == len(exchange.answered), "no bare 400"
    assert len(exchange.answered) == len(example[0]) or b"\r\nConnection: close\r\n" in exchange.received


PROPERTIES = (
    Property(
        "site",
        st.tuples(st.lists(mutated(seeds.REQUESTS, seeds.HTTP_WORDS), min_size=1, max_size=MOST_REQUESTS), CUTS),
        check_exchange,
        50,
    ),
    Property(
        "pipelined requests",
        st.tuples(st.lists(st.sampled_from(seeds.REQUESTS), min_size=1, max_size=MOST_REQUESTS), CUTS),
        check_valid_requests,
        30,
    ),
)
