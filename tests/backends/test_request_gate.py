"""The bounds on requests to one backend: how many are in progress, and one at a time for a step that fails."""

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from facaded.backends.failures import CircuitOpenError, CrowdedError, FailingError, NotFoundError, UnaskedError
from facaded.backends.fetcher import BUDGET, Fetcher
from facaded.backends.request_gate import BREAKER_FAILURES, MOST_REQUESTS, MOST_WAITING, RequestGate
from facaded.backends.served_content import NotServed, ReadOptions, Served
from facaded.oci.requests import Blob, ManifestRead, Read, Tags
from facaded.policy.decision import Serve
from facaded.policy.health import Step
from tests.backends.fetching import LATEST, WIDE, ask, backend, forward, manifest, serve_from, two_registries
from tests.backends.memory import BLOB, Fake, Network

BROKEN = FailingError("answered 500", backend_wide=False)


class Requests:
    """Requests through a gate that are answered by hand. `outcomes` are their results and errors, in order."""

    def __init__(self) -> None:
        self.gate = RequestGate()
        self.open: list[Deferred[str]] = []
        self.outcomes: list[object] = []

    def start(self, step: Step | None = Step.BLOB) -> Deferred[object]:
        work: Deferred[object] = Deferred.fromCoroutine(self.gate.run(step, f"image {len(self.outcomes)}", self._send))
        return work.addBoth(self._note)

    def answer(self, error: Exception | None = None) -> None:
        """Answer the first open request."""
        work = self.open.pop(0)
        if error is None:
            work.callback("good")
        else:
            work.errback(error)

    def trip(self, step: Step = Step.BLOB) -> None:
        """Let a step fail until its circuit breaker opens."""
        for _ in range(BREAKER_FAILURES):
            self.start(step)
            self.answer(FailingError("answered 500", backend_wide=False))
        self.outcomes.clear()

    async def _send(self) -> str:
        work: Deferred[str] = Deferred()
        self.open.append(work)
        return await work

    def _note(self, outcome: object) -> None:
        self.outcomes.append(outcome.value if isinstance(outcome, Failure) else outcome)


def test_requests_over_the_bound_wait_in_order() -> None:
    requests = Requests()
    for _ in range(MOST_REQUESTS + 2):
        requests.start()
    assert len(requests.open) == MOST_REQUESTS
    assert requests.gate.is_crowded()
    requests.answer()
    assert len(requests.open) == MOST_REQUESTS
    while requests.open:
        requests.answer()
    assert requests.outcomes == ["good"] * (MOST_REQUESTS + 2)
    assert not requests.gate.is_crowded()


def test_too_many_waiting_requests_fail_at_once() -> None:
    requests = Requests()
    for _ in range(MOST_REQUESTS + MOST_WAITING + 1):
        requests.start(None)
    assert [type(outcome) for outcome in requests.outcomes] == [CrowdedError]
    while requests.open:
        requests.answer()
    assert len(requests.outcomes) == MOST_REQUESTS + MOST_WAITING + 1


def test_a_cancelled_request_gives_up_its_place() -> None:
    requests = Requests()
    works = [requests.start() for _ in range(MOST_REQUESTS + 2)]
    works[-2].cancel()
    assert isinstance(requests.outcomes[0], CancelledError)
    works[0].cancel()
    assert len(requests.open) == MOST_REQUESTS + 1, "the last one got the place of the first"
    for _ in range(MOST_REQUESTS):
        requests.open.pop().callback("good")
    assert not requests.gate.is_crowded()
    requests.start()
    assert requests.gate.is_crowded() is False


def test_failures_in_a_row_open_the_breaker_for_one_request_at_a_time() -> None:
    requests = Requests()
    requests.trip()
    requests.start()
    requests.start()
    assert len(requests.open) == 1
    assert [type(outcome) for outcome in requests.outcomes] == [CircuitOpenError]
    requests.start(Step.MANIFEST)
    assert len(requests.open) == 2, "other steps are not affected"
    requests.answer()
    requests.start()
    requests.start()
    assert len(requests.open) == 3, "a success closes it"


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("answered 404"),
        FailingError("token server: answered 500", True, Step.TOKEN),
        FailingError("rate-limited (429)", True, status=429),
        UnaskedError("no descriptors"),
        CancelledError(),
        ZeroDivisionError(),
    ],
)
def test_what_says_nothing_of_a_step_does_not_open_its_breaker(error: Exception) -> None:
    requests = Requests()
    for _ in range(BREAKER_FAILURES):
        requests.start()
        requests.answer(error)
    requests.start()
    requests.start()
    assert len(requests.open) == 2


