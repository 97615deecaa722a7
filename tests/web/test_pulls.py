"""Pulls: which repeated requests for blobs give a hint that a backend fails."""

import pytest
from twisted.internet.task import Clock

from facaded.oci.clients import identify
from facaded.web.answered_requests import AnsweredRequest, Decision, Kind, Outcome, parse_first_byte
from facaded.web.pulls import Pulls
from tests.backends.memory import BLOB
from tests.web.test_facade import PODMAN, Client

PATH = f"/v2/org/app/blobs/{BLOB}"


def blob(
    outcome: Outcome = Outcome.SERVED,
    status: int = 307,
    method: str = "GET",
    address: str = "192.0.2.7",
    backend: str | None = "main",
    first_byte: int | None = 0,
    path: str = PATH,
) -> AnsweredRequest:
    decision = Decision(Kind.BLOB, outcome, backend, "org/app", path.rpartition("/")[2])
    client = identify("skopeo/1")
    return AnsweredRequest(address, method, path, client, decision, status, 0, 0.01, first_byte)


class FollowedPulls:
    """Pulls on a clock, with the hints that they gave."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.hints: list[str] = []
        self.pulls = Pulls(self.clock.seconds, self.hints.append)

    def follow(self, answered: AnsweredRequest, seconds: float = 0) -> None:
        """Follow a request that was answered `seconds` after the one before."""
        self.clock.advance(seconds)
        self.pulls.follow(answered)


@pytest.mark.parametrize("answered", [blob(Outcome.REDIRECTED), blob(Outcome.SERVED), blob(Outcome.FORWARDED)])
def test_a_client_that_asks_again_for_a_blob_after_a_redirect_gives_a_hint(answered: AnsweredRequest) -> None:
    followed = FollowedPulls()
    followed.follow(answered)
    assert followed.hints == []
    followed.follow(answered, 1)
    assert followed.hints == ["main"]


@pytest.mark.parametrize(
    ("first", "second", "seconds"),
    [
        (blob(), blob(), 0.9),
        (blob(), blob(), 10),
        (blob(), blob(address="192.0.2.8"), 2),
        (blob(), blob(method="HEAD"), 2),
        (blob(), blob(path=PATH.replace("org/app", "org/other")), 2),
        (blob(), blob(backend="second"), 2),
        (blob(), blob(first_byte=1000), 2),
        (blob(first_byte=None), blob(first_byte=None), 2),
        (blob(status=200), blob(status=200), 2),
        (blob(status=206), blob(status=206), 2),
        (blob(Outcome.REFUSED, 403, backend=None), blob(Outcome.REFUSED, 403, backend=None), 2),
        (blob(status=503, backend=None), blob(status=503, backend=None), 2),
    ],
)
def test_another_blob_another_part_of_it_or_a_parallel_request_gives_none(
    first: AnsweredRequest, second: AnsweredRequest, seconds: float
) -> None:
    followed = FollowedPulls()
    followed.follow(first)
    followed.follow(second, seconds)
    assert followed.hints == []


def test_a_client_that_resumes_from_the_same_byte_makes_no_progress() -> None:
    followed = FollowedPulls()
    for first_byte in (0, 1000, 2000, 2000):
        followed.follow(blob(first_byte=first_byte), 1.5)
    assert followed.hints == ["main"]


def test_blobs_are_not_recently_pulled_images() -> None:
    followed = FollowedPulls()
    followed.follow(blob())
    assert followed.pulls.recent.images() == ()


@pytest.mark.parametrize(
    ("value", "first_byte"),
    [
        ("", 0),
        ("bytes=0-", 0),
        ("bytes=7-", 7),
        ("bytes=007-9", 7),
        ("Bytes=7-9, 20-", 7),
        ("bytes=-500", None),
        ("bytes=" + "9" * 400 + "-", None),
        ("bytes=7", None),
        ("chunks=7-", None),
        ("nonsense", None),
    ],
)
def test_the_first_byte_of_a_range_is_known_if_it_is_a_number(value: str, first_byte: int | None) -> None:
    assert parse_first_byte(value) == first_byte


@pytest.mark.parametrize(
    ("ranges", "user_agent", "probed"),
    [
        (("", ""), {}, ["main"]),
        (("", ""), PODMAN, ["main"]),
        (("", "bytes=0-"), {}, ["main"]),
        (("bytes=9-", "bytes=9-"), PODMAN, ["main"]),
        (("bytes=0-", "bytes=9-"), {}, []),
        (("", "bytes=9-"), PODMAN, []),
    ],
)
def test_a_repeated_request_for_a_blob_starts_a_deep_probe_of_the_backend_it_came_from(
    ranges: tuple[str, str], user_agent: dict[str, str], probed: list[str]
) -> None:
    client = Client()
    probes_before = len(client.watching.backends.probed)
    for value in ranges:
        client.watching.clock.advance(2)
        assert client.send("GET", PATH, {**user_agent, **({"Range": value} if value else {})}) == 307
    client.watching.clock.advance(0)
    assert client.watching.backends.probed[probes_before:] == probed
    assert client.watching.backends.depths["main"][-1].deep == bool(probed)
