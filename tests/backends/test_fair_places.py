"""The places for requests to one backend: how many of them, and of the queue, one source takes."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from facaded.backends.failures import CrowdedError
from facaded.backends.fetcher import BUDGET
from facaded.backends.quotas import Quotas
from facaded.backends.reached_limits import ReachedLimits
from facaded.backends.request_gate import MOST_REQUESTS, MOST_WAITING, RequestGate
from facaded.backends.served_content import NotServed, ReadOptions, Served
from facaded.backends.shares import Shares
from facaded.oci.requests import Blob, Ping, Tags
from facaded.policy.decision import Serve
from facaded.policy.limits import Limit, Limits
from tests.backends.fetching import WIDE, ask, serve_from, two_registries
from tests.backends.memory import BLOB, Fake, Network


class Askers:
    """Requests of several sources through a gate that are answered by hand."""

    def __init__(self, most_requests: int = MOST_REQUESTS) -> None:
        clock = Clock()
        limits = Limits(backend_requests_per_source=10**6)
        self.shares = Shares(clock, limits, Quotas(clock), ReachedLimits(clock))
        self.gate = RequestGate(most_requests)
        self.open: list[tuple[str, Deferred[str]]] = []
        self.errors: list[BaseException | None] = []

    def start(self, source: str, count: int = 1) -> None:
        for _ in range(count):
            asker = self.shares.asker(source)
            Deferred.fromCoroutine(self.gate.run(None, "", lambda: self._send(source), asker)).addErrback(self._note)

    def answer(self) -> None:
        """Answer the first open request."""
        self.open.pop(0)[1].callback("good")

    def count(self, source: str) -> int:
        """Return how many requests of a source are open."""
        return sum(owner == source for owner, _ in self.open)

    async def _send(self, source: str) -> str:
        work: Deferred[str] = Deferred()
        self.open.append((source, work))
        return await work

    def _note(self, failure: Failure) -> None:
        self.errors.append(failure.value)


def test_a_source_alone_leaves_a_quarter_of_the_places() -> None:
    askers = Askers()
    askers.start("a", 200)
    assert askers.count("a") == 48
    askers.start("b", 200)
    assert (askers.count("a"), askers.count("b")) == (48, 16)


def test_three_sources_leave_room_for_a_fourth() -> None:
    askers = Askers()
    for source in "abc":
        askers.start(source, 200)
    while askers.count("a") > 16:
        askers.answer()
    askers.start("d")
    assert askers.count("d") == 1


def test_waiting_sources_take_turns() -> None:
    askers = Askers(4)
    askers.start("a", 30)
    askers.start("b", 30)
    askers.start("c", 3)
    order = []
    for _ in range(12):
        order.append(askers.open[0][0])
        askers.answer()
    assert order.count("c") == 3, "they did not wait for the 54 before them"


@pytest.mark.parametrize("most", [1, 2, 3])
def test_few_places_are_not_divided(most: int) -> None:
    askers = Askers(most)
    askers.start("a", 5)
    assert askers.count("a") == most
    while askers.open:
        askers.answer()
    askers.start("a")
    assert askers.count("a") == 1


def test_a_source_has_a_quarter_of_the_queue() -> None:
    askers = Askers()
    askers.start("a", 48 + MOST_WAITING // 4)
    assert askers.errors == []
    askers.start("a")
    assert [str(error) for error in askers.errors] == ["too many requests of this client wait for it"]
    assert isinstance(askers.errors[0], CrowdedError)
    assert askers.errors[0].source == "a"
    askers.start("b", 16 + MOST_WAITING // 4)
    assert len(askers.errors) == 1


def test_in_a_full_queue_the_last_request_of_the_largest_source_makes_room() -> None:
    askers = Askers()
    for source in "abcd":
        askers.start(source, 500)
    askers.start("e", MOST_REQUESTS)
    assert askers.errors == []
    askers.start("f")
    assert [str(error) for error in askers.errors] == ["too many requests of this client wait for it"]
    assert [getattr(error, "source", "") for error in askers.errors] == ["c"]
    while askers.open:
        askers.answer()
    assert len(askers.errors) == 1


def test_in_a_queue_full_of_exempt_requests_the_next_one_is_refused() -> None:
    askers = Askers()
    askers.start("-", MOST_REQUESTS + MOST_WAITING)
    askers.start("a")
    assert [str(error) for error in askers.errors] == ["too many requests wait for it"]


def test_all_requests_that_wait_get_their_turn() -> None:
    askers = Askers()
    for source in "abcde":
        askers.start(source, 100)
    answered = 0
    while askers.open:
        askers.answer()
        answered += 1
    assert (answered, askers.errors) == (500, [])


def test_slow_requests_of_one_source_do_not_hold_up_another() -> None:
    network = two_registries()
    fetcher, hub = network.fetcher(), network.fakes["hub"]
    ask(network, fetcher)
    hub.fault = "hang"
    for number in range(400):
        serve = serve_from(network, Blob("org/app", f"sha256:{number:064}"))
        Deferred.fromCoroutine(fetcher.serve(serve, ReadOptions(WIDE, source="192.0.2.66")))
    hub.fault = ""
    served = ask(network, fetcher, Blob("org/app", BLOB))
    assert isinstance(served, Served)
    assert (served.backend, served.failures) == ("hub", {})


@pytest.mark.parametrize(("sources", "subject"), [(4, "hub"), (1, "hub, client 0")])
def test_a_request_that_got_no_place_in_time_is_noted(sources: int, subject: str) -> None:
    network = two_registries("", "a", "b", "c")
    network.shares.reconfigure(Limits(backend_requests_per_source=10**4))
    fetcher = network.fetcher()
    ask(network, fetcher)
    network.fakes["hub"].fault = "hang lists"
    for number in range(MOST_REQUESTS):
        lists = Serve(Tags("org/app", f"n={number}"), ("hub", "ghcr"), "hub")
        Deferred.fromCoroutine(fetcher.serve(lists, ReadOptions(WIDE, source=f"client {number % sources}")))
    options = ReadOptions(WIDE, source="client 0")
    work = Deferred.fromCoroutine(fetcher.serve(serve_from(network, Blob("org/app", BLOB)), options))
    served = network.run(work, 3)
    assert isinstance(served, Served)
    assert (served.backend, served.failures) == ("ghcr", {"hub": "too many requests to it are in progress"})
    assert network.reached_limits.all()[Limit.BACKEND_REQUESTS].subject == subject
    assert network.failed == []


def test_a_request_that_got_its_place_too_late_says_nothing_of_the_backend() -> None:
    network = Network(Fake("hub", fault="hang lists"))
    fetcher = network.fetcher()
    works = []
    for number in range(4 * MOST_REQUESTS):
        lists = Serve(Tags("org/app", f"n={number}"), ("hub",), "hub")
        options = ReadOptions(WIDE, source=f"client {number % 8}")
        works.append(Deferred.fromCoroutine(fetcher.serve(lists, options)))
    assert network.run(works[-1], BUDGET) == NotServed({"hub": "too many requests to it are in progress"}, ())


def test_a_forwarded_request_that_finds_the_queue_full_is_noted() -> None:
    network = Network(Fake("hub"))
    network.shares.reconfigure(Limits(backend_requests_per_source=10**4))
    fetcher, hub = network.fetcher(), network.fakes["hub"]
    hub.valid.add("mine")

    def forward() -> Deferred[object]:
        return Deferred.fromCoroutine(fetcher.forward(Ping(), "hub", "Bearer mine", ReadOptions(WIDE, source="c")))

    network.run(forward())
    hub.fault = "hang"
    works = [forward() for _ in range(48 + MOST_WAITING // 4 + 1)]
    assert network.run(works[-1]) == NotServed({"hub": "too many requests of this client wait for it"}, ())
    assert network.reached_limits.all()[Limit.BACKEND_REQUESTS].subject == "hub, c"
