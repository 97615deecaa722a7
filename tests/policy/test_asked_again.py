"""Clients that ask again: which request shows that a redirect failed, and for how long its client is served then."""

import pytest

from facaded.oci.clients import identify
from facaded.oci.requests import Blob, ManifestRead, Ping, Read, Referrers, Tags
from facaded.policy.asked_again import LONGEST_SERVED, SERVED, AskedAgain, Asking, Judgement
from facaded.policy.pull_traces import MEMORY
from tests.policy.asking import (
    CONTAINERD,
    DOCKER,
    LAYERS,
    PLATFORM_DIGEST,
    PODMAN,
    REGCLIENT,
    TAG_DIGEST,
    Front,
)

LATEST = ManifestRead("org/app", "latest")
INDEX = ManifestRead("org/app", TAG_DIGEST)
IMAGE = ManifestRead("org/app", PLATFORM_DIGEST)
LAYER = Blob("org/app", LAYERS[0])

Sent = tuple[float, str, Read | Ping]


def served(sent: list[Sent], user_agent: str = DOCKER) -> list[bool]:
    """Send requests, and return which were served because their client asked again."""
    front = Front()
    return [front.ask(now, method, target, user_agent).asked_again for now, method, target in sent]


# Manifests


def test_docker_s_get_of_a_tag_after_its_head_was_redirected_is_served_at_once() -> None:
    assert served([(0, "HEAD", LATEST), (0.1, "GET", LATEST), (0.3, "GET", INDEX), (0.5, "GET", LAYER)]) == [
        False,
        True,
        True,
        True,
    ]


def test_a_get_of_a_tag_without_a_head_or_with_one_that_was_served_shows_nothing() -> None:
    front = Front(serves_all=True)
    front.ask(0, "HEAD", LATEST)
    front.serves_all = False
    assert not front.ask(0.1, "GET", LATEST).asked_again
    assert served([(0, "GET", LATEST)]) == [False]
    assert served([(0, "HEAD", ManifestRead("org/app", "other")), (0.1, "GET", LATEST)]) == [False, False]
    assert served([(0, "HEAD", LATEST), (121, "GET", LATEST)]) == [False, False], "too long ago"
    assert served([(0, "HEAD", LATEST), (0.1, "GET", LATEST)], CONTAINERD) == [False, False], "Docker alone does that"


@pytest.mark.parametrize("user_agent", [CONTAINERD, "buildkit/v0.20", REGCLIENT])
def test_a_third_head_after_a_pause_is_a_repetition_of_a_client_that_sends_two(user_agent: str) -> None:
    heads: list[Sent] = [(0, "HEAD", LATEST), (0.01, "HEAD", LATEST), (2, "HEAD", LATEST), (2.01, "HEAD", LATEST)]
    assert served(heads, user_agent) == [False, False, True, True]


def test_retries_without_a_pause_count_with_the_ones_after_it() -> None:
    """containerd sends a request six times at once after a 429, and kubelet comes back after 10 s."""
    heads: list[Sent] = [(0.1 * number, "HEAD", LATEST) for number in range(6)]
    assert served([*heads, (10, "HEAD", LATEST)], CONTAINERD) == [False] * 6 + [True]


def test_a_client_that_repeats_a_request_all_the_time_is_recognised_too() -> None:
    assert served([(0.5 * number, "HEAD", LATEST) for number in range(6)], CONTAINERD)[-1]


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_pull_by_digest_that_comes_again_is_a_repetition(method: str) -> None:
    assert served([(0, method, INDEX), (5, method, INDEX)]) == [False, True]


def test_a_manifest_that_is_asked_for_in_vain_is_recognised_although_the_index_before_it_works() -> None:
    pull: list[Sent] = [(0, "HEAD", LATEST), (0.1, "GET", INDEX), (0.2, "GET", IMAGE)]
    again = [(now + 5, method, target) for now, method, target in pull]
    assert served(pull + again) == [False] * 5 + [True]


@pytest.mark.parametrize(
    "progress", [(1.0, "GET", INDEX), (1.0, "HEAD", INDEX), (1.0, "GET", LAYER), (1.0, "HEAD", LAYER)]
)
@pytest.mark.parametrize("user_agent", [DOCKER, CONTAINERD])
def test_a_request_for_a_digest_or_a_blob_shows_that_those_for_a_tag_have_worked(
    progress: Sent, user_agent: str
) -> None:
    all_heads: list[Sent] = [(0, "HEAD", LATEST), (0.5, "HEAD", LATEST)]
    heads = all_heads[: identify(user_agent).requests_per_manifest]
    assert not any(served([*heads, progress, (5, "HEAD", LATEST)], user_agent))
    assert served([*heads, (5, "HEAD", LATEST)], user_agent)[-1]


@pytest.mark.parametrize(
    "other",
    [
        (5.0, "GET", INDEX),
        (5.0, "HEAD", ManifestRead("org/app", "other")),
        (5.0, "HEAD", ManifestRead("org/other", "latest")),
        (121.0, "HEAD", LATEST),
        (0.9, "HEAD", LATEST),
        (5.0, "GET", Tags("org/app")),
        (5.0, "GET", Referrers("org/app", TAG_DIGEST)),
    ],
)
def test_another_request_or_one_at_once_or_much_later_is_no_repetition(other: Sent) -> None:
    assert served([(0, "HEAD", LATEST), other]) == [False, False]