def test_failures_that_are_not_in_a_row_do_not_open_the_breaker() -> None:
    requests = Requests()
    for _ in range(3 * BREAKER_FAILURES):
        requests.start()
        requests.answer(None if len(requests.outcomes) % BREAKER_FAILURES == 0 else BROKEN)
    requests.start()
    requests.start()
    assert len(requests.open) == 2


def test_turns_come_in_order_and_one_at_a_time_until_the_step_works() -> None:
    requests, turns = Requests(), list[int]()
    requests.trip()
    requests.start()

    def go(_: None, number: int) -> None:
        turns.append(number)
        requests.start()

    for number in range(3):
        requests.gate.turn(Step.BLOB).addCallback(go, number)
    assert turns == []
    requests.answer(BROKEN)
    assert turns == [0]
    requests.answer()
    assert turns == [0, 1, 2]
    assert len(requests.open) == 2


def test_a_turn_that_is_not_used_passes_to_the_next_one() -> None:
    requests, turns = Requests(), list[int]()
    requests.trip()
    requests.start()
    waits = [requests.gate.turn(Step.BLOB).addCallbacks(lambda _, n=n: turns.append(n), lambda _: None) for n in (0, 1)]
    waits[0].cancel()
    requests.answer(BROKEN)
    assert turns == [1]
    requests.gate.turn(Step.BLOB).addCallback(lambda _: turns.append(2))
    assert turns == [1, 2], "nothing is tried now"


def test_requests_that_fail_at_once_do_not_nest() -> None:
    requests = Requests()
    for _ in range(MOST_REQUESTS + MOST_WAITING):
        requests.start()
    for _ in range(BREAKER_FAILURES):
        requests.answer(BROKEN)
    outcomes = [type(outcome) for outcome in requests.outcomes]
    assert outcomes.count(FailingError) == BREAKER_FAILURES
    assert requests.gate.is_crowded()
    while requests.open:
        requests.answer(BROKEN)
    assert len(requests.outcomes) == MOST_REQUESTS + MOST_WAITING


def reads(count: int) -> list[Read]:
    return [Blob("org/app", f"sha256:{number:064}") for number in range(count)]


def start(network: Network, fetcher: Fetcher, *requests: Read) -> list[Deferred[Served | NotServed]]:
    """Start requests, each from another source."""
    return [
        Deferred.fromCoroutine(fetcher.serve(serve_from(network, read), ReadOptions(WIDE, source=f"client {number}")))
        for number, read in enumerate(requests)
    ]


def ready(*others: str) -> tuple[Network, Fetcher]:
    """Return registries, and a fetcher that has a token."""
    network = two_registries("", *others)
    fetcher = network.fetcher()
    ask(network, fetcher)
    return network, fetcher


def test_a_backend_gets_a_bounded_number_of_requests() -> None:
    network, fetcher = ready()
    hub, before = network.fakes["hub"], len(network.fakes["hub"].requests)
    hub.fault = "hang"
    works = start(network, fetcher, *reads(MOST_REQUESTS + 10))
    assert len(hub.requests) == before + MOST_REQUESTS
    for work in works:
        work.addErrback(lambda _: None)
        work.cancel()
    hub.fault = ""
    assert backend(ask(network, fetcher, Blob("org/app", BLOB))) == "hub"
    assert network.failed == []


def test_a_request_that_got_no_place_does_not_make_the_backend_suspect() -> None:
    network, fetcher = ready("a", "b", "c")
    network.fakes["hub"].fault = "hang lists"
    for number in range(MOST_REQUESTS):
        lists = Serve(Tags("org/app", f"n={number}"), ("hub", "ghcr"), "hub")
        Deferred.fromCoroutine(fetcher.serve(lists, ReadOptions(WIDE, source=f"client {number}")))
    served = ask(network, fetcher, Blob("org/app", BLOB), seconds=3)
    assert isinstance(served, Served)
    assert (served.backend, served.failures) == ("ghcr", {"hub": "too many requests to it are in progress"})
    assert network.failed == []


