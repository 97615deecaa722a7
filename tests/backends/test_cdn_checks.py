"""Checks of CDNs before the redirect of a blob is handed out."""

import errno
from collections.abc import Iterator
from itertools import pairwise

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionRefusedError
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from facaded.backends.cdn_checks import MOST_CHECKS
from facaded.backends.served_content import NotServed, Served
from facaded.policy.decision import Serve
from facaded.policy.evidence import Attempt
from facaded.policy.health import Step
from tests.backends.cdn_network import CACHED, CHECKED, READ, TRUST, CdnNetwork, FakeCdn, other_blob
from tests.backends.fetching import forward
from tests.backends.memory import BLOB

HUB = "https://cdn.hub.test/a?sig=1"
GHCR = "https://cdn.ghcr.test/a?sig=1"


def cdn_attempts(network: CdnNetwork) -> list[Attempt]:
    return [attempt for attempt in network.attempts if attempt.step is Step.CDN]


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The lines of the log, without debug output."""
    logged: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_namespace") == "facaded.backends.cdn_checks" and event["log_level"] > LogLevel.debug:
            logged.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield logged
    globalLogPublisher.removeObserver(observe)


def test_a_cdn_is_asked_for_one_byte_without_a_token_before_its_address_is_handed_out() -> None:
    network = CdnNetwork()
    assert network.locate(network.fetcher(blobs=CHECKED)) == HUB
    cdn = network.cdns["cdn.hub.test"]
    assert cdn.checks == [0.0]
    assert cdn.headers[b"range"] == b"bytes=0-0"
    assert cdn.headers.keys() & {b"authorization", b"cookie"} == set()
    assert network.cdns["cdn.ghcr.test"].checks == []


@pytest.mark.parametrize("status", [200, 206, 301, 400, 401, 405, 416])
def test_a_cdn_that_answers_is_alive(status: int) -> None:
    network = CdnNetwork()
    network.cdns["cdn.hub.test"].status = status
    assert network.locate(network.fetcher(blobs=CHECKED)) == HUB


@pytest.mark.parametrize("status", [500, 503, 429, 0])
def test_a_blob_comes_from_the_next_backend_if_the_cdn_of_the_first_fails(status: int) -> None:
    network = CdnNetwork()
    network.cdns["cdn.hub.test"].status = status
    fetcher = network.fetcher(blobs=CHECKED)
    served = network.run(network.start(fetcher), 2)
    assert isinstance(served, Served)
    assert served.backend == "ghcr"
    reason = {0: "no response yet", 429: "answered 429"}.get(status, f"answered {status}")
    assert served.failures == {"hub": f"its CDN: {reason}"}
    assert network.clock.seconds() <= 1.1


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_cdn_that_does_not_give_one_blob_condemns_that_address_alone(status: int) -> None:
    network = CdnNetwork()
    network.cdns["cdn.hub.test"].statuses["/a?sig=1"] = status
    fetcher = network.fetcher(blobs=CHECKED)
    served = network.run(network.start(fetcher))
    assert isinstance(served, Served)
    assert (served.backend, served.failures) == ("ghcr", {"hub": "its CDN does not have the blob"})
    network.fakes["hub"].headers["Location"] = "https://cdn.hub.test/b?sig=1"
    assert network.locate(fetcher, other_blob(1)) == "https://cdn.hub.test/b?sig=1"
    failures = [(attempt.good, attempt.sample) for attempt in cdn_attempts(network) if attempt.backend == "hub"]
    assert failures == [(False, False)], "one missing blob is no sample, but makes the next probe early"


def test_an_address_that_only_the_cdn_of_the_last_backend_lacks_is_handed_out_after_the_others() -> None:
    network = CdnNetwork()
    network.cdns["cdn.hub.test"].status = 404
    network.cdns["cdn.ghcr.test"].status = 503
    assert network.locate(network.fetcher(blobs=CHECKED)) == GHCR, "it may be up for the client"


def test_all_requests_share_a_check_and_its_result() -> None:
    """Many clients behind one address pull one image: no layer moves to the second registry."""
    network = CdnNetwork()
    network.cdns["cdn.hub.test"].delay = 0.3
    fetcher = network.fetcher(blobs=CACHED)
    works = [network.start(fetcher, other_blob(number % 5)) for number in range(50)]
    served = [network.run(work, 2) for work in works]
    assert {answer.backend for answer in served if isinstance(answer, Served)} == {"hub"}
    assert len(network.cdns["cdn.hub.test"].checks) == 1
    assert network.count_blobs("hub") == 5, "one request for each blob"
    assert network.count_blobs("ghcr") == 0


def test_a_proof_is_renewed_in_the_background_while_it_counts() -> None:
    network = CdnNetwork()
    cdn, fetcher = network.cdns["cdn.hub.test"], network.fetcher(blobs=CHECKED)
    network.locate(fetcher)
    network.advance(0.9)
    assert network.locate(fetcher, seconds=0) == HUB
    assert len(cdn.checks) == 1
    network.advance(0.5)
    cdn.delay = 0.5
    assert network.locate(fetcher, seconds=0) == HUB, "without a wait"
    assert len(cdn.checks) == 2
    network.advance(3)
    start = network.clock.seconds()
    network.locate(fetcher)
    assert len(cdn.checks) == 3
    assert network.clock.seconds() - start == pytest.approx(0.5, abs=0.15), "an old proof is waited for"


def test_a_cdn_that_has_failed_is_asked_once_a_second_and_nobody_waits_for_it() -> None:
    network = CdnNetwork()
    cdn, fetcher = network.cdns["cdn.hub.test"], network.fetcher(blobs=CHECKED)
    cdn.status = 503
    network.locate(fetcher)
    cdn.status = 0
    for _ in range(60):
        assert network.locate(fetcher, seconds=0) == GHCR
        network.advance(0.05)
    assert len(cdn.checks) == 2, "the second one hangs"
    cdn.status = 206
    network.advance(2)
    assert network.locate(fetcher, seconds=0) == GHCR
    network.advance(0.1)
    assert network.locate(fetcher, seconds=0) == HUB
    assert min(later - earlier for earlier, later in pairwise(cdn.checks)) >= 1


def test_a_slow_cdn_is_never_called_down_and_is_waited_for_once() -> None:
    """It answers in 1.5 s: its results count for 3 s."""
    network = CdnNetwork()
    network.cdns["cdn.hub.test"].delay = 1.5
    fetcher = network.fetcher(blobs=CHECKED)
    assert network.locate(fetcher) == GHCR
    network.advance(1.2)
    for _ in range(100):
        assert network.locate(fetcher, seconds=0) == HUB
        network.advance(0.1)
    assert [attempt for attempt in cdn_attempts(network) if not attempt.good] == []


def test_of_two_slow_cdns_the_first_one_is_preferred_if_it_answers_in_time() -> None:
    network = CdnNetwork()
    network.cdns["cdn.hub.test"].delay = 0.8
    network.cdns["cdn.ghcr.test"].delay = 0.6
    assert network.locate(network.fetcher(blobs=CHECKED)) == HUB
    assert network.clock.seconds() == pytest.approx(0.8, abs=0.15)


@pytest.mark.parametrize(("delay", "location"), [(0.8, GHCR), (1.5, HUB)])
def test_the_cdn_of_a_failing_backend_may_be_used_when_the_others_have_not_answered_in_time(
    delay: float, location: str
) -> None:
    """Its CDN may answer some requests by chance."""
    network = CdnNetwork()
    network.cdns["cdn.ghcr.test"].delay = delay
    serve = Serve(READ, ("ghcr", "hub"), "hub", failing=frozenset({"hub"}))
    assert network.locate(network.fetcher(blobs=CHECKED), serve=serve) == location
    assert network.clock.seconds() <= 1.1
    network.advance(2)


@pytest.mark.parametrize("names", [("hub",), ("hub", "ghcr"), ("hub", "ghcr", "quay")])
def test_if_no_cdn_answers_the_first_address_is_handed_out_within_a_second(names: tuple[str, ...]) -> None:
    network = CdnNetwork(*names)
    for cdn in network.cdns.values():
        cdn.status = 0
    fetcher = network.fetcher(blobs=CHECKED)
    served = network.run(network.start(fetcher), 2)
    assert isinstance(served, Served)
    assert (served.backend, "hub" in served.failures) == ("hub", False)
    assert network.clock.seconds() <= 1.1
    network.advance(5)
    assert network.locate(fetcher, seconds=0) == HUB, "it is known by now"


def test_a_slow_cdn_that_has_worked_is_better_than_one_that_fails() -> None:
    network = CdnNetwork()
    network.cdns["cdn.hub.test"].status, network.cdns["cdn.ghcr.test"].delay = 503, 1.5
    fetcher = network.fetcher(blobs=CHECKED)
    network.locate(fetcher)
    network.advance(20)
    before = network.clock.seconds()
    assert network.locate(fetcher) == GHCR
    assert network.clock.seconds() - before <= 1.1
    network.advance(2)


def test_the_log_says_once_that_this_machine_may_not_reach_a_cdn(lines: list[str]) -> None:
    network = CdnNetwork()
    fetcher = network.fetcher(blobs=CHECKED)
    for cdn in network.cdns.values():
        cdn.status = 503
    for _ in range(100):
        assert network.locate(fetcher, seconds=0) == HUB
        network.advance(1)
    start = (
        "hub: its CDN https://cdn.hub.test:443 does not answer this machine (answered 503), and no other backend has"
    )
    assert [line.startswith(start) for line in lines] == [True]
    network.cdns["cdn.hub.test"].status = 206
    for _ in range(3):
        network.locate(fetcher)
        network.advance(1)
    assert lines[1:] == ["hub: its CDN cdn.hub.test answers this machine again"]
    network.cdns["cdn.hub.test"].status = 503
    for _ in range(5):
        network.locate(fetcher)
        network.advance(1)
    assert lines[2].startswith(start)
    assert len(lines) == 3


def test_a_registry_with_a_new_cdn_in_each_address_adds_one_line_a_minute_to_the_log(lines: list[str]) -> None:
    network = CdnNetwork("hub")
    fetcher = network.fetcher(blobs=CHECKED)
    for number in range(120):
        network.cdns[f"cdn.{number}.test"] = network.cdns["cdn.hub.test"]
        network.cdns["cdn.hub.test"].status = 503
        network.fakes["hub"].headers["Location"] = f"https://cdn.{number}.test/a"
        network.locate(fetcher, other_blob(number))
        network.advance(0.5)
    assert len(lines) == 1


def test_checks_in_progress_are_bounded_whatever_a_registry_names() -> None:
    network = CdnNetwork("hub")
    fetcher, hub = network.fetcher(blobs=CHECKED), network.fakes["hub"]
    network.locate(fetcher)
    before = len(network.cdns)
    works = []
    for number in range(2 * MOST_CHECKS):
        hub.headers["Location"] = f"https://cdn.{number}.test/a"
        network.cdns[f"cdn.{number}.test"] = FakeCdn(status=0)
        works.append(network.start(fetcher, other_blob(number)))
        network.agent.flush()
        network.agent.flush()
    assert {type(network.run(work, 2)) for work in works} == {Served}
    asked = [cdn for cdn in network.cdns.values() if cdn.checks]
    assert len(asked) == before + MOST_CHECKS
    network.advance(5)
    hub.headers["Location"] = "https://cdn.last.test/a"
    network.locate(fetcher, other_blob(1000))
    assert network.cdns["cdn.last.test"].checks, "there is room again"


def test_without_trust_nothing_is_checked() -> None:
    network = CdnNetwork()
    network.cdns["cdn.hub.test"].status = 503
    assert network.locate(network.fetcher()) == HUB
    assert network.cdns["cdn.hub.test"].checks == []


def test_a_request_with_the_client_s_own_authorization_is_not_checked() -> None:
    network = CdnNetwork()
    network.fakes["hub"].fault = "open"
    network.cdns["cdn.hub.test"].status = 503
    served = forward(network, network.fetcher(blobs=CHECKED), READ, "Basic secret")
    assert isinstance(served, Served)
    assert network.cdns["cdn.hub.test"].checks == []


def test_the_results_are_evidence_of_the_backend_s_health() -> None:
    network = CdnNetwork()
    network.cdns["cdn.hub.test"].status = 503
    fetcher = network.fetcher(blobs=CHECKED)
    network.locate(fetcher)
    network.advance(1)
    network.locate(fetcher)
    assert cdn_attempts(network)[1:3] == [
        Attempt("ghcr", Step.CDN, True, "org/app", "192.0.2.1"),
        Attempt("hub", Step.CDN, False, "org/app", "192.0.2.1", "answered 503"),
    ]


def test_a_machine_that_reaches_no_cdn_has_no_samples_against_the_backends() -> None:
    """Else both would be called degraded because of this machine's firewall."""
    network = CdnNetwork()
    for cdn in network.cdns.values():
        cdn.status = 503
    fetcher = network.fetcher(blobs=CHECKED)
    for number in range(20):
        network.locate(fetcher, other_blob(number))
        network.advance(1)
    assert len(cdn_attempts(network)) >= 20
    assert [attempt for attempt in cdn_attempts(network) if attempt.sample] == []