def test_a_client_is_an_address_and_a_user_agent() -> None:
    front = Front()
    front.ask(0, "HEAD", LATEST)
    assert not front.ask(5, "HEAD", LATEST, address="192.0.2.8").asked_again
    assert not front.ask(5, "HEAD", LATEST, "docker/20.10.24").asked_again
    assert front.ask(5, "HEAD", LATEST).asked_again


def test_a_client_with_many_ipv6_addresses_of_one_network_is_one() -> None:
    front = Front()
    front.ask(0, "HEAD", LATEST, address="2001:db8::1")
    assert front.ask(5, "HEAD", LATEST, address="2001:db8::2").asked_again


# Pings


@pytest.mark.parametrize(("seconds", "again"), [(0.9, False), (1, True), (60, True), (60.1, False)])
def test_a_second_ping_with_no_request_after_the_first_is_a_repetition(seconds: float, again: bool) -> None:
    assert served([(0, "GET", Ping()), (seconds, "GET", Ping())]) == [False, again]


@pytest.mark.parametrize("used", [LATEST, LAYER, Tags("org/app"), ManifestRead("org/other", "latest")])
def test_a_ping_that_any_request_for_a_repository_followed_has_worked(used: Read) -> None:
    assert served([(0, "GET", Ping()), (0.5, "HEAD", used), (5, "GET", Ping())]) == [False] * 3


def test_only_a_client_that_takes_its_token_from_the_ping_is_recognised_by_it() -> None:
    assert served([(0, "GET", Ping()), (5, "GET", Ping())], REGCLIENT) == [False, False]


# Blobs


def test_a_redirected_blob_that_is_asked_for_again_is_served_and_the_third_time_from_another_backend() -> None:
    front = Front()
    assert front.ask(0, "GET", LAYER) == Judgement()
    assert front.ask(0.9, "GET", LAYER) == Judgement(), "it may be parallel"
    assert front.ask(6, "GET", LAYER) == Judgement(asked_again=True, hint="main", doubted=True)
    assert front.ask(16, "GET", LAYER) == Judgement(asked_again=True, hint="main", doubted=True, avoided="main")
    assert front.ask(16.1, "GET", LAYER, first_byte=9).avoided == "main", "the rest of it comes from there too"
    assert front.ask(17, "GET", Blob("org/app", LAYERS[1])).avoided == ""


def test_a_backend_is_avoided_for_a_blob_for_a_while() -> None:
    front = Front()
    for now in (0, 1, 2):
        front.ask(now, "GET", LAYER)
    assert front.ask(3, "GET", LAYER, first_byte=9).avoided == "main"
    assert front.ask(2 + SERVED, "GET", LAYER, first_byte=10).avoided == ""


def test_a_served_blob_that_is_asked_for_again_is_doubted_and_the_third_time_comes_from_another_backend() -> None:
    front = Front(serves_all=True)
    judgements = [front.ask(now, "GET", LAYER, PODMAN) for now in (0, 1, 2, 3)]
    assert judgements == [
        Judgement(),
        Judgement(hint="main", doubted=True),
        Judgement(hint="main", doubted=True, avoided="main"),
        Judgement(hint="second", doubted=True, avoided="second"),
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [(0, 1000), (None, None), (1000, None)],
)
def test_another_part_of_a_blob_or_an_unknown_one_is_no_repetition(first: int | None, second: int | None) -> None:
    front = Front()
    front.ask(0, "GET", LAYER, first_byte=first)
    assert front.ask(5, "GET", LAYER, first_byte=second) == Judgement()


def test_a_client_that_resumes_from_the_same_byte_makes_no_progress() -> None:
    front = Front()
    judgements = [front.ask(byte, "GET", LAYER, first_byte=byte) for byte in (0, 1000, 2000)]
    assert judgements == [Judgement()] * 3
    assert front.ask(2005, "GET", LAYER, first_byte=2000).asked_again


def test_a_blob_that_is_asked_for_again_much_later_is_no_repetition() -> None:
    front = Front()
    front.ask(0, "GET", LAYER)
    front.ask(1, "GET", LAYER)
    assert front.ask(61.5, "GET", LAYER) == Judgement(), "the client was served for 60 s, and is redirected again"
    assert front.ask(63, "GET", LAYER).avoided == "", "doubts are forgotten"


def test_as_many_machines_may_fetch_a_blob_as_have_fetched_its_manifest() -> None:
    front = Front()
    for now in (0, 5, 10):
        front.ask(now, "GET", IMAGE)
        judgement = front.ask(now + 1, "GET", LAYER)
        assert judgement.avoided == ""
    assert judgement.hint == "main", "a check costs little"
    assert front.ask(13, "GET", LAYER).asked_again
    assert front.table.returns().count == 0


