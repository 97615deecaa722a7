"""Clients that ask for the same at the same time: one request, in which no source waits for the turn of another."""

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred

from facaded.backends.fetcher import BUDGET, Fetcher
from facaded.backends.request_gate import MOST_REQUESTS
from facaded.backends.served_content import NotServed, ReadOptions, Served
from facaded.oci.requests import Blob, Read, Referrers, Tags
from facaded.policy.decision import Serve
from facaded.policy.limits import Limits
from tests.backends.fetching import LATEST, WIDE, ask, two_registries
from tests.backends.memory import BLOB, Fake, Network

STRANGER, HONEST = "192.0.2.66", "192.0.2.1"


@define
class Clients:
    """Clients of a facaded that has the registries of a network, and the token for org/app at each."""

    network: Network = field(factory=two_registries)
    fetcher: Fetcher = field(init=False)
    works: list[Deferred[Served | NotServed]] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.network.shares.reconfigure(Limits(backend_requests_per_source=10**4))
        self.fetcher = self.network.fetcher()
        ask(self.network, self.fetcher, Blob("org/app", BLOB))

    @property
    def hub(self) -> Fake:
        return self.network.fakes["hub"]

    def start(self, read: Read, source: str) -> Deferred[Served | NotServed]:
        serve = Serve(read, tuple(self.network.fakes), "hub")
        work = Deferred.fromCoroutine(self.fetcher.serve(serve, ReadOptions(WIDE, source=source)))
        self.works.append(work)
        return work

    def crowd(self, source: str) -> None:
        """Let a source take its part of the places with slow lists, so that its next requests wait."""
        self.hub.fault = "hang lists"
        for number in range(100):
            self.start(Tags("org/app", f"n={number}"), source)

    def settle(self) -> None:
        """Let all requests end."""
        for work in self.works:
            self.network.run(work, BUDGET)

    def heads(self) -> int:
        return self.hub.count("HEAD", "manifests/latest")


def is_served_by_hub(served: Served | NotServed) -> bool:
    return isinstance(served, Served) and (served.backend, served.failures) == ("hub", {})


@pytest.mark.parametrize("read", [LATEST, Referrers("org/app", BLOB)])
def test_a_request_that_waits_is_not_joined_by_another_source(read: Read) -> None:
    clients = Clients()
    clients.crowd(STRANGER)
    clients.start(read, STRANGER)
    clients.network.agent.flush()
    clients.hub.fault = ""
    assert is_served_by_hub(clients.network.run(clients.start(read, HONEST)))
    clients.settle()


def test_a_request_that_others_joined_keeps_its_place_to_the_end() -> None:
    clients = Clients()
    clients.start(LATEST, STRANGER)
    clients.crowd(STRANGER)
    assert is_served_by_hub(clients.network.run(clients.start(LATEST, HONEST)))
    assert clients.heads() == 1
    clients.settle()


def test_a_request_in_progress_is_joined_by_a_source_that_would_have_to_wait() -> None:
    clients = Clients()
    clients.crowd(STRANGER)
    clients.start(LATEST, HONEST)
    assert is_served_by_hub(clients.network.run(clients.start(LATEST, STRANGER)))
    assert clients.heads() == 1
    clients.settle()


def test_what_another_source_has_fetched_meanwhile_is_not_fetched_again() -> None:
    clients = Clients()
    clients.crowd(STRANGER)
    waiting = clients.start(LATEST, STRANGER)
    clients.network.run(clients.start(LATEST, HONEST))
    assert is_served_by_hub(clients.network.run(waiting, BUDGET))
    assert clients.heads() == 1
    clients.settle()


def test_waiting_requests_of_one_source_for_the_same_are_one() -> None:
    clients = Clients()
    clients.crowd(STRANGER)
    works = [clients.start(LATEST, STRANGER) for _ in range(600)]
    assert all(is_served_by_hub(clients.network.run(work, BUDGET)) for work in works)
    assert clients.heads() == 1
    clients.settle()


def test_a_timeout_of_one_that_joined_a_waiting_request_says_nothing_of_the_backend() -> None:
    clients = Clients(two_registries("", "a", "b", "c"))
    clients.crowd(STRANGER)
    works = [clients.start(LATEST, STRANGER) for _ in range(2)]
    for work in works:
        clients.network.run(work, BUDGET)
    assert [attempt.step.value for attempt in clients.network.attempts if not attempt.good and attempt.sample] == []
    clients.settle()


def test_timeouts_of_requests_that_had_a_place_at_once_count_although_all_places_are_taken() -> None:
    clients = Clients(two_registries("", "a", "b", "c"))
    clients.hub.fault = "hang"
    for number in range(MOST_REQUESTS + 10):
        clients.start(Blob("org/app", f"sha256:{number:064}"), f"192.0.2.{number}")
    clients.settle()
    assert clients.network.failed.count("hub") >= MOST_REQUESTS
