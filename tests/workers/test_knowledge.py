"""What one process learns from backends is known in all of them within 50 ms."""

from functools import partial
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from facaded.backends.fetcher import BUDGET, Fetcher
from facaded.backends.manifests import digest_of
from facaded.backends.quotas import Quotas
from facaded.backends.recent_answers import SUSPECT_TIME
from facaded.backends.served_content import NotServed
from facaded.backends.tags import GONE_TIME, REPORTS, TaggedRead, TagNews
from facaded.oci.referrers import MOST_REFERRERS
from facaded.oci.requests import Blob, ManifestRead, Read, Referrers, Tags
from facaded.policy.elsewhere import RENEWAL_TIME
from facaded.policy.health import LONGEST_RETRY_AFTER, Quota
from facaded.workers.knowledge import COLLECTING_TIME, QUOTA_REPORTS, Knowledge
from tests.backends.fetching import ask, backend, manifest, serve_from, two_registries
from tests.backends.memory import Network
from tests.workers.machine import BACKENDS, NEW, OLD, READ, TAG, Machine, Process, failure

OTHER_READ = ManifestRead("org/other", "latest")


@pytest.fixture
def machine() -> Machine:
    return Machine()


# Failures


@pytest.mark.parametrize("sender", [0, 1, 2])
def test_a_failure_in_one_process_makes_the_backend_suspect_in_all(machine: Machine, sender: int) -> None:
    machine.processes[sender].recent.note_failure("hub", READ, failure())
    machine.settle()
    assert [process.suspects() for process in machine.processes] == [["hub"]] * 3
    assert [process.suspects(OTHER_READ) for process in machine.processes] == [[]] * 3
    machine.clock.advance(SUSPECT_TIME)
    assert [process.suspects() for process in machine.processes] == [[]] * 3


def test_a_failure_of_the_whole_backend_is_one_in_all(machine: Machine) -> None:
    machine.processes[1].recent.note_failure("hub", READ, failure(backend_wide=True))
    machine.settle()
    assert [process.suspects(OTHER_READ) for process in machine.processes] == [["hub"]] * 3


def test_all_processes_let_a_backend_rest_until_its_retry_after_ends(machine: Machine) -> None:
    machine.processes[2].recent.note_failure("ghcr", READ, failure(429, retry_after=60))
    machine.settle()
    assert [process.resting() for process in machine.processes] == [["ghcr"]] * 3
    machine.clock.advance(59.94)
    assert [process.resting() for process in machine.processes] == [["ghcr"]] * 3
    machine.clock.advance(0.02)
    assert [process.resting() for process in machine.processes] == [[]] * 3


@pytest.mark.parametrize("read", [Tags("org/app", "n=5"), Referrers("org/app", OLD)])
def test_a_failed_list_makes_the_backend_suspect_for_that_list_only(machine: Machine, read: Read) -> None:
    machine.processes[1].recent.note_failure("hub", read, failure())
    machine.settle()
    assert [process.suspects(read) for process in machine.processes] == [["hub"]] * 3
    assert [process.suspects() for process in machine.processes] == [[]] * 3


def test_a_retry_after_is_not_shortened_by_a_later_failure_in_another_process(machine: Machine) -> None:
    first, second, third = machine.processes
    first.recent.note_failure("hub", READ, failure(503, retry_after=60))
    second.recent.note_failure("hub", READ, failure())
    machine.settle()
    third.recent.note_failure("hub", READ, failure())
    machine.clock.advance(59)
    assert [process.suspects() for process in machine.processes] == [["hub"]] * 3


# Tags


def test_the_last_digest_of_a_tag_is_known_in_all_processes(machine: Machine) -> None:
    machine.processes[1].tags.confirm("hub", TAG, NEW)
    machine.settle()
    assert [process.last() for process in machine.processes] == [("hub", NEW)] * 3
    machine.clock.advance(600)
    assert [process.last() for process in machine.processes] == [None] * 3


def test_types_and_tags_are_told_apart(machine: Machine) -> None:
    others = TaggedRead("org/app", "latest", b"\xff" * 32), TaggedRead("org/app", "1.0", bytes(32))
    machine.processes[1].tags.confirm("hub", TAG, NEW)
    machine.processes[1].tags.confirm("hub", others[0], OLD)
    machine.settle()
    assert [machine.processes[2].last(read) for read in (TAG, *others)] == [("hub", NEW), ("hub", OLD), None]