def test_a_cdn_that_limits_this_machine_is_no_sample() -> None:
    network = CdnNetwork()
    network.cdns["cdn.hub.test"].status = 429
    network.locate(network.fetcher(blobs=CHECKED))
    assert [attempt.sample for attempt in cdn_attempts(network)] == [False, True]


def test_an_error_of_this_machine_says_nothing_of_a_cdn(lines: list[str]) -> None:
    network = CdnNetwork()
    network.cut_off(OSError(errno.EMFILE, "too many open files"))
    fetcher = network.fetcher(blobs=CHECKED)
    for _ in range(3):
        assert network.locate(fetcher, seconds=0) == HUB, "without a wait"
        network.advance(1)
    assert (cdn_attempts(network), lines) == ([], [])


def test_a_cdn_that_refuses_connections_is_dead_at_once(lines: list[str]) -> None:
    network = CdnNetwork("hub")
    network.cut_off(ConnectionRefusedError())
    assert network.locate(network.fetcher(blobs=CHECKED), seconds=0) == HUB
    assert [(attempt.good, attempt.reason) for attempt in cdn_attempts(network)] == [(False, "connection refused")]
    assert len(lines) == 1


def test_a_blob_that_is_asked_for_again_needs_a_new_check() -> None:
    network = CdnNetwork()
    cdn, fetcher = network.cdns["cdn.hub.test"], network.fetcher(blobs=CHECKED)
    network.locate(fetcher)
    network.advance(1)
    cdn.status = 503
    fetcher.doubt_blob("org/app", BLOB, "192.0.2.1")
    assert network.locate(fetcher) == GHCR, "although the proof is new enough for others"
    assert len(cdn.checks) == 2


