"""The memory for clients that may ask again: bounded for any requests, and in shares for each source."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from facaded.oci.requests import Blob, ManifestRead, Ping, Read
from facaded.policy import pull_traces
from facaded.policy.asked_again import LONGEST_SERVED, SERVED
from facaded.policy.pull_traces import (
    BLOBS,
    BYTES,
    MANIFESTS,
    MEMORY,
    REQUEST_BYTES,
    SHARE,
    TRACE_BYTES,
    Avoided,
    PullTraces,
)
from tests.policy.asking import CONTAINERD, DOCKER, PODMAN, Front

LATEST = ManifestRead("org/app", "latest")


def test_one_trace_has_a_bounded_number_of_requests() -> None:
    front = Front()
    for number in range(200):
        front.ask(number * 0.01, "GET", ManifestRead("org/app", f"sha256:{number:064x}"))
        front.ask(number * 0.01, "GET", Blob("org/app", f"sha256:{number:064x}"), first_byte=number)
    assert front.table.size == TRACE_BYTES + (MANIFESTS + BLOBS) * REQUEST_BYTES


def test_blobs_to_avoid_are_bounded_too() -> None:
    front = Front()
    for number in range(BLOBS + 5):
        for second in range(3):
            front.ask(number * 3 + second, "GET", Blob("org/app", f"sha256:{number:064x}"))
    assert front.table.size == TRACE_BYTES + 2 * BLOBS * REQUEST_BYTES


def test_one_source_evicts_only_its_own_traces() -> None:
    front = Front()
    front.ask(0, "HEAD", LATEST)
    for number in range(SHARE // TRACE_BYTES + 10):
        front.ask(1, "HEAD", LATEST, f"{CONTAINERD} {number}", address="198.51.100.1")
    assert front.table.size <= SHARE + TRACE_BYTES + REQUEST_BYTES
    assert front.ask(2, "HEAD", LATEST).asked_again
    assert len(front.served) == 1


def test_the_traces_of_the_least_recently_active_source_are_evicted_first() -> None:
    front = Front()
    for address in ("192.0.2.1", "192.0.2.2"):
        front.ask(0, "HEAD", LATEST, address=address)
    front.ask(1, "HEAD", ManifestRead("org/other", "latest"), address="192.0.2.1")
    for number in range(BYTES // (TRACE_BYTES + REQUEST_BYTES) - 2):
        front.ask(1, "HEAD", LATEST, address=f"10.0.{number >> 8}.{number & 255}")
    assert front.table.size <= BYTES
    assert front.ask(2, "HEAD", LATEST, address="192.0.2.1").asked_again
    assert not front.ask(2, "HEAD", LATEST, address="192.0.2.2").asked_again


def test_a_source_that_is_found_is_the_last_one_to_be_evicted_even_if_its_trace_was_the_last_one_found() -> None:
    traces, first, other = PullTraces(), ("192.0.2.1", "", "a"), ("192.0.2.2", "", "a")
    traces.use(other, 0)
    traces.use(first, 0)
    assert traces.find(("192.0.2.2", "", "b"), 0) is None, "this uses the other source"
    assert traces.find(first, 0) is not None
    for number in range(BYTES // TRACE_BYTES - 1):
        traces.use((f"10.0.{number >> 8}.{number & 255}", "", "a"), 0)
    assert traces.find(other, 0) is None
    assert traces.find(first, 0) is not None


def test_the_size_is_that_of_all_traces_whatever_has_been_evicted() -> None:
    random, traces = Random(7), PullTraces()
    keys = [(f"192.0.2.{number % 18}", "", str(number)) for number in range(18 * 1000)]
    for _ in range(40_000):
        key, request = keys[random.randrange(len(keys))], random.randrange(2 * MANIFESTS)
        match random.randrange(5):
            case 0 | 1:
                traces.use(key, 0)
            case 2:
                traces.manifest(key, request, True, 0)
            case 3:
                traces.blob(key, request, 0)
            case _:
                traces.avoid(key, str(request), Avoided("main", 1), 0)
    there = [trace for key in keys if (trace := traces.find(key, 0)) is not None]
    assert traces.size == sum(trace.size for trace in there)
    assert BYTES - SHARE <= traces.size <= BYTES


def test_a_trace_is_forgotten_after_an_idle_hour() -> None:
    front = Front()
    layer = Blob("org/app", "sha256:" + "a" * 64)
    front.ask(0, "GET", ManifestRead("org/app", "sha256:" + "b" * 64))
    front.ask(1, "GET", layer)
    front.ask(MEMORY + 2, "GET", layer)
    assert front.table.size == TRACE_BYTES + REQUEST_BYTES


requests = st.tuples(
    st.floats(0, 400),
    st.sampled_from(["GET", "HEAD"]),
    st.sampled_from(
        [
            Ping(),
            LATEST,
            *(ManifestRead("org/app", f"sha256:{letter * 64}") for letter in "ab"),
            *(Blob("org/app", f"sha256:{letter * 64}") for letter in "cd"),
        ]
    ),
    st.sampled_from([DOCKER, CONTAINERD, PODMAN]),
    st.sampled_from(["192.0.2.7", "2001:db8::1", "2001:db8::2", "-"]),
    st.sampled_from([0, 1, None]),
)


@given(st.lists(requests, max_size=60))
@settings(max_examples=60)
def test_whatever_is_asked_clients_are_served_for_their_time_at_most_and_only_after_a_repetition(
    sent: list[tuple[float, str, Ping | Read, str, str, int | None]],
) -> None:
    front, now = Front(), 0.0
    seen: set[tuple[object, ...]] = set()
    for seconds, method, target, user_agent, address, first_byte in sent:
        now += seconds
        before = front.table.returns().count
        judgement = front.ask(now, method, target, user_agent, address, first_byte)
        returns = front.table.returns()
        for one in returns.latest:
            length = one.until - one.since
            assert round(length) == min(SERVED * 2 ** (one.times - 1), LONGEST_SERVED)
        if judgement.asked_again:
            assert any(one.since <= now < one.until for one in returns.latest) or returns.count > len(returns.latest)
        subject = method, target, user_agent, address.startswith("2001"), first_byte
        if returns.count > before and not (isinstance(target, ManifestRead) and method == "GET"):
            assert isinstance(target, Ping) or any(subject[:4] == earlier[:4] for earlier in seen)
        seen.add(subject)
        assert front.table.size <= 4 * 3 * 2 * (TRACE_BYTES + 20 * REQUEST_BYTES)


@given(st.lists(requests, max_size=60, unique_by=lambda request: request[1:3]))
@settings(max_examples=60)
def test_a_client_that_never_repeats_a_request_is_never_served_because_of_it(
    sent: list[tuple[float, str, Ping | Read, str, str, int | None]],
) -> None:
    """Docker's GET of a tag is a repetition of its HEAD."""
    front, now = Front(), 0.0
    for seconds, method, target, user_agent, address, first_byte in sent:
        now += seconds
        if not isinstance(target, Ping) and (method, target) != ("GET", LATEST):
            front.ask(now, method, target, user_agent, address, first_byte)
    assert front.served == []


def test_the_user_agent_that_tells_clients_apart_is_bounded() -> None:
    front = Front()
    long = DOCKER + "x" * pull_traces.USER_AGENT_LENGTH
    front.ask(0, "HEAD", LATEST, long + "1")
    assert front.ask(5, "HEAD", LATEST, long + "2").asked_again


def test_what_one_client_asked_for_is_forgotten_or_what_all_did() -> None:
    traces = PullTraces()
    keys = [(source, agent, "org/app") for source in ("192.0.2.7", "192.0.2.8") for agent in ("docker/28", "podman/5")]
    for key in keys:
        traces.manifest(key, 1, is_tag=True, now=0)
        traces.blob(key, 2, 0)
    traces.forget_requests(("192.0.2.9", "docker/28"))
    traces.forget_requests(("192.0.2.7", "docker/28"))
    assert [key for key, trace in traces.items() if not trace.manifests] == keys[:1]
    traces.forget_requests(None)
    assert [key for key, trace in traces.items() if not (trace.manifests or trace.blobs)] == keys
