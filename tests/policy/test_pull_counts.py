"""Counts of pulls: which requests are one pull, as clients send them, redirected (R) or served (S)."""

import pytest

from facaded.oci.clients import Family, find_client
from facaded.policy.manifests_trace import REFERENCES, WINDOW, ManifestsTrace
from facaded.policy.pull_counts import BLOB_REQUEST, FASTEST, FEW, TRACES, WAITING, AskerKey, PullCounts
from facaded.policy.pull_kinds import CountKey, ManifestRequest, PullKey, PullKind

INDEX, PLATFORM, OTHER = (f"sha256:{digit * 64}" for digit in "abc")

SIGNATURE_TAG = f"sha256-{'a' * 64}.sig"


def request(
    words: str, client: str, at: float = 0.0, address: str = "192.0.2.7", name: str = "org/app"
) -> tuple[AskerKey, ManifestRequest]:
    """Return a request from words like `HEAD R v1`: the method, whether it is redirected, and the reference."""
    method, way, reference = words.split()
    digests = {"index": INDEX, "platform": PLATFORM, "other": OTHER}
    is_signature = reference == "referrers" or reference == SIGNATURE_TAG
    named = digests.get(reference, INDEX if reference == "referrers" else reference)
    return (address, find_client(client).family, name), (at, named, method == "GET", way == "R", is_signature)


def prove(counts: PullCounts, address: str, family: Family) -> None:
    counts.follow([((address, family, "org/app"), BLOB_REQUEST)])


def count(client: str, *requests: str, step: float = 0.1) -> dict[tuple[str, str], int]:
    """Send requests, one after the other, and return how often what was counted, by kind and reference."""
    counts = PullCounts()
    for number, words in enumerate(requests):
        counts.follow([request(words, client, number * step)])
    counts.finish()
    names = {INDEX: "index", PLATFORM: "platform", OTHER: "other"}
    result: dict[tuple[str, str], int] = {}
    for key, number in counts.take(0, WAITING):
        place = key.kind.value, names.get(key.reference, key.reference)
        result[place] = result.get(place, 0) + number
    return result