def test_a_tag_that_is_gone_is_forgotten_in_all_processes(machine: Machine) -> None:
    first, second, third = machine.processes
    second.tags.confirm("hub", TAG, NEW)
    machine.settle()
    third.tags.store("hub", TAG, NEW)
    first.tags.forget("hub", TAG)
    machine.settle()
    assert [process.last() for process in machine.processes] == [None] * 3
    assert third.tags.fresh("hub", TAG) is None


def test_a_tag_that_another_backend_lacks_stays(machine: Machine) -> None:
    first, second, _ = machine.processes
    second.tags.confirm("hub", TAG, NEW)
    machine.settle()
    first.tags.forget("ghcr", TAG)
    machine.settle()
    assert [process.last() for process in machine.processes] == [("hub", NEW)] * 3
    assert first.sent == []


def test_a_confirmation_is_sent_again_only_after_a_part_of_its_life(machine: Machine) -> None:
    first, second, _ = machine.processes
    period = 600 / REPORTS
    second.tags.confirm("hub", TAG, NEW)
    machine.settle()
    for _ in range(29):
        machine.clock.advance(1)
        for process in machine.processes:
            process.tags.confirm("hub", TAG, NEW)
    machine.settle()
    assert [len(process.sent) for process in machine.processes] == [0, 1, 0]
    machine.clock.advance(period - 29)
    first.tags.confirm("hub", TAG, NEW)
    machine.settle()
    second.tags.confirm("hub", TAG, NEW)
    machine.settle()
    assert [len(process.sent) for process in machine.processes] == [1, 1, 0]
    machine.clock.advance(599.5)
    assert [process.last() for process in machine.processes] == [("hub", NEW)] * 3


@pytest.mark.parametrize(("name", "digest"), [("hub", OLD), ("ghcr", NEW)])
def test_another_digest_and_another_backend_are_sent_at_once(machine: Machine, name: str, digest: str) -> None:
    machine.processes[1].tags.confirm("hub", TAG, NEW)
    machine.settle()
    machine.processes[2].tags.confirm(name, TAG, digest)
    machine.settle()
    assert [process.last() for process in machine.processes] == [(name, digest)] * 3


def test_what_arrives_late_does_not_replace_what_is_newer(machine: Machine) -> None:
    process = machine.processes[0]
    before = machine.clock.seconds() - 1
    process.tags.confirm("hub", TAG, NEW)
    process.tags.learn(TagNews(TAG, "hub", OLD, before))
    process.tags.learn(TagNews(TAG, "hub", None, before))
    assert process.last() == ("hub", NEW)


def test_a_process_contradicts_what_is_older_than_its_own_only_if_it_has_not_done_so(machine: Machine) -> None:
    process = machine.processes[0]
    before = machine.clock.seconds() - 1
    process.tags.confirm("hub", TAG, NEW)
    machine.settle()
    process.tags.learn(TagNews(TAG, "hub", OLD, before))
    machine.settle()
    assert len(process.sent) == 1
    machine.clock.advance(1)
    between = machine.clock.seconds()
    machine.clock.advance(1)
    process.tags.confirm("hub", TAG, NEW)
    for _ in range(2):
        process.tags.learn(TagNews(TAG, "hub", OLD, between))
        machine.settle()
    assert len(process.sent) == 2
    assert process.sent[1]["tags"][0]["at"] == between + 1


@pytest.mark.parametrize("forgets_itself", [True, False])
def test_a_late_confirmation_does_not_bring_back_a_tag_that_is_gone(machine: Machine, forgets_itself: bool) -> None:
    process = machine.processes[0]
    confirmed_at = machine.clock.seconds()
    process.tags.confirm("hub", TAG, NEW)
    machine.clock.advance(0.01)
    if forgets_itself:
        process.tags.forget("hub", TAG)
    else:
        process.tags.learn(TagNews(TAG, "hub", None, machine.clock.seconds()))
    process.tags.learn(TagNews(TAG, "hub", NEW, confirmed_at))
    assert process.last() is None
    machine.clock.advance(0.01)
    process.tags.learn(TagNews(TAG, "hub", NEW, machine.clock.seconds()))
    assert process.last() == ("hub", NEW), "it is there again"
    machine.clock.advance(GONE_TIME)
    machine.settle()