def test_a_client_that_asks_for_a_blob_again_makes_no_other_client_wait() -> None:
    network = CdnNetwork()
    network.cdns["cdn.hub.test"].delay = 0.3
    fetcher = network.fetcher(blobs=CHECKED)
    network.locate(fetcher)
    network.advance(1)
    fetcher.doubt_blob("org/app", BLOB, "198.51.100.7")
    before = network.clock.seconds()
    assert (network.locate(fetcher), network.clock.seconds()) == (HUB, before)
    fetcher.doubt_blob("org/app", BLOB, "192.0.2.1")
    assert network.locate(fetcher) == HUB
    assert network.clock.seconds() > before
    network.advance(1)


def test_a_registry_cannot_spoil_the_cdn_of_another_one() -> None:
    network = CdnNetwork()
    network.cdns["cdn.ghcr.test"].statuses["/broken"] = 503
    network.fakes["hub"].headers["Location"] = "https://cdn.ghcr.test/broken"
    fetcher = network.fetcher(blobs=CHECKED)
    assert network.locate(fetcher, seconds=0) == GHCR


def test_the_checks_of_one_registry_leave_room_for_those_of_another_one() -> None:
    network = CdnNetwork()
    fetcher, ghcr = network.fetcher(blobs=CHECKED), network.fakes["ghcr"]
    for number in range(4 * MOST_CHECKS):
        ghcr.headers["Location"] = f"https://cdn.{number}.test/a"
        network.cdns[f"cdn.{number}.test"] = FakeCdn(status=0)
        read = other_blob(number)
        network.start(fetcher, read, Serve(read, ("ghcr",), "ghcr"))
        network.agent.flush()
        network.agent.flush()
    assert network.locate(fetcher, seconds=0) == HUB
    assert len(network.cdns["cdn.hub.test"].checks) == 1
    network.advance(5)