STREAMS = {
    "Docker's HEAD of a tag, then the index and its platform by digest": (
        "docker",
        ["HEAD R v1", "GET R index", "GET R platform"],
        {("pull", "v1"): 1},
    ),
    "the same when its HEAD failed at the registry": (
        "docker",
        ["HEAD R v1", "GET S v1", "GET S index", "GET S platform"],
        {("pull", "v1"): 1},
    ),
    "containerd's two HEADs, of which one had no token": (
        "containerd",
        ["HEAD R v1", "HEAD R v1", "GET R index", "GET R platform"],
        {("pull", "v1"): 1},
    ),
    "a served pull of Podman": ("podman", ["GET S v1", "GET S platform"], {("pull", "v1"): 1}),
    "a GET that is redirected without and with a token": (
        "regclient",
        ["GET R v1", "GET R v1", "GET R platform"],
        {("pull", "v1"): 1},
    ),
    "a redirect that failed, then the same served": (
        "regclient",
        ["GET R v1", "GET R v1", "GET S v1", "GET S platform"],
        {("pull", "v1"): 1},
    ),
    "another pull after a redirect that worked": (
        "docker",
        ["GET R v1", "GET R platform", "GET S v1"],
        {("pull", "v1"): 2},
    ),
    "two machines behind one address, one after the other": (
        "containerd",
        ["HEAD R v1", "HEAD R v1", "GET R index", "HEAD R v1", "HEAD R v1", "GET R index", "GET R platform"],
        {("pull", "v1"): 2},
    ),
    "two machines behind one address, at the same time": (
        "containerd",
        ["HEAD R v1", "HEAD R v1", "HEAD R v1", "HEAD R v1", "GET R index", "GET R index", "GET R platform"],
        {("pull", "v1"): 2},
    ),
    "two served pulls of one tag": ("podman", ["GET S v1", "GET S v1"], {("pull", "v1"): 2}),
    "two tags, one after the other": (
        "podman",
        ["GET S v1", "GET S platform", "GET S v2"],
        {("pull", "v1"): 1, ("pull", "v2"): 1},
    ),
    "a pull by digest": ("docker", ["GET R index", "GET R platform"], {("pull", "index"): 1}),
    "a pull by digest that begins with a HEAD": (
        "containerd",
        ["HEAD R index", "HEAD R index", "GET R index", "GET R platform"],
        {("pull", "index"): 1},
    ),
    "a HEAD without a GET": ("docker", ["HEAD R v1"], {("check", "v1"): 1}),
    "two HEADs without a GET that are one check": ("containerd", ["HEAD R v1", "HEAD R v1"], {("check", "v1"): 1}),
    "two served checks": ("crane", ["HEAD S v1", "HEAD S v1"], {("check", "v1"): 2}),
    "a client that only looks for updates": (
        "diun",
        ["GET S v1", "HEAD S v2"],
        {("check", "v1"): 1, ("check", "v2"): 1},
    ),
    "cosign, which reads the image too": (
        "cosign",
        ["HEAD S v1", "GET S v2", f"GET S {SIGNATURE_TAG}"],
        {("signature", ""): 3},
    ),
    "notation, which looks an image up to verify it": (
        "notation",
        ["HEAD S v1", "GET S referrers", "GET S other"],
        {("signature", ""): 2},
    ),
    "a tag of signatures that is only looked for": ("crane", [f"HEAD S {SIGNATURE_TAG}"], {}),
    "signatures before their image by tag": (
        "podman",
        [f"GET S {SIGNATURE_TAG}", "GET S v1"],
        {("signature", ""): 1, ("pull", "v1"): 1},
    ),
    "referrers, one of them, and then their image": (
        "oras",
        ["GET S referrers", "GET S other", "GET S index"],
        {("signature", ""): 1, ("pull", "index"): 1},
    ),
    "referrers while a HEAD waits": (
        "oras",
        ["HEAD S v1", "GET S referrers", "GET S index"],
        {("signature", ""): 1, ("pull", "v1"): 1},
    ),
}


@pytest.mark.parametrize("stream", STREAMS)
def test_a_pull_is_counted_once(stream: str) -> None:
    client, requests, counted = STREAMS[stream]
    assert count(client, *requests) == counted


def test_what_follows_after_a_minute_is_another_pull() -> None:
    assert count("podman", "GET S v1", "GET S platform", step=WINDOW + 1) == {
        ("pull", "v1"): 1,
        ("pull", "platform"): 1,
    }
    assert count("docker", "HEAD R v1", "GET R index", step=WINDOW + 1) == {("check", "v1"): 1, ("pull", "index"): 1}


def test_a_clock_that_is_set_back_ends_what_waits() -> None:
    assert count("docker", "HEAD R v1", "GET R index", step=-WINDOW - 1) == {("check", "v1"): 1, ("pull", "index"): 1}


def take(counts: PullCounts, now: float = 0.0) -> dict[tuple[str, bool], int]:
    return {(key.reference, key.is_proven): number for key, number in counts.take(now, WAITING)}


def test_a_served_name_is_proven_and_a_redirected_one_when_the_client_goes_on() -> None:
    counts = PullCounts()
    counts.follow([request("GET S v1", "podman")])
    assert take(counts) == {}, "it may go on"
    prove(counts, "192.0.2.7", Family.CONTAINERS)
    assert take(counts, WINDOW + 1) == {("v1", True): 1}
    counts.follow([request("GET R v2", "docker", address="192.0.2.8")])
    prove(counts, "192.0.2.8", Family.DOCKER)
    assert take(counts) == {("v2", True): 1}
    prove(counts, "192.0.2.8", Family.DOCKER)
    prove(counts, "192.0.2.9", Family.DOCKER)
    counts.follow([request("GET R v3", "docker", address="192.0.2.9")])
    assert take(counts, WINDOW + 1) == {("v3", False): 1}, "nothing followed within a minute"
    counts.follow([request("HEAD R v4", "docker", address="192.0.2.9")])
    counts.follow([request("HEAD S v5", "docker", address="192.0.2.9")])
    counts.finish()
    assert take(counts) == {("v4", False): 1, ("v5", True): 1}


