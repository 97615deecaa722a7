"""The cache of blob addresses: for how long an address is handed out again, and what drops it."""

from datetime import UTC, datetime
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.backends.blob_addresses import ENTRY_SIZE, LONGEST_ADDRESS, MARGIN, MOST_BYTES, BlobAddresses
from facaded.backends.fetcher import Fetcher
from facaded.backends.presigned_urls import seconds_left
from facaded.backends.served_content import BlobRedirect, Served
from facaded.oci.requests import Blob
from facaded.policy.decision import Serve
from tests.backends.cdn_network import CACHED, READ, CdnNetwork, other_blob
from tests.backends.fetching import forward
from tests.backends.memory import BLOB

HUB = "https://cdn.hub.test/a?sig=1"
GHCR = "https://cdn.ghcr.test/a?sig=1"

NOW = datetime(2026, 11, 26, 7, 6, 40, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("", float("inf")),
        ("sig=1&se=2026-11-26T07:16:40Z", 600),
        ("sig=1&se=2026-11-26T07%3A16%3A40.0000000Z", 600),
        ("sig=1&se=2026-11-26T07:16Z", 560),
        ("sig=1&se=2026-11-27", 60800),
        ("sig=1&se=soon", 0),
        ("sig=1&se=2026-13-26", 0),
        ("se=soon", float("inf")),
        (f"Expires={NOW + 60:.0f}&Signature=x&Key-Pair-Id=k", 60),
        (f"expires={NOW + 60:.0f}&signature=x", 60),
        (f"Expires={NOW - 60:.0f}", 0),
        ("Expires=", 0),
        ("Expires=1e20", 0),
        ("Expires=-1", 0),
        ("Expires=9999999999999", 0),
        ("Policy=eyJ&Signature=x", float("inf")),
        ("X-Amz-Date=20261126T070640Z&X-Amz-Expires=1200", 1200),
        ("X-Amz-Date=20261126T065640Z&X-Amz-Expires=1200", 600),
        ("X-Amz-Date=20261126T080640Z&X-Amz-Expires=1200", 1200),
        ("X-Amz-Date=20261126T065640Z&X-Amz-Expires=many", 0),
        ("X-Amz-Date=20269926T065640Z&X-Amz-Expires=1200", 0),
        ("X-Amz-Date=yesterday&X-Amz-Expires=1200", 0),
        ("X-Amz-Expires=1200", 1200),
        ("X-Amz-Date=20261126T065640Z", float("inf")),
        ("X-Goog-Date=20261126T065640Z&X-Goog-Expires=900", 300),
        ("x-oss-date=20261126T065640Z&x-oss-expires=900&x-oss-signature=1", 300),
        (f"X-Goog-Expires=900&Expires={NOW + 5:.0f}", 5),
        (f"Expires={NOW + 60:.0f}&Expires={NOW + 30:.0f}", 30),
        ("&".join(["a=1"] * 200), 0),
    ],
)
def test_the_usual_presigned_addresses_say_how_long_they_can_be_used(query: str, seconds: float) -> None:
    assert seconds_left(f"https://cdn.test/a?{query}", NOW) == seconds


@given(st.text(max_size=200), st.sampled_from(["Expires=", "X-Amz-Expires=1&X-Amz-Date=", "sig=&se=", ""]))
def test_any_text_has_a_number_of_seconds_left(text: str, start: str) -> None:
    assert seconds_left(f"https://cdn.test/a?{start}{text}", NOW) >= 0
    assert seconds_left(text, NOW) >= 0


def cache(lifetime: float = 60.0, now: float = 0.0) -> tuple[BlobAddresses, list[float]]:
    clock = [now, now]
    return BlobAddresses(lifetime, lambda: clock[0], lambda: clock[1]), clock


def test_an_address_is_used_for_the_setting_or_until_shortly_before_it_expires() -> None:
    addresses, clock = cache(600)
    addresses.store("hub", READ, HUB)
    addresses.store("ghcr", READ, f"{GHCR}&Expires=200")
    clock[:] = [139, 139]
    assert (addresses.get("hub", READ), addresses.get("ghcr", READ)) == (HUB, f"{GHCR}&Expires=200")
    clock[:] = [140, 140]
    assert (addresses.get("hub", READ), addresses.get("ghcr", READ)) == (HUB, None)
    clock[:] = [600, 600]
    assert addresses.get("hub", READ) is None


