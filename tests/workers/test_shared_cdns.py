"""What one process finds out about a CDN is known in all of them within 50 ms."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from attrs import define

from facaded.backends.cdn_results import MEMORY_TIME, CdnNews, CdnResults
from facaded.backends.fetcher import Fetcher
from facaded.backends.quotas import Quotas
from facaded.policy.cdns import Cdn
from facaded.workers.knowledge import Knowledge
from tests.backends.cdn_network import CACHED, CHECKED, TRUST, CdnNetwork, other_blob
from tests.log_lines import log_lines
from tests.workers.machine import BACKENDS, CDN, SHARED

HUB, GHCR = "https://cdn.hub.test/a?sig=1", "https://cdn.ghcr.test/a?sig=1"


@define
class Pair:
    """Two processes that fetch from the registries of a network, and tell each other what they learn."""

    network: CdnNetwork
    one: Fetcher
    other: Fetcher

    @classmethod
    def begin(cls, blobs: Any = CHECKED) -> "Pair":
        network = CdnNetwork()
        pair = cls(network, network.fetcher(blobs=blobs), network.fetcher(blobs=blobs))
        shares: list[Knowledge] = []

        def send(receiver: int, body: dict[str, Any]) -> None:
            shares[receiver].receive(body)

        shares.extend(Knowledge(network.clock, partial(send, 1 - number)) for number in range(2))
        for share, fetcher in zip(shares, (pair.one, pair.other), strict=True):
            learned = fetcher.recent, fetcher.cache.tags, Quotas(network.clock), fetcher.elsewhere, fetcher.cdn_results
            share.follow(*learned, BACKENDS)
        return pair

    @property
    def checks(self) -> int:
        """How often the CDN of the first registry was asked."""
        return len(self.network.cdns["cdn.hub.test"].checks)

    def learn(self) -> None:
        """Let the time pass within which both know what one has learned."""
        self.network.advance(SHARED)


@pytest.fixture
def again() -> Iterator[list[str]]:
    with log_lines(lambda event: "answers this machine again" in str(event.get("log_format"))) as lines:
        yield lines


def test_a_cdn_that_works_is_proven_for_both_by_one_check() -> None:
    pair = Pair.begin()
    assert pair.network.locate(pair.one) == HUB
    pair.learn()
    assert pair.network.locate(pair.other, seconds=0) == HUB, "without a wait"
    assert pair.checks == 1


def test_a_cdn_that_fails_in_one_process_is_used_by_none() -> None:
    pair = Pair.begin()
    pair.network.locate(pair.one)
    pair.network.locate(pair.other, other_blob(1))
    pair.network.cdns["cdn.hub.test"].status = 503
    pair.network.advance(TRUST + 0.1)
    assert pair.network.locate(pair.one) == GHCR
    pair.learn()
    before = pair.checks
    assert pair.network.locate(pair.other, seconds=0) == GHCR
    assert pair.checks == before


def test_a_cdn_that_works_again_is_used_by_both_when_one_has_noticed() -> None:
    pair = Pair.begin()
    pair.network.cdns["cdn.hub.test"].status = 503
    assert pair.network.locate(pair.one) == GHCR
    pair.learn()
    pair.network.cdns["cdn.hub.test"].status = 206
    pair.network.advance(1)
    assert pair.network.locate(pair.one) == HUB
    pair.learn()
    before = pair.checks
    assert pair.network.locate(pair.other, seconds=0) == HUB
    assert pair.checks == before


def test_a_request_that_waits_for_a_check_goes_on_with_another_process_s_result() -> None:
    pair = Pair.begin()
    cdn = pair.network.cdns["cdn.hub.test"]
    cdn.delay = 0.9
    waiting = pair.network.start(pair.one)
    pair.network.advance(0.1)
    cdn.delay = 0.0
    assert pair.network.locate(pair.other) == HUB
    pair.network.run(waiting, 0.2)
    pair.network.advance(2)


def test_the_addresses_of_a_backend_whose_cdn_fails_are_cached_in_no_process() -> None:
    pair = Pair.begin(CACHED)
    assert pair.network.locate(pair.other) == HUB
    assert pair.network.locate(pair.other) == HUB
    assert pair.network.count_blobs("hub") == 1
    pair.network.cdns["cdn.hub.test"].status = 503
    pair.network.advance(TRUST + 0.1)
    pair.network.locate(pair.one)
    pair.learn()
    before = pair.network.count_blobs("hub")
    pair.network.locate(pair.other)
    assert pair.network.count_blobs("hub") == before + 1


def test_each_process_that_logged_a_failing_cdn_logs_that_it_works_again(again: list[str]) -> None:
    pair = Pair.begin()
    for cdn in pair.network.cdns.values():
        cdn.status = 503
    for fetcher in (pair.one, pair.other):
        pair.network.locate(fetcher, seconds=0)
    pair.network.cdns["cdn.hub.test"].status = 206
    pair.network.advance(1)
    pair.network.locate(pair.one)
    pair.learn()
    assert again == ["hub: its CDN cdn.hub.test answers this machine again"] * 2


def results() -> tuple[CdnNetwork, CdnResults, list[Cdn]]:
    """Return results of CDNs, and those that were noted."""
    network, noted = CdnNetwork(), list[Cdn]()
    network.clock.advance(MEMORY_TIME + 10)
    return network, CdnResults(network.clock, lambda _, cdn: noted.append(cdn)), noted


def test_an_older_result_of_another_process_changes_nothing() -> None:
    network, cdns, noted = results()
    now = network.clock.seconds()
    cdns.learn(CdnNews(CDN, True, now - 1, 0.1, ""))
    cdns.learn(CdnNews(CDN, False, now - 1, 0.1, "answered 503"))
    cdns.learn(CdnNews(CDN, False, now - 2, 0.1, "answered 503"))
    assert [cdn.alive for cdn in noted] == [True]
    assert cdns.look_up(CDN).alive


def test_a_result_that_is_too_old_is_not_learned() -> None:
    network, cdns, noted = results()
    cdns.learn(CdnNews(CDN, False, network.clock.seconds() - MEMORY_TIME, 0.1, "answered 503"))
    assert (noted, cdns.known()) == ([], [])


def test_a_check_in_progress_goes_on_and_its_result_is_the_newest() -> None:
    network, cdns, noted = results()
    cdns.begin(CDN)
    begun = network.clock.seconds()
    network.clock.advance(0.5)
    cdns.learn(CdnNews(CDN, False, begun + 0.4, 0.6, "answered 503"))
    assert (cdns.look_up(CDN).running, cdns.look_up(CDN).begun) == (True, begun)
    cdns.end(CDN, True, "answered 206")
    assert [cdn.alive for cdn in noted] == [False, True]
    assert (cdns.look_up(CDN).running, cdns.look_up(CDN).duration) == (False, 0.5)


def test_a_check_that_has_shown_nothing_leaves_what_another_process_has_found() -> None:
    network, cdns, _ = results()
    cdns.begin(CDN)
    network.clock.advance(0.5)
    cdns.learn(CdnNews(CDN, True, network.clock.seconds(), 0.1, ""))
    cdns.end(CDN, None, "")
    assert cdns.look_up(CDN).alive
    assert not cdns.look_up(CDN).running
