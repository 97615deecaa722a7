"""Clients that ask again are recognised whichever process gets their requests."""

import json

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from facaded.oci.clients import identify
from facaded.oci.requests import Blob, ManifestRead, Ping, Read, Tags
from facaded.policy.asked_again import SERVED, Judgement
from facaded.workers.codec import MalformedError
from facaded.workers.shared_askings import KIND, MOST_ANSWERS, MOST_CLIENTS, MOST_RETURNS, QUIET_TIME, SharedAskings
from tests.policy.asking import CONTAINERD, DOCKER, LAYERS, PODMAN, TAG_DIGEST, Front

TRANSIT = 0.005
"""Seconds that a message takes from one process to another."""

SHARED = 0.05
"""Seconds within which all processes know what one has noted."""

LATEST, INDEX, LAYER = (
    ManifestRead("org/app", "latest"),
    ManifestRead("org/app", TAG_DIGEST),
    Blob("org/app", LAYERS[0]),
)


@define
class Processes:
    """Facades in as many processes. As in the daemon, what one sends reaches all others."""

    count: int = 3
    clock: Clock = field(factory=Clock)
    fronts: list[Front] = field(factory=list)
    shared: list[SharedAskings] = field(factory=list)
    sent: int = 0
    is_reachable: bool = True

    def __attrs_post_init__(self) -> None:
        self.clock.advance(100)
        for _ in range(self.count):
            self.add()

    def add(self) -> None:
        """Start another process."""
        front, number = Front(), len(self.fronts)
        self.fronts.append(front)
        self.shared.append(SharedAskings(self.clock, front.table, lambda message: self._send(number, message)))

    def deliver(self) -> None:
        """Let the messages of this turn of the reactor arrive."""
        self.clock.pump((0, TRANSIT))

    def _send(self, sender: int, message: dict[str, object]) -> bool:
        self.sent += 1
        if not self.is_reachable:
            return False
        text = json.dumps(message)
        for number, shared in enumerate(self.shared):
            if number != sender:
                self.clock.callLater(TRANSIT, shared.receive, json.loads(text))
        return True

    def ask(
        self,
        process: int,
        seconds: float,
        method: str,
        target: Ping | Read,
        user_agent: str = DOCKER,
        **options: object,
    ) -> Judgement:
        """Send a request to a process so many seconds after the last one."""
        if seconds >= SHARED:
            self.deliver()
            self.clock.advance(seconds - TRANSIT)
        return self.fronts[process].ask(self.clock.seconds(), method, target, user_agent, **options)  # type: ignore[arg-type]


@pytest.fixture
def processes() -> Processes:
    return Processes()


@pytest.mark.parametrize(
    ("target", "user_agent"), [(Ping(), DOCKER), (LATEST, CONTAINERD), (INDEX, CONTAINERD), (LAYER, DOCKER)]
)
def test_a_client_that_asks_another_process_again_is_served_by_all(
    processes: Processes, target: Ping | Read, user_agent: str
) -> None:
    method = "HEAD" if target is LATEST else "GET"
    for _ in range(identify(user_agent).requests_per_manifest):
        assert not processes.ask(0, 0.1, method, target, user_agent).asked_again
    assert processes.ask(1, 5, method, target, user_agent).asked_again
    for process in range(3):
        assert processes.ask(process, 5, method, target, user_agent).asked_again
    assert processes.ask(2, SERVED, method, target, user_agent, address="192.0.2.8") == Judgement()
    counts = [front.table.returns().count for front in processes.fronts]
    assert counts == [0, 1, 0], "each is counted once"
    client, table = identify(user_agent), processes.fronts[0].table
    assert [one.source for one in table.served(getattr(target, "name", ""), client, 120)] == ["192.0.2.7"]
    assert table.served("org/app", identify(PODMAN), 120) == ()
    assert table.served("org/app", client, 110 + SERVED) == ()
    assert (table.served("org/other", client, 120) == ()) == (target != Ping())