def test_an_address_that_expires_soon_or_is_too_long_is_not_stored() -> None:
    addresses, _ = cache()
    addresses.store("hub", READ, f"{HUB}&Expires={MARGIN:.0f}")
    addresses.store("hub", READ, HUB + "x" * LONGEST_ADDRESS)
    assert len(addresses) == 0
    switched_off, _ = cache(0)
    switched_off.store("hub", READ, HUB)
    assert len(switched_off) == 0


def test_an_address_expires_while_the_machine_is_suspended() -> None:
    addresses, clock = cache(600)
    addresses.store("hub", READ, f"{HUB}&Expires=200")
    clock[1] = 150
    assert addresses.get("hub", READ) is None
    assert len(addresses) == 0


def test_an_address_is_that_of_its_backend_repository_and_digest() -> None:
    addresses, _ = cache()
    addresses.store("hub", READ, HUB)
    assert addresses.get("ghcr", READ) is None
    assert addresses.get("hub", other_blob(1)) is None
    assert addresses.get("hub", Blob("org/app", "sha256:" + "0" * 64)) is None


def test_a_doubted_backend_loses_all_of_its_addresses_and_no_others() -> None:
    addresses, _ = cache()
    for backend in ("hub", "ghcr"):
        addresses.store(backend, READ, HUB)
    addresses.doubt("hub")
    assert (addresses.get("hub", READ), addresses.get("ghcr", READ)) == (None, HUB)
    addresses.store("hub", READ, HUB)
    assert addresses.get("hub", READ) == HUB


def test_the_cache_is_bounded_in_entries_and_bytes() -> None:
    addresses, _ = cache()
    for number in range(MOST_BYTES // ENTRY_SIZE + 100):
        addresses.store("hub", other_blob(number), "https://c")
    assert len(addresses) <= MOST_BYTES // ENTRY_SIZE
    for number in range(3000):
        addresses.store("hub", other_blob(number), "https://c/" + "x" * 4000)
    assert len(addresses) <= MOST_BYTES / 4000


# Through a fetcher


def test_a_second_client_gets_the_same_address_without_a_request_to_the_registry() -> None:
    network = CdnNetwork()
    fetcher = network.fetcher(blobs=CACHED)
    assert network.locate(fetcher) == network.locate(fetcher) == HUB
    network.advance(59)
    assert network.locate(fetcher) == HUB
    before = network.count_blobs("hub")
    network.advance(2)
    network.locate(fetcher)
    assert network.count_blobs("hub") == before + 1


def test_what_was_asked_with_the_client_s_authorization_is_not_cached() -> None:
    network = CdnNetwork()
    network.fakes["hub"].fault = "open"
    fetcher = network.fetcher(blobs=CACHED)
    for number in (1, 2):
        forward(network, fetcher, READ, "Basic secret")
        assert network.count_blobs("hub") == number
    network.locate(fetcher)
    assert network.count_blobs("hub") == 3


def fail_a_request(network: CdnNetwork, fetcher: Fetcher) -> None:
    network.fakes["hub"].fault = "500"
    network.locate(fetcher, other_blob(7))
    network.fakes["hub"].fault = ""
    network.advance(11)


def fail_a_check(network: CdnNetwork, fetcher: Fetcher) -> None:
    network.cdns["cdn.hub.test"].status = 503
    network.advance(2.1)
    network.locate(fetcher)
    network.cdns["cdn.hub.test"].status = 206
    network.advance(9)


def condemn(network: CdnNetwork, fetcher: Fetcher) -> None:
    network.cdns["cdn.hub.test"].statuses["/a?sig=1"] = 404
    network.fakes["hub"].headers["Location"] = "https://cdn.hub.test/new"
    network.advance(2.1)


def doubt(network: CdnNetwork, fetcher: Fetcher) -> None:
    fetcher.doubt_blob("org/app", BLOB, "192.0.2.1")


def fail_in_health(network: CdnNetwork, fetcher: Fetcher) -> None:
    serve = Serve(READ, ("ghcr", "hub"), "hub", failing=frozenset({"hub"}))
    network.fakes["ghcr"].fault = "403"
    network.locate(fetcher, serve=serve)


@pytest.mark.parametrize("cause", [fail_a_request, fail_a_check, condemn, doubt, fail_in_health])
def test_an_address_in_doubt_is_dropped(cause: object) -> None:
    network = CdnNetwork()
    fetcher = network.fetcher(blobs=CACHED)
    network.locate(fetcher)
    assert callable(cause)
    cause(network, fetcher)
    before = network.count_blobs("hub")
    expected = "https://cdn.hub.test/new" if cause is condemn else HUB
    if cause is not fail_in_health:
        assert network.locate(fetcher) == expected
        assert network.count_blobs("hub") == before + 1
    else:
        assert before == 2, "it was asked again"


def test_the_addresses_of_a_suspect_backend_are_not_used() -> None:
    network = CdnNetwork()
    fetcher = network.fetcher(blobs=CACHED)
    network.locate(fetcher)
    network.fakes["hub"].fault = "token 500"
    network.fakes["hub"].valid.clear()
    network.locate(fetcher, other_blob(7))
    network.advance(1)
    assert network.locate(fetcher) == GHCR


def test_a_backend_that_rests_is_skipped_although_its_address_is_cached() -> None:
    network = CdnNetwork()
    fetcher = network.fetcher(blobs=CACHED)
    network.locate(fetcher)
    assert network.locate(fetcher, serve=Serve(READ, ("hub", "ghcr"), "hub", resting=frozenset({"hub"}))) == GHCR


EXPIRY = st.integers(0, 200)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("request"), st.integers(0, 2)),
        st.tuples(st.just("pass"), st.sampled_from([0.1, 0.5, 1.0, 2.5, 30.0])),
        st.tuples(st.just("hub"), st.sampled_from([206, 503, 429, 404, 0])),
        st.tuples(st.just("ghcr"), st.sampled_from([206, 503, 429, 404, 0])),
        st.tuples(st.just("delay"), st.sampled_from([0.0, 0.3, 0.8, 1.5])),
        st.tuples(st.just("doubt"), st.integers(0, 2)),
        st.tuples(st.just("expiry"), EXPIRY),
    ),
    max_size=20,
)