def test_while_a_step_fails_requests_go_to_the_next_backend_at_once() -> None:
    network, fetcher = ready()
    hub = network.fakes["hub"]
    hub.fault = "500"
    for read in reads(BREAKER_FAILURES):
        ask(network, fetcher, read)
        network.clock.advance(10)
    hub.fault, before = "hang", len(hub.requests)
    trial, other = start(network, fetcher, Blob("org/app", BLOB), Blob("org/other", BLOB))
    assert len(hub.requests) == before + 1
    served = network.run(other)
    assert isinstance(served, Served)
    assert (served.backend, served.failures) == (
        "ghcr",
        {"hub": "failing (blob), so it gets one request at a time"},
    )
    assert backend(network.run(trial, BUDGET)) == "ghcr"
    hub.fault = ""
    network.clock.advance(10)
    works = start(network, fetcher, *[Blob("org/app", BLOB)] * 3)
    assert {backend(network.run(work)) for work in works} == {"hub"}, "it works again"


def test_one_image_that_fails_or_hangs_does_not_open_the_breaker() -> None:
    network = Network(Fake("hub"))
    fetcher, hub = network.fetcher(), network.fakes["hub"]
    hub.put("org/app", "latest")
    ask(network, fetcher)
    hub.fault = "500"
    for _ in range(2 * BREAKER_FAILURES):
        ask(network, fetcher, Blob("org/app", BLOB))
    hub.fault = "hang"
    trial, other = start(network, fetcher, Blob("org/app", BLOB), *reads(1))
    assert hub.count("GET", "/blobs/") >= 2 * BREAKER_FAILURES + 2, "the other image does not wait"
    for work in (trial, other):
        work.addErrback(lambda _: None)
        work.cancel()


def test_a_backend_that_serves_blobs_itself_does_not_fail() -> None:
    network = two_registries("bytes")
    fetcher = network.fetcher()
    for _ in range(2 * BREAKER_FAILURES):
        ask(network, fetcher, Blob("org/app", BLOB))
        network.clock.advance(11)
    assert "one request at a time" not in str(ask(network, fetcher, Blob("org/app", BLOB)))


def test_requests_wait_for_their_turn_if_no_other_backend_is_left() -> None:
    network = Network(Fake("hub"))
    fetcher, hub = network.fetcher(), network.fakes["hub"]
    hub.put("org/app", "latest")
    ask(network, fetcher)
    hub.fault = "500"
    for read in reads(BREAKER_FAILURES):
        ask(network, fetcher, read)
    hub.fault = ""
    works = start(network, fetcher, *[Blob("org/app", BLOB)] * 20)
    assert {backend(network.run(work)) for work in works} == {"hub"}


def test_a_forwarded_request_waits_for_its_turn() -> None:
    network = two_registries("500")
    fetcher, hub = network.fetcher(), network.fakes["hub"]
    hub.valid.add("mine")
    for _ in range(BREAKER_FAILURES):
        forward(network, fetcher, Blob("org/app", BLOB), "Bearer mine")
    hub.fault = ""
    works = [
        Deferred.fromCoroutine(fetcher.forward(Blob("org/app", BLOB), "hub", "Bearer mine", ReadOptions(WIDE)))
        for _ in range(3)
    ]
    assert {type(network.run(work)) for work in works} == {Served}


def test_a_token_server_that_fails_does_not_hold_up_requests_that_have_a_token() -> None:
    network, fetcher = ready()
    hub = network.fakes["hub"]
    for number in range(BREAKER_FAILURES):
        hub.fault = "token 500"
        ask(network, fetcher, ManifestRead(f"org/{number}", "latest"))
        network.clock.advance(10)
    hub.fault = "hang auth.hub.test"
    waiting, refused = start(network, fetcher, Tags("org/a"), Tags("org/b"))
    assert sum(host == "auth.hub.test" for host, _ in hub.authorizations) == BREAKER_FAILURES + 2
    assert backend(network.run(refused)) == "ghcr"
    hub.put("org/app", "more")
    assert backend(ask(network, fetcher, ManifestRead("org/app", "more"))) == "hub"
    assert backend(network.run(waiting, BUDGET)) == "ghcr"


def test_clients_that_disconnect_do_not_open_the_breaker() -> None:
    network, fetcher = ready()
    hub = network.fakes["hub"]
    hub.fault = "hang"
    for number in range(2 * BREAKER_FAILURES):
        (work,) = start(network, fetcher, LATEST if number % 2 else Blob("org/app", BLOB))
        work.addErrback(lambda _: None)
        network.agent.flush()
        work.cancel()
        network.agent.flush()
    hub.fault = ""
    works = start(network, fetcher, Blob("org/app", BLOB), Blob("org/app", BLOB))
    assert [backend(network.run(work)) for work in works] == ["hub", "hub"]
    assert manifest(ask(network, fetcher)).body
