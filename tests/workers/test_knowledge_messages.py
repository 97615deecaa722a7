"""The messages with which processes tell each other what they have learned: how many, how large, and hostile ones."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from facaded.backends.cdn_results import CdnKey, CdnNews
from facaded.backends.quotas import Quotas
from facaded.backends.recent_answers import SUSPECT_TIME, RecentAnswers
from facaded.backends.seen_hosts import HOST_LENGTH
from facaded.backends.tags import TagCache, TaggedRead, TagNews
from facaded.config.sections import Backend
from facaded.net.json_objects import is_too_complex
from facaded.oci.requests import ManifestRead
from facaded.policy.elsewhere import ELSEWHERE_TIME, Elsewhere
from facaded.policy.health import LONGEST_RETRY_AFTER, Quota
from facaded.policy.repositories import Pattern, Rename
from facaded.workers.knowledge import COLLECTING_TIME, LOG_INTERVAL, Knowledge
from facaded.workers.knowledge_body import KIND, MESSAGE_SIZE, MOST_ENTRIES, settings_key
from tests.log_lines import is_warning, log_lines
from tests.workers.machine import BACKENDS, CDN, NEW, OLD, READ, TAG, Machine, Process, failure, ignored_results


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    with log_lines(is_warning) as lines:
        yield lines


def tag(number: int) -> TaggedRead:
    return TaggedRead("org/app", f"v{number}", bytes(32))


def digest(number: int) -> str:
    return f"sha512:{number:0128x}"


def check(process: Process, key: CdnKey = CDN, alive: bool = True, reason: str = "answered 206") -> None:
    """Let a process check a CDN, which answers at once."""
    process.cdns.begin(key)
    process.cdns.end(key, alive, reason)


# What is sent, and when


def test_the_first_news_is_sent_at_once(machine: Machine) -> None:
    for process in machine.processes[:2]:
        process.recent.note_failure("ghcr", READ, failure())
        machine.clock.advance(0)
        assert [entry["backend"] for message in process.sent for entry in message["avoidances"]] == ["ghcr"]


def test_news_after_a_message_is_collected_into_one(machine: Machine) -> None:
    process = machine.processes[1]
    process.tags.confirm("hub", TAG, OLD)
    machine.clock.advance(0)
    process.sent.clear()
    machine.clock.advance(COLLECTING_TIME / 2)
    process.tags.confirm("hub", TAG, NEW)
    process.recent.note_failure("ghcr", READ, failure())
    process.quotas.note("hub", "address", Quota(76, 100, 21600.0))
    process.elsewhere.note("org/app", [OLD], machine.clock.seconds())
    check(process, alive=False)
    assert process.sent == []
    machine.clock.advance(COLLECTING_TIME / 2)
    (message,) = process.sent
    assert message == {
        "kind": "knowledge",
        "schema": 1,
        "backends": settings_key(BACKENDS),
        "avoidances": [
            {"backend": "ghcr", "until": 110.01, "rests": False, "repository": "org/app", "list_key": None},
        ],
        "tags": [
            {
                "backend": "hub",
                "repository": "org/app",
                "tag": "latest",
                "types": "00" * 32,
                "digest": NEW,
                "at": 100.01,
            }
        ],
        "quotas": [
            {"backend": "hub", "owner": "address", "remaining": 76, "limit": 100, "window": 21600.0, "at": 100.01}
        ],
        "elsewhere": [{"repository": "org/app", "digest": OLD, "until": 3700.01}],
        "cdns": [
            {
                "backend": "hub",
                "scheme": "https",
                "host": "cdn.hub.test",
                "port": 443,
                "alive": False,
                "ended": 100.01,
                "duration": 0.0,
                "reason": "answered 206",
            }
        ],
    }
    machine.settle()
    assert machine.clock.getDelayedCalls() == []
    assert [len(process.sent) for process in machine.processes] == [0, 1, 0]


def test_what_was_received_is_never_sent_again(machine: Machine) -> None:
    sender = machine.processes[0]
    sender.recent.note_failure("hub", READ, failure(429, retry_after=30))
    sender.tags.confirm("ghcr", TAG, NEW)
    sender.elsewhere.note("org/app", [OLD], machine.clock.seconds())
    machine.settle()
    sender.tags.forget("ghcr", TAG)
    machine.settle()
    machine.clock.advance(60)
    assert [len(process.sent) for process in machine.processes] == [2, 0, 0]


def test_of_too_much_news_the_oldest_is_dropped(machine: Machine) -> None:
    sender, _, other = machine.processes
    for number in range(MOST_ENTRIES + 2):
        sender.tags.confirm("hub", tag(number), NEW)
    sender.tags.confirm("hub", tag(2), OLD)
    sender.tags.confirm("hub", tag(MOST_ENTRIES + 2), NEW)
    machine.settle()
    (message,) = sender.sent
    tags = [entry["tag"] for entry in message["tags"]]
    assert tags == [f"v{number}" for number in (*range(4, MOST_ENTRIES + 2), 2, MOST_ENTRIES + 2)]
    assert other.last(tag(2)) == ("hub", OLD)
    assert other.last(tag(3)) is None


def test_the_largest_message_can_be_read(machine: Machine) -> None:
    sender = machine.processes[0]
    for number in range(MOST_ENTRIES):
        name = f"{'a' * 252}{number:03}"
        sender.tags.confirm("ghcr", TaggedRead(name, "t" * 128, bytes(32)), f"sha512:{'0' * 128}")
        sender.recent.note_failure("ghcr", ManifestRead(name, "latest"), failure())
        check(sender, ("ghcr", "https", name[-HOST_LENGTH:], 65535), reason="\u00fc" * 1000)
    for owner in ("address", "account"):
        sender.quotas.note("ghcr", owner, Quota(10**15 - 1, 10**15 - 1, 10.0**9 - 1))
    sender.elsewhere.note("a" * 255, map(digest, range(MOST_ENTRIES)), machine.clock.seconds())
    machine.settle()
    text = json.dumps(sender.sent[0])
    assert len(text) < MESSAGE_SIZE
    assert not is_too_complex(text)
    other = machine.processes[2]
    for known in (other.tags.known(), other.recent.known(), other.cdns.known()):
        assert len(known) == MOST_ENTRIES


def test_nothing_is_collected_after_the_stop(machine: Machine) -> None:
    process, _, other = machine.processes
    process.tags.confirm("hub", TAG, NEW)
    process.knowledge.stop()
    assert len(process.sent) == 1, "what was learned before is sent at once"
    process.tags.confirm("hub", TAG, OLD)
    process.recent.note_failure("hub", READ, failure())
    process.quotas.note("hub", "address", Quota(1))
    process.elsewhere.note("org/app", [OLD], machine.clock.seconds())
    check(process)
    other.recent.note_failure("ghcr", READ, failure())
    machine.settle()
    assert len(process.sent) == 1
    assert process.suspects() == ["hub"]
    assert list(process.knowledge.known()) == []


def test_the_stop_leaves_no_timer() -> None:
    clock, sent = Clock(), list[dict[str, Any]]()
    knowledge, quotas = Knowledge(clock, sent.append), Quotas(clock)
    tags, cdns = TagCache(1, 1, 1, clock.seconds), ignored_results(clock)
    knowledge.follow(RecentAnswers(clock.seconds), tags, quotas, Elsewhere(), cdns, BACKENDS)
    quotas.note("hub", "address", Quota(1))
    assert len(clock.getDelayedCalls()) == 1
    knowledge.stop()
    assert len(sent) == 1
    assert clock.getDelayedCalls() == []


# A process that has just started, and a reload


def test_a_new_process_learns_everything_from_another_one(machine: Machine) -> None:
    process = machine.processes[1]
    process.recent.note_failure("hub", READ, failure(429, retry_after=60))
    process.quotas.note("hub", "account", Quota(0, 100, 3600.0))
    process.elsewhere.note("org/app", [NEW, OLD], machine.clock.seconds())
    check(process)
    for number in range(60):
        process.tags.confirm("ghcr", tag(number), NEW)
    machine.settle()
    machine.clock.advance(5)
    new = machine.add()
    for message in process.knowledge.known():
        new.knowledge.receive(json.loads(json.dumps(message)))
    assert new.resting() == new.suspects() == ["hub"]
    assert new.quotas.of("hub") == process.quotas.of("hub")
    assert new.tags.known() == process.tags.known()
    assert new.cdns.known() == process.cdns.known() != []
    assert [listed.digest for listed in new.elsewhere.known(machine.clock.seconds())] == [NEW, OLD]
    assert len(new.tags.known()) == 60
    machine.clock.advance(595)
    assert new.last(tag(1)) is None, "it is not believed for longer than elsewhere"
    assert new.sent == []


def test_all_that_is_known_takes_several_messages(machine: Machine) -> None:
    process = machine.processes[0]
    for number in range(2 * MOST_ENTRIES + 1):
        process.recent.note_failure("hub", ManifestRead(f"org/{number}", "latest"), failure())
    process.quotas.note("hub", "account", Quota(3))
    sizes = [[len(message[kind]) for kind in ("avoidances", "quotas")] for message in process.knowledge.known()]
    assert sizes == [[MOST_ENTRIES, 1], [MOST_ENTRIES, 0], [1, 0]]


def test_what_is_followed_no_more_tells_nothing(machine: Machine) -> None:
    process, _, other = machine.processes
    spare = machine.add()
    process.tags.confirm("hub", TAG, OLD)
    process.knowledge.follow(spare.recent, spare.tags, spare.quotas, spare.elsewhere, spare.cdns, BACKENDS)
    assert len(process.sent) == 1, "what was learned before is sent at once"
    process.tags.confirm("hub", TAG, NEW)
    machine.settle()
    assert other.last() == ("hub", OLD)
    spare.tags.confirm("hub", TAG, NEW)
    machine.settle()
    assert other.last() == ("hub", NEW)
    assert len(process.sent) == 2


@pytest.mark.parametrize(
    "backends",
    [
        BACKENDS[:1],
        (evolve(BACKENDS[0], name="ghcr"), evolve(BACKENDS[1], name="hub")),
        (evolve(BACKENDS[0], url="https://other.test"), BACKENDS[1]),
        (BACKENDS[0], evolve(BACKENDS[1], rename=(Rename(Pattern("org/*"), Pattern("other/*")),))),
    ],
    ids=["fewer", "renamed", "another URL", "other repositories"],
)
def test_news_about_other_backends_is_ignored_without_a_warning(
    machine: Machine, backends: tuple[Backend, ...], warnings: list[str]
) -> None:
    sender, receiver, _ = machine.processes
    sender.tags.confirm("hub", TAG, NEW)
    receiver.follow(*backends)
    machine.settle()
    assert receiver.last() is None
    sender.follow(*backends)
    sender.tags.confirm(backends[0].name, TAG, OLD)
    machine.settle()
    assert receiver.last() == (backends[0].name, OLD)
    assert warnings == []


def test_other_settings_of_the_backends_change_nothing(machine: Machine) -> None:
    sender, receiver, _ = machine.processes
    receiver.follow(*(evolve(backend, relay_blobs=True) for backend in BACKENDS))
    sender.tags.confirm("hub", TAG, NEW)
    machine.settle()
    assert receiver.last() == ("hub", NEW)


# Hostile and malformed messages


def valid() -> dict[str, Any]:
    """Return a message with one entry of each kind."""
    machine = Machine()
    process = machine.processes[0]
    process.recent.note_failure("hub", READ, failure(503, retry_after=60))
    process.tags.confirm("hub", TAG, NEW)
    process.quotas.note("hub", "address", Quota(76, 100, 21600.0))
    process.elsewhere.note("org/app", [OLD], machine.clock.seconds())
    check(process)
    machine.settle()
    (message,) = process.sent
    return message


VALID = valid()


def changed(kind: str, **keys: object) -> dict[str, Any]:
    """Return the valid message with other values in its first entry of a kind."""
    return {**VALID, kind: [{**VALID[kind][0], **keys}]}


MALFORMED: list[dict[str, Any]] = [
    {},
    {"kind": KIND},
    {**VALID, "schema": 2},
    {**VALID, "schema": "1"},
    {**VALID, "schema": True},
    {**VALID, "backends": None},
    {**VALID, "tags": {}},
    {**VALID, "tags": [None]},
    {**VALID, "tags": [{}]},
    {**VALID, "tags": VALID["tags"] * (MOST_ENTRIES + 1)},
    {**VALID, "avoidances": VALID["avoidances"] * (MOST_ENTRIES + 1)},
    {**VALID, "quotas": VALID["quotas"] * (MOST_ENTRIES + 1)},
    {**VALID, "elsewhere": VALID["elsewhere"] * (MOST_ENTRIES + 1)},
    {**VALID, "cdns": VALID["cdns"] * (MOST_ENTRIES + 1)},
    changed("tags", backend=1),
    changed("tags", repository="Org/App"),
    changed("tags", repository=None, tag=None),
    changed("tags", tag="no tag"),
    changed("tags", types="00"),
    changed("tags", types="0g" * 32),
    changed("tags", digest="sha256:0"),
    changed("tags", at=-1.0),
    changed("tags", at=float("nan")),
    changed("tags", at="100"),
    changed("avoidances", until=float("inf")),
    changed("avoidances", rests=1),
    changed("avoidances", repository="../.."),
    changed("avoidances", repository=None, list_key="00"),
    changed("quotas", owner="nobody"),
    changed("quotas", owner=[]),
    changed("quotas", remaining=-1),
    changed("quotas", remaining=1.5),
    changed("quotas", remaining=None),
    changed("quotas", remaining=10**30),
    changed("quotas", limit=-1),
    changed("quotas", window=float("inf")),
    changed("quotas", window=10**400),
    changed("elsewhere", repository="/"),
    changed("elsewhere", repository=None),
    changed("elsewhere", digest="latest"),
    changed("elsewhere", digest=None),
    changed("elsewhere", until=-0.1),
    changed("cdns", scheme="ftp"),
    changed("cdns", host=""),
    changed("cdns", host="a" * (HOST_LENGTH + 1)),
    changed("cdns", port=65536),
    changed("cdns", alive=None),
    changed("cdns", alive=1),
    changed("cdns", ended=float("nan")),
    changed("cdns", duration=-1.0),
    changed("cdns", reason=None),
]


@pytest.mark.parametrize("message", MALFORMED, ids=repr)
def test_a_malformed_message_is_ignored_with_one_line_in_the_log(message: dict[str, Any], warnings: list[str]) -> None:
    process = Machine().processes[0]
    process.knowledge.receive(message)
    assert (process.suspects(), process.last(), dict(process.quotas.of("hub"))) == ([], None, {})
    assert (process.elsewhere.known(0.0), process.cdns.known()) == ([], [])
    (warning,) = warnings
    assert warning.startswith("another facaded process sent what this one cannot read, so it is ignored: ")


def test_a_valid_message_is_not_ignored(warnings: list[str]) -> None:
    process = Machine().processes[0]
    process.knowledge.receive({**VALID, "of a newer version": 1})
    assert process.suspects() == ["hub"]
    assert process.last() == ("hub", NEW)
    assert process.quotas.of("hub")["address"][0] == Quota(76, 100, 21600.0)
    assert process.elsewhere.has(ManifestRead("org/app", OLD), 100.0)
    assert process.cdns.look_up(CDN).alive
    assert warnings == []


def test_a_flood_of_malformed_messages_is_one_line_a_minute(machine: Machine, warnings: list[str]) -> None:
    knowledge = machine.processes[0].knowledge
    for _ in range(50):
        knowledge.receive({"kind": KIND, "backends": "\n" * 10_000})
        knowledge.receive({"kind": KIND, "schema": 2})
    assert len(warnings) == 1
    machine.clock.advance(LOG_INTERVAL)
    knowledge.receive({"kind": KIND, "schema": 2})
    assert len(warnings) == 2


def test_times_of_the_future_do_not_keep_the_truth_out(machine: Machine) -> None:
    process = machine.processes[0]
    far = 10.0**9
    process.knowledge.receive(
        {
            **changed("tags", at=far),
            "avoidances": [
                {**VALID["avoidances"][0], "until": far, "rests": rests, "repository": None} for rests in (True, False)
            ],
            "quotas": [{**VALID["quotas"][0], "at": far}],
            "elsewhere": [{**VALID["elsewhere"][0], "until": far}],
            "cdns": [{**VALID["cdns"][0], "ended": far}],
        }
    )
    machine.clock.advance(0.001)
    process.tags.learn(TagNews(TAG, "hub", OLD, machine.clock.seconds()))
    assert process.last() == ("hub", OLD)
    process.quotas.learn("hub", "address", Quota(1), machine.clock.seconds())
    assert process.quotas.of("hub")["address"][0] == Quota(1)
    process.cdns.learn(CdnNews(CDN, False, machine.clock.seconds(), 0.0, "answered 503"))
    assert not process.cdns.look_up(CDN).alive
    machine.clock.advance(max(SUSPECT_TIME, LONGEST_RETRY_AFTER))
    assert process.suspects() == process.resting() == []
    machine.clock.advance(ELSEWHERE_TIME)
    assert process.elsewhere.known(machine.clock.seconds()) == []


def test_an_entry_about_an_unknown_backend_is_not_stored(warnings: list[str]) -> None:
    process = Machine().processes[0]
    for kind in ("avoidances", "tags", "quotas", "cdns"):
        process.knowledge.receive(changed(kind, backend="stranger"))
    assert (process.recent.known(), process.tags.known(), process.quotas.of("stranger")) == ([], [], {})
    assert process.cdns.known() == []
    assert warnings == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
KINDS = "avoidances", "tags", "quotas", "elsewhere", "cdns"
ENTRY_KEYS = sorted({key for kind in KINDS for key in VALID[kind][0]})


@given(st.sampled_from(KINDS), st.sampled_from(ENTRY_KEYS), JSON)
def test_no_value_raises_an_error(kind: str, key: str, value: object) -> None:
    Machine().processes[0].knowledge.receive(changed(kind, **{key: value}))


@given(st.dictionaries(st.sampled_from(["kind", "schema", "backends", *KINDS]) | st.text(), JSON))
def test_no_message_raises_an_error(message: dict[str, Any]) -> None:
    Machine().processes[0].knowledge.receive(message)