@given(STEPS)
def test_no_request_waits_long_no_cdn_is_asked_often_and_no_expired_address_is_handed_out(
    steps: list[tuple[str, int | float]],
) -> None:
    network, lifetime, answered = CdnNetwork(), 100.0, list[tuple[float, float, str]]()
    fetcher = network.fetcher(blobs=CACHED)

    def note(served: object, start: float) -> None:
        assert isinstance(served, Served)
        assert isinstance(served.content, BlobRedirect)
        answered.append((start, network.clock.seconds(), served.content.location))

    started = 0
    for step, value in [*steps, ("pass", 2.5)]:
        for name, fake in network.fakes.items():
            expires = f"Expires={network.clock.seconds() + lifetime:.0f}"
            fake.headers["Location"] = f"https://cdn.{name}.test/{network.clock.seconds()}?{expires}"
        match step:
            case "request":
                start = network.clock.seconds()
                network.start(fetcher, other_blob(int(value))).addCallback(note, start)
                network.agent.flush()
                started += 1
            case "pass":
                network.advance(min(value, 2.5))  # all are answered by then
                network.clock.advance(value - min(value, 2.5))
            case "doubt":
                fetcher.doubt_blob(other_blob(int(value)).name, BLOB, "192.0.2.1")
            case "delay":
                network.cdns["cdn.hub.test"].delay = value
            case "expiry":
                lifetime = float(value) + 2
            case _:
                network.cdns[f"cdn.{step}.test"].status = int(value)
    assert len(answered) == started
    for start, end, location in answered:
        assert end - start <= 1.1
        assert end <= float(parse_qs(urlsplit(location).query)["Expires"][0])
    for cdn in network.cdns.values():
        assert all(later - earlier >= 1 for earlier, later in pairwise(cdn.checks))