def test_an_old_confirmation_is_not_believed_for_longer(machine: Machine) -> None:
    process = machine.processes[0]
    process.tags.learn(TagNews(TAG, "hub", NEW, machine.clock.seconds() - 599))
    assert process.last() == ("hub", NEW)
    machine.clock.advance(1)
    assert process.last() is None
    process.tags.learn(TagNews(TAG, "hub", NEW, machine.clock.seconds() - 600))
    assert process.tags.known() == []


def test_nothing_is_sent_if_the_last_digests_are_not_used() -> None:
    machine = Machine(stale_tags=0.0)
    first, second, _ = machine.processes
    first.tags.confirm("hub", TAG, NEW)
    first.tags.forget("hub", TAG)
    second.tags.learn(TagNews(TAG, "hub", NEW, machine.clock.seconds()))
    machine.settle()
    assert first.sent == []
    assert second.last() is None


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["hub", "ghcr"]),
        st.sampled_from([NEW, OLD, None]),
        st.sampled_from([0.001, 0.007, 0.03, 0.4]),
    ),
    max_size=30,
)


@given(EVENTS)
@settings(max_examples=300)
@example([(0, "hub", NEW, 0.001), (1, "hub", OLD, 0.001), (0, "hub", NEW, 0.001)])
def test_all_processes_agree_in_the_end(events: list[tuple[int, str, str | None, float]]) -> None:
    machine = Machine()
    for number, name, digest, pause in events:
        process = machine.processes[number]
        if digest is None:
            process.tags.forget(name, TAG)
        else:
            process.tags.confirm(name, TAG, digest)
        machine.clock.advance(pause)
    for _ in range(5):
        machine.settle()
    assert len({process.last() for process in machine.processes}) == 1
    confirmed = {(name, digest) for _, name, digest, _ in events if digest is not None}
    assert machine.processes[0].last() in {None, *confirmed}


# Pulls


def noted(process: Process, owner: str = "address") -> int | None:
    quota, _ = process.quotas.of("hub").get(owner, (None, 0.0))
    return None if quota is None else quota.remaining


def test_the_pulls_that_are_left_are_known_in_all_processes(machine: Machine) -> None:
    machine.processes[1].quotas.note("hub", "address", Quota(76, 100, 21600.0))
    machine.processes[2].quotas.note("hub", "account", Quota(9))
    machine.settle()
    assert [noted(process) for process in machine.processes] == [76] * 3
    assert [noted(process, "account") for process in machine.processes] == [9] * 3
    assert all(not process.quotas.is_low("hub", "address", 75) for process in machine.processes)
    machine.processes[0].quotas.note("hub", "address", Quota(75, 100, 21600.0))
    machine.settle()
    assert all(process.quotas.is_low("hub", "address", 75) for process in machine.processes)


def test_a_quota_that_stays_is_sent_again_only_after_a_part_of_its_window(machine: Machine) -> None:
    quota = Quota(76, 100, 21600.0)
    machine.processes[1].quotas.note("hub", "address", quota)
    machine.settle()
    for process in machine.processes:
        process.quotas.note("hub", "address", quota)
    machine.settle()
    assert [len(process.sent) for process in machine.processes] == [0, 1, 0]
    machine.clock.advance(21600 / QUOTA_REPORTS)
    machine.processes[2].quotas.note("hub", "address", quota)
    machine.settle()
    assert [len(process.sent) for process in machine.processes] == [0, 1, 1]


def test_an_older_quota_does_not_replace_a_newer_one() -> None:
    quotas = Quotas(Clock())
    quotas.learn("hub", "address", Quota(50), 20.0)
    quotas.learn("hub", "address", Quota(51), 19.0)
    assert quotas.of("hub") == {"address": (Quota(50), 20.0)}


# What some backends lack