def test_a_client_that_is_served_goes_on_at_another_process_at_once(processes: Processes) -> None:
    for _ in range(2):
        processes.ask(0, 0, "HEAD", LATEST, CONTAINERD)
    assert processes.ask(1, 5, "HEAD", LATEST, CONTAINERD).asked_again
    processes.clock.advance(TRANSIT)
    assert processes.ask(2, 0, "GET", INDEX, CONTAINERD).asked_again


def test_a_pull_that_goes_on_at_another_process_has_worked(processes: Processes) -> None:
    assert not processes.ask(0, 0, "HEAD", LATEST).asked_again
    assert not processes.ask(1, 0.5, "GET", INDEX).asked_again
    assert not processes.ask(0, 10, "HEAD", LATEST).asked_again, "another pull"


def test_a_blob_is_fetched_from_another_backend_at_the_third_time_at_whichever_process(processes: Processes) -> None:
    answers = [processes.ask(process, 5, "GET", LAYER) for process in (0, 1, 2)]
    assert [answer.avoided for answer in answers] == ["", "", "main"]


SENT = st.tuples(
    st.integers(0, 2),
    st.integers(1, 200),
    st.sampled_from(("GET", "HEAD")),
    st.sampled_from((Ping(), LATEST, INDEX, LAYER)),
    st.sampled_from((DOCKER, CONTAINERD, PODMAN)),
)


@given(st.lists(SENT, max_size=30))
def test_several_processes_judge_as_one_does(sent: list[tuple[int, int, str, Ping | Read, str]]) -> None:
    several, one = Processes(), Processes(count=1)
    for process, steps, method, target, user_agent in sent:
        judged = several.ask(process, steps * SHARED, method, target, user_agent)
        assert judged == one.ask(0, steps * SHARED, method, target, user_agent)


def test_answers_are_collected_into_one_message(processes: Processes) -> None:
    for number in range(5):
        processes.ask(0, 0, "GET", ManifestRead("org/app", f"v{number}"), CONTAINERD)
    processes.ask(0, SHARED, "GET", Tags("org/app"))
    processes.ask(0, 1, "GET", Tags("org/app"))
    assert processes.sent == 1


def flood(processes: Processes, count: int) -> None:
    """Send as many requests of other clients to the first process, at once."""
    for number in range(count):
        address = f"10.0.{number // 250}.{number % 250}"
        processes.ask(0, 0, "HEAD", ManifestRead(f"org/app-{number}", "v1"), CONTAINERD, address=address)


def test_of_too_many_answers_in_a_second_some_are_told(processes: Processes) -> None:
    flood(processes, 3 * MOST_ANSWERS)
    processes.deliver()
    sizes = [front.table.size for front in processes.fronts]
    assert 0 < sizes[1] == sizes[2] < sizes[0]
    for pause, is_told, address in ((2, False, "192.0.2.8"), (QUIET_TIME, True, "192.0.2.9")):
        assert not processes.ask(0, pause, "HEAD", LATEST, CONTAINERD, address=address).asked_again
        assert not processes.ask(0, 0, "HEAD", LATEST, CONTAINERD, address=address).asked_again
        assert processes.ask(1, 5, "HEAD", LATEST, CONTAINERD, address=address).asked_again == is_told


def test_a_pull_that_worked_does_not_look_as_if_it_had_failed_because_there_were_too_many(processes: Processes) -> None:
    processes.ask(0, 0, "HEAD", LATEST)
    flood(processes, MOST_ANSWERS)
    for target in (INDEX, LAYER):
        assert not processes.ask(0, 0, "GET", target).asked_again
    assert not processes.ask(1, 30, "HEAD", LATEST).asked_again
    assert not processes.ask(1, 0.1, "GET", LAYER).asked_again


def test_the_same_if_it_went_on_while_others_could_not_be_reached(processes: Processes) -> None:
    processes.ask(0, 0, "HEAD", LATEST)
    processes.deliver()
    processes.is_reachable = False
    processes.ask(0, 0.1, "GET", INDEX)
    processes.deliver()
    processes.is_reachable = True
    processes.ask(0, 20, "HEAD", LATEST, address="192.0.2.9")
    assert not processes.ask(1, 10, "HEAD", LATEST).asked_again