def test_blobs_alone_are_served_to_a_client_that_may_be_another_machine() -> None:
    """containerd fetches the manifests again after a blob failed; it fails at a CDN once, and then gets all blobs."""
    front, other = Front(), Blob("org/app", LAYERS[1])
    front.ask(0, "GET", IMAGE)
    assert not front.ask(0.1, "GET", LAYER).asked_again
    assert not front.ask(2, "GET", IMAGE).asked_again
    assert [front.ask(2.1, "GET", blob).asked_again for blob in (LAYER, other)] == [True, True]
    assert not front.ask(5, "GET", IMAGE).asked_again
    assert front.ask(5.1, "GET", LAYER).asked_again
    assert front.table.returns().count == 0
    assert not front.ask(2.1 + SERVED, "GET", IMAGE).asked_again
    assert not front.ask(2.2 + SERVED, "GET", other).asked_again


# How long


def fail(front: Front, now: float) -> Judgement:
    """Ask for a tag twice, as after a redirect that failed."""
    front.ask(now, "HEAD", LATEST)
    return front.ask(now + 5, "HEAD", LATEST)


def test_a_client_is_served_for_a_minute_and_twice_as_long_after_each_return_up_to_an_hour() -> None:
    front, now = Front(), 100.0
    lengths = []
    for _ in range(9):
        assert fail(front, now).asked_again
        (latest, *_) = front.table.returns().latest
        assert front.ask(latest.until - 0.1, "HEAD", LATEST).asked_again
        lengths.append(round(latest.until - latest.since))
        now = latest.until + 0.1
    assert lengths == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert front.table.returns().latest[0].times == 9


def test_a_return_long_after_the_last_one_is_a_first_one() -> None:
    front = Front()
    fail(front, 100)
    now = 105 + SERVED
    while now < 105 + SERVED + MEMORY + 1:
        now += 300
        front.ask(now, "HEAD", ManifestRead("org/app", str(now)))
    fail(front, now + 1)
    assert [one.times for one in front.table.returns().latest] == [1, 1]


def test_it_ends_for_a_client_whose_redirects_work_again() -> None:
    front = Front()
    fail(front, 100)
    for start in range(200, 200 + int(LONGEST_SERVED), 100):
        assert not front.ask(start, "HEAD", LATEST).asked_again
        assert not front.ask(start + 0.1, "GET", INDEX).asked_again
        assert not front.ask(start + 0.2, "GET", LAYER).asked_again


def test_where_nobody_is_served_because_of_it_a_repetition_is_only_a_hint() -> None:
    table = AskedAgain()
    asking = Asking.of("192.0.2.7", DOCKER, identify(DOCKER), "HEAD", LATEST)
    table.note(asking, "main", True, 0)
    assert table.judge(asking, False, 5) == Judgement(hint="main")
    table.note(asking, "main", True, 5)
    assert table.judge(asking, False, 5.1) == Judgement(), "a new request, and no repetition"
    assert table.returns().count == 0


# What is said of it


def test_the_latest_returns_are_listed_with_what_was_asked_for() -> None:
    front = Front()
    targets: list[Ping | Read] = [Ping(), LATEST, INDEX, LAYER]
    for number, target in enumerate(targets, 1):
        front.ask(0, "GET", target, address=f"192.0.2.{number}")
        front.ask(5, "GET", target, address=f"192.0.2.{number}")
    returns = front.table.returns()
    assert returns.count == 4
    assert [one.describe() for one in returns.latest] == [
        f"192.0.2.4 (docker) asked again for org/app@{LAYERS[0]}: served for 60 s",
        f"192.0.2.3 (docker) asked again for org/app@{TAG_DIGEST}: served for 60 s",
        "192.0.2.2 (docker) asked again for org/app:latest: served for 60 s",
        "192.0.2.1 (docker) asked again for GET /v2/: served for 60 s",
    ]


def test_a_client_that_came_back_twice_is_said_to() -> None:
    front = Front()
    fail(front, 0)
    fail(front, 100)
    assert front.table.returns().latest[0].describe().endswith("org/app:latest, 2 times: served for 2 min")


def test_the_clients_that_are_served_in_a_repository_are_found_by_their_family() -> None:
    front = Front()
    fail(front, 0)
    docker = identify(DOCKER)
    assert [one.subject for one in front.table.served("org/app", docker, 10)] == ["org/app:latest"]
    assert front.table.served("org/app", identify(CONTAINERD), 10) == ()
    assert front.table.served("org/other", docker, 10) == ()
    front.ask(20, "GET", Ping())
    front.ask(25, "GET", Ping())
    assert [one.subject for one in front.table.served("org/app", docker, 30)] == ["org/app:latest", "GET /v2/"]
    assert front.table.served("org/app", docker, 25 + SERVED) == ()


def test_clients_that_asked_another_process_again_are_counted_and_shown() -> None:
    here, elsewhere = Front(), Front()
    fail(elsewhere, 100)
    returns = elsewhere.table.returns()
    here.table.add(returns.count, returns.latest)
    assert here.table.returns() == returns
    assert here.table.served("org/app", identify(DOCKER), 120) == ()