def test_a_digest_that_not_every_backend_has_is_known_in_all_processes(machine: Machine) -> None:
    machine.processes[1].elsewhere.note("org/app", [NEW], machine.clock.seconds())
    machine.settle()
    for seconds, is_known in ((0.0, True), (3599.9, True), (0.1, False)):
        machine.clock.advance(seconds)
        now = machine.clock.seconds()
        for process in machine.processes:
            assert process.elsewhere.has(ManifestRead("org/app", NEW), now) is is_known
            assert process.elsewhere.has(Blob("org/app", NEW), now) is is_known
            assert not process.elsewhere.has(ManifestRead("org/other", NEW), now)


def test_a_list_is_told_again_only_after_a_part_of_its_life(machine: Machine) -> None:
    for _ in range(3):
        for process in machine.processes:
            process.elsewhere.note("org/app", [NEW, OLD], machine.clock.seconds())
            machine.settle()
    assert [len(process.sent) for process in machine.processes] == [1, 0, 0]
    machine.clock.advance(RENEWAL_TIME)
    machine.processes[2].elsewhere.note("org/app", [NEW], machine.clock.seconds())
    machine.settle()
    machine.clock.advance(3599)
    now = machine.clock.seconds()
    assert all(process.elsewhere.has(Blob("org/app", NEW), now) for process in machine.processes)
    assert not any(process.elsewhere.has(Blob("org/app", OLD), now) for process in machine.processes)


def test_the_longest_list_is_known_as_a_whole(machine: Machine) -> None:
    digests = [f"sha256:{number:064x}" for number in range(MOST_REFERRERS)]
    machine.processes[2].elsewhere.note("org/app", digests, machine.clock.seconds())
    machine.settle()
    now = machine.clock.seconds()
    for process in machine.processes:
        assert all(process.elsewhere.has(Blob("org/app", digest), now) for digest in digests)
    assert len(machine.processes[2].sent) == 2


# With requests to registries


def two_processes(fault: str = "") -> tuple[Network, Fetcher, Fetcher]:
    """Return two registries, and two processes that fetch from them and tell each other what they learn."""
    network = two_registries(fault)
    fetchers = network.fetcher(), network.fetcher()
    shares: list[Knowledge] = []

    def send(other: int, body: dict[str, Any]) -> None:
        shares[other].receive(body)

    shares.extend(Knowledge(network.clock, partial(send, 1 - index)) for index in range(2))
    for share, fetcher in zip(shares, fetchers, strict=True):
        learned = fetcher.recent, fetcher.cache.tags, Quotas(network.clock), fetcher.elsewhere, fetcher.cdn_results
        share.follow(*learned, BACKENDS)
    return network, *fetchers


def test_a_backend_that_rests_is_asked_by_no_process() -> None:
    network, fetcher, other = two_processes("429")
    network.fakes["hub"].retry_after = "60"
    assert backend(ask(network, fetcher)) == "ghcr"
    network.clock.advance(COLLECTING_TIME)
    before = len(network.fakes["hub"].requests)
    assert backend(ask(network, other)) == "ghcr"
    assert len(network.fakes["hub"].requests) == before


def test_a_process_does_not_turn_back_a_tag_that_only_another_one_served() -> None:
    network, fetcher, other = two_processes()
    new, old = b'{"version": 2}', b'{"version": 1}'
    network.fakes["hub"].put("org/app", "latest", body=new)
    network.fakes["ghcr"].put("org/app", "latest", body=old)
    network.fakes["ghcr"].put("org/app", "next", body=new)
    assert manifest(ask(network, fetcher)).digest == digest_of(new)
    network.clock.advance(COLLECTING_TIME)
    network.fakes["hub"].fault = "500"
    served = ask(network, other, seconds=BUDGET, serve=serve_from(network))
    assert not isinstance(served, NotServed)
    assert (served.backend, manifest(served).body) == ("ghcr", new)


def test_bounds_of_a_message_do_not_cut_the_longest_retry_after(machine: Machine) -> None:
    machine.processes[1].recent.note_failure("hub", READ, failure(429, retry_after=LONGEST_RETRY_AFTER + 1))
    machine.settle()
    machine.clock.advance(LONGEST_RETRY_AFTER - 0.06)
    assert [process.resting() for process in machine.processes] == [["hub"]] * 3