def test_of_too_many_clients_some_are_told_until_others_have_not_asked_for_long(processes: Processes) -> None:
    for number in range(MOST_CLIENTS + 10):
        processes.clock.advance(0.01)
        processes.ask(0, 0, "HEAD", LATEST, address=f"10.0.{number // 250}.{number % 250}")
    told = [processes.ask(1, 2, "HEAD", LATEST, address=f"10.0.{n // 250}.{n % 250}") for n in (4005, 3999)]
    assert [judged.asked_again for judged in told] == [False, True]
    processes.ask(0, 125, "HEAD", LATEST, address="10.1.0.1")
    assert processes.ask(1, 5, "HEAD", LATEST, address="10.1.0.1").asked_again


def test_what_is_told_after_what_followed_it_means_nothing(processes: Processes) -> None:
    processes.ask(0, 0, "HEAD", LATEST)
    processes.clock.pump((0, 0.001))  # it is on the way
    processes.ask(1, 0, "GET", INDEX)
    processes.deliver()
    assert not processes.ask(1, 30, "HEAD", LATEST).asked_again


def test_a_new_process_is_told_which_clients_are_served(processes: Processes) -> None:
    for _ in range(3):
        for _ in range(2):
            processes.ask(0, 2, "GET", LAYER)
        processes.ask(0, 300, "GET", Tags("org/app"))
    assert processes.fronts[0].table.returns().latest[0].times == 3
    processes.ask(0, 0, "GET", LAYER)
    assert processes.ask(0, 2, "GET", LAYER).asked_again
    processes.add()
    processes.shared[-1].receive(json.loads(json.dumps(processes.shared[0].known())))
    assert processes.ask(3, 1, "GET", INDEX).asked_again


def test_a_client_is_served_for_the_longest_time_that_a_process_knows(processes: Processes) -> None:
    for process, pause in ((0, 70), (1, 130), (2, 10)):
        for _ in range(2):
            processes.ask(process, 2, "GET", LAYER)
        processes.ask(process, pause, "GET", Tags("org/app"))
    processes.add()
    for _ in range(2):
        processes.fronts[3].ask(processes.clock.seconds(), "GET", LAYER)
        processes.clock.advance(2)
    processes.fronts[3].ask(processes.clock.seconds(), "GET", LAYER)
    processes.deliver()
    served = processes.fronts[0].table.served("org/app", identify(DOCKER), processes.clock.seconds())
    assert [one.times for one in served] == [3]


def test_of_too_many_clients_that_ask_again_in_a_second_some_are_told(processes: Processes) -> None:
    addresses = [f"192.0.{number // 200}.{number % 200}" for number in range(2 * MOST_RETURNS)]
    for address in addresses:
        processes.fronts[0].ask(100, "GET", LAYER, address=address)
    for address in addresses:
        assert processes.fronts[0].ask(105, "GET", LAYER, address=address).asked_again
    processes.clock.advance(TRANSIT)
    told = [processes.fronts[1].ask(105.2, "GET", ManifestRead("org/app", "x"), address=one) for one in addresses]
    assert sum(judged.asked_again for judged in told) == MOST_RETURNS


def test_nothing_is_told_after_the_stop(processes: Processes) -> None:
    processes.ask(0, 0, "GET", LATEST)
    processes.shared[0].stop()
    processes.ask(0, 1, "GET", LATEST)
    assert processes.sent == 0
    assert processes.clock.getDelayedCalls() == []


@pytest.mark.parametrize("message", [{}, {KIND: 1}, {KIND: {"answers": [{"client": 1}]}}])
def test_a_malformed_message_is_refused(processes: Processes, message: dict[str, object]) -> None:
    with pytest.raises(MalformedError):
        processes.shared[0].receive(message)