def test_a_client_that_disconnects_does_not_end_a_check() -> None:
    network = CdnNetwork()
    network.cdns["cdn.hub.test"].delay = 0.3
    fetcher = network.fetcher(blobs=CHECKED)
    errors = list[object]()
    works = [network.start(fetcher), network.start(fetcher)]
    network.advance(0.1)
    works[0].addErrback(lambda failure: errors.append(failure.check(CancelledError)))
    works[0].cancel()
    assert errors == [CancelledError]
    served = network.run(works[1], 1)
    assert isinstance(served, Served)
    assert served.backend == "hub"
    assert len(network.cdns["cdn.hub.test"].checks) == 1
    assert network.clock.getDelayedCalls() == []


def test_a_blob_that_nobody_has_is_not_found() -> None:
    network = CdnNetwork()
    served = network.run(network.start(network.fetcher(blobs=CHECKED), other_blob(0)))
    assert isinstance(served, Served)
    missing = type(READ)("org/app", "sha256:" + "0" * 64)
    assert network.run(network.start(network.fetcher(blobs=CHECKED), missing)) == NotServed({}, ("hub", "ghcr"))


def test_what_is_known_ends_with_trust() -> None:
    network = CdnNetwork()
    cdn, fetcher = network.cdns["cdn.hub.test"], network.fetcher(blobs=CHECKED)
    network.locate(fetcher)
    cdn.status = 503
    network.advance(TRUST + 0.1)
    assert network.locate(fetcher) == GHCR, "nobody is sent there once the proof is too old"