def test_other_clients_and_repositories_have_pulls_of_their_own() -> None:
    counts = PullCounts()
    for address, name, client in (
        ("1", "org/a", "docker"),
        ("2", "org/a", "docker"),
        ("1", "org/b", "docker"),
        ("1", "org/a", "podman"),
    ):
        counts.follow([request("GET S index", client, address=address, name=name)])
    assert sum(number for _, number in counts.take(WINDOW + 1, WAITING)) == 4


def test_the_oldest_of_many_references_are_counted_and_forgotten() -> None:
    many = range(REFERENCES + 3)
    assert count("docker", *(f"HEAD R v{n}" for n in many)) == {("check", f"v{n}"): 1 for n in many}
    assert count("docker", *(f"GET R v{n}" for n in many)) == {("pull", f"v{n}"): 1 for n in many}


def ask(counts: PullCounts, addresses: range, rate: float) -> None:
    """Send a request for v1 from each of these addresses, so many a second."""
    for number in addresses:
        counts.follow([request("GET R v1", "docker", number / rate, address=str(number))])


def test_the_least_recently_used_of_many_clients_are_counted_and_forgotten() -> None:
    counts, rate = PullCounts(), FASTEST / 2
    ask(counts, range(TRACES - 2), rate)
    counts.follow([request("GET R v2", "docker", TRACES / rate, address="0")])
    assert take(counts) == {}
    counts.follow([request("GET R v1", "docker", TRACES / rate, address="new")])
    assert take(counts) == {("v1", False): TRACES // 2 - 1}
    prove(counts, "0", Family.DOCKER)
    assert take(counts) == {("v1", True): 1, ("v2", True): 1}, "it was used later"
    counts.finish()
    assert take(counts) == {("v1", False): TRACES // 2 - 1}


@pytest.mark.parametrize(("rate", "least"), [(0.9 * FASTEST, TRACES // 2), (1.1 * FASTEST, FEW)])
def test_of_clients_that_come_too_fast_to_be_followed_few_are(rate: float, least: int) -> None:
    counts = PullCounts()
    asked = 10 * TRACES + FEW - 1
    ask(counts, range(asked), rate)
    followed = asked - sum(number for _, number in counts.take(asked / rate, WAITING))
    assert least <= followed < 2 * least
    later = range(asked, 2 * asked)
    ask(counts, later, rate / 2)
    counted = sum(number for _, number in counts.take(later.stop / rate * 2, WAITING))
    assert followed + len(later) - counted >= TRACES // 2, "those that come slower are followed again"


def test_a_late_request_for_a_blob_does_not_make_clients_look_fast() -> None:
    counts, rate = PullCounts(), 250
    ask(counts, range(TRACES - 1), rate)
    latest = request("GET R v1", "docker", TRACES / rate, address="new")
    counts.follow([latest, ((str(TRACES // 2 - 1), Family.DOCKER, "org/app"), BLOB_REQUEST)])
    assert take(counts) == {("v1", False): TRACES // 2 - 1, ("v1", True): 1}
    ask(counts, range(TRACES, TRACES + 2 * FEW), rate)
    assert take(counts) == {}


@pytest.mark.parametrize(
    ("client", "words"),
    [
        ("docker", "GET R v1"),
        ("podman", "GET S v1"),
        ("docker", "HEAD R v1"),
        ("crane", "HEAD S v1"),
        ("diun", "GET S v1"),
        ("diun", "HEAD S v1"),
        ("cosign", "GET S v1"),
        ("cosign", "HEAD S v1"),
        ("notation", "GET S v1"),
        ("notation", "HEAD S v1"),
        ("crane", f"GET S {SIGNATURE_TAG}"),
        ("crane", f"HEAD S {SIGNATURE_TAG}"),
        ("oras", "GET R referrers"),
    ],
)
def test_an_only_request_counts_as_a_trace_of_it_does(client: str, words: str) -> None:
    traced: list[tuple[CountKey, int]] = []
    (_, family, name), one = request(words, client)
    trace = ManifestsTrace(family, name, lambda key, count: traced.append((key, count)))
    trace.note(one)
    trace.finish()
    counts = PullCounts()
    counts.follow([request(words, client)])
    counts.finish()
    assert [(tuple(key), count) for key, count in counts.take(0, WAITING)] == traced


def test_a_blob_of_a_served_pull_proves_nothing_more() -> None:
    counts = PullCounts()
    counts.follow([request("GET S v1", "podman")])
    prove(counts, "192.0.2.7", Family.CONTAINERS)
    counts.finish()
    assert take(counts) == {("v1", True): 1}


def test_a_blob_proves_all_redirected_pulls_before_it() -> None:
    counts = PullCounts()
    counts.follow([request("GET R v1", "docker"), request("GET R v2", "docker")])
    prove(counts, "192.0.2.7", Family.DOCKER)
    assert take(counts) == {("v1", True): 1, ("v2", True): 1}


def test_of_many_clients_one_that_goes_on_is_not_forgotten() -> None:
    counts = PullCounts()
    for number in range(4 * TRACES):
        at = number / TRACES
        counts.follow([request("GET S v1", "podman", at, address=str(number))])
        if number % (TRACES // 2) == 0:
            counts.follow([request("GET S v2", "podman", at, address="0")])
    taken = dict(counts.take(0, WAITING))
    assert sum(count for key, count in taken.items() if key.reference == "v1") >= 3 * TRACES - 1
    counts.follow([request("GET S other", "podman", 4, address="0")])
    counts.finish()
    assert not any(key.reference == OTHER for key, _ in counts.take(0, WAITING)), "it belongs to the pull before"


def test_names_beyond_the_bound_are_counted_by_kind_when_many_clients_are_forgotten() -> None:
    counts = PullCounts()
    for number in range(2 * WAITING):
        counts.follow([request(f"{'GET' if number % 2 else 'HEAD'} R v{number}", "docker", address=str(number))])
    counts.finish()
    taken = dict(counts.take(0, 2 * WAITING))
    assert len(taken) == WAITING + 2
    unnamed = [PullKey("", "", Family.DOCKER, kind, is_proven=False) for kind in (PullKind.IMAGE, PullKind.CHECK)]
    assert [taken[key] for key in unnamed] == [WAITING / 2, WAITING / 2]


def test_an_asker_that_goes_on_does_not_keep_others_from_being_counted() -> None:
    counts = PullCounts()
    for second in range(0, 200, 50):
        counts.follow(
            [request("GET S v1", "podman", second), request("GET S v2", "podman", second, address=str(second))]
        )
        taken = take(counts, second)
        assert taken.get(("v2", True), 0) == (1 if second >= 100 else 0)


def test_names_beyond_the_bound_are_counted_without_a_name() -> None:
    counts = PullCounts()
    for number in range(WAITING + 5):
        counts.add(PullKey("org/app", f"v{number}", Family.DOCKER, PullKind.IMAGE, is_proven=True), 2)
    counts.add(PullKey("org/app", "v0", Family.DOCKER, PullKind.IMAGE, is_proven=True), 1)
    taken = dict(counts.take(0, WAITING + 5))
    assert len(taken) == WAITING + 1
    assert taken[PullKey("", "", Family.DOCKER, PullKind.IMAGE, is_proven=False)] == 10
    assert taken[PullKey("org/app", "v0", Family.DOCKER, PullKind.IMAGE, is_proven=True)] == 3
    assert counts.take(0, 1) == []


def test_counts_are_taken_in_parts() -> None:
    counts = PullCounts()
    for number in range(5):
        counts.add(PullKey("org/app", f"v{number}", Family.DOCKER, PullKind.IMAGE, is_proven=True), 1)
    assert [len(counts.take(0, 2)) for _ in range(4)] == [2, 2, 1, 0]
