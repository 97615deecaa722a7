"""The fetcher tries registries in turn: the order, and which registries are skipped."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from facaded.backends.fetcher import BUDGET
from facaded.backends.manifests import Accept
from facaded.backends.served_content import NotServed, ReadOptions, Served
from facaded.oci.requests import Blob, ManifestRead, Tags
from facaded.policy.decision import Serve
from facaded.policy.repositories import parse_rename
from tests.backends.fetching import LATEST, NARROW, WIDE, ask, backend, manifest, two_registries
from tests.backends.memory import BLOB, MANIFEST, Fake, Network


@pytest.mark.parametrize(
    ("fault", "reason", "backend_wide"),
    [
        ("500", "answered 500", False),
        ("429", "rate-limited (429)", True),
        ("wrong digest", "manifest does not match its digest", False),
        ("token 500", "token server: answered 500", True),
        ("token 404", "token server: answered 404", True),
        ("hang", "timeout", True),
        ("hang auth.hub.test", "timeout", True),
        ("hang hub.test", "timeout", True),
    ],
)
def test_a_request_survives_a_failing_backend_which_is_then_tried_last(
    fault: str, reason: str, backend_wide: bool
) -> None:
    network = two_registries(fault)
    fetcher, hub = network.fetcher(), network.fakes["hub"]
    start = network.clock.seconds()
    served = ask(network, fetcher, seconds=BUDGET)
    assert backend(served) == "ghcr"
    assert isinstance(served, Served)
    assert served.failures == {"hub": reason}
    assert network.failed == ["hub"], "its next probe is early"
    assert network.clock.seconds() - start <= BUDGET / 2 + 0.1
    network.fakes["ghcr"].put("org/app", "next")
    network.fakes["ghcr"].put("org/other", "latest")
    before = len(hub.requests)
    assert backend(ask(network, fetcher, ManifestRead("org/app", "next"))) == "ghcr"
    assert len(hub.requests) == before, "suspects last"
    hub.fault = ""
    hub.put("org/other", "latest")
    assert backend(ask(network, fetcher, ManifestRead("org/other", "latest"))) == ("ghcr" if backend_wide else "hub")
    network.clock.advance(10)
    assert backend(ask(network, fetcher)) == "hub"


@pytest.mark.parametrize("fault", ["token 403", "403", "refuse tokens"])
def test_a_backend_without_the_content_does_not_count_as_failing(fault: str) -> None:
    network = two_registries(fault)
    served = ask(network, network.fetcher())
    assert backend(served) == "ghcr"
    assert network.failed == []


def test_a_not_found_response_is_cached_for_a_while() -> None:
    network = two_registries()
    network.fakes["ghcr"].put("org/only", "latest")
    fetcher, only = network.fetcher(), ManifestRead("org/only", "latest")
    assert backend(ask(network, fetcher, only)) == "ghcr"
    before = len(network.fakes["hub"].requests)
    network.clock.advance(4)
    assert backend(ask(network, fetcher, only)) == "ghcr"
    assert len(network.fakes["hub"].requests) == before
    network.clock.advance(1)
    ask(network, fetcher, only)
    assert len(network.fakes["hub"].requests) > before


def test_content_is_not_found_only_if_no_backend_failed() -> None:
    network, missing = two_registries(), ManifestRead("org/nothing", "latest")
    assert ask(network, network.fetcher(), missing) == NotServed({}, ("hub", "ghcr"))
    network = two_registries("500")
    assert ask(network, network.fetcher(), missing) == NotServed({"hub": "answered 500"}, ("ghcr",))


def test_each_backend_has_its_own_renames() -> None:
    network = Network(Fake("hub"), Fake("ghcr"))
    network.fakes["hub"].put("library/app", "latest")
    network.fakes["ghcr"].put("gh-org/app", "latest", body=b"{}")
    renames = {"hub": (parse_rename("*", "library/*"),), "ghcr": (parse_rename("app", "gh-org/app"),)}
    fetcher, app = network.fetcher(renames, stale_tags=0), ManifestRead("app", "latest")
    assert backend(ask(network, fetcher, app)) == "hub"
    network.fakes["hub"].fault = "500"
    network.clock.advance(11)
    assert manifest(ask(network, fetcher, app)).body == b"{}"


def test_a_client_that_disconnects_cancels_its_requests_to_the_backend() -> None:
    network = two_registries("hang")
    fetcher = network.fetcher()
    errors: list[object] = []
    for read in (LATEST, Blob("org/app", BLOB), Tags("org/app")):
        work = Deferred.fromCoroutine(fetcher.serve(Serve(read, ("hub", "ghcr"), "hub"), ReadOptions(WIDE)))
        work.addErrback(lambda failure: errors.append(failure.check(CancelledError)))
        network.agent.flush()
        work.cancel()
        network.agent.flush()
    assert errors == [CancelledError] * 3
    assert network.failed == []
    assert network.fakes["ghcr"].requests == []
    assert network.clock.getDelayedCalls() == []


def test_a_client_that_disconnects_does_not_affect_another_one() -> None:
    network = two_registries()
    fetcher = network.fetcher()
    first = Deferred.fromCoroutine(fetcher.serve(Serve(LATEST, ("hub",), "hub"), ReadOptions(WIDE)))
    second = Deferred.fromCoroutine(fetcher.serve(Serve(LATEST, ("hub",), "hub"), ReadOptions(WIDE)))
    first.addErrback(lambda _: None)
    first.cancel()
    assert backend(network.run(second)) == "hub"


def test_a_backend_that_refuses_a_request_as_invalid_is_not_suspect() -> None:
    network = two_registries("400")
    network.fakes["ghcr"].fault = "400"
    fetcher = network.fetcher()
    assert ask(network, fetcher, Tags("org/app", "n=-1")) == NotServed({}, ("hub", "ghcr"), refused=True)
    assert network.failed == []
    network.fakes["hub"].fault = ""
    assert backend(ask(network, fetcher)) == "hub"


STEPS = st.tuples(
    st.sampled_from(["latest", "digest", "other", "listed"]),
    st.sampled_from([WIDE, NARROW]),
    st.booleans(),
    st.sampled_from([("hub", "ghcr"), ("ghcr", "hub"), ("ghcr",)]),
    st.sampled_from(["", "", "", "500", "429", "403", "hang"]),
    st.sampled_from([0.0, 1.0, 6.0, 11.0]),
)


def take_steps(*steps: tuple[str, str]) -> Any:
    """Return an example: which manifest is asked for, and how the hub fails then."""
    return example([(name, WIDE, True, ("hub", "ghcr"), fault, 0.0) for name, fault in steps])


@take_steps(("digest", ""), ("latest", "500"), ("digest", ""))
@take_steps(("other", ""), ("other", ""))
@take_steps(("latest", ""), ("latest", ""))
@take_steps(("listed", ""), ("listed", ""))
@given(st.lists(STEPS, max_size=12))
@settings(max_examples=40, deadline=None)
def test_what_is_found_in_the_cache_at_once_is_what_would_be_served_without_a_request(
    steps: list[tuple[str, Accept, bool, tuple[str, ...], str, float]],
) -> None:
    network = Network(Fake("hub"), Fake("ghcr"))
    hub, ghcr = network.fakes.values()
    references = {
        "latest": "latest",
        "digest": hub.put("org/app", "latest"),
        "other": ghcr.put("org/app", "other", MANIFEST),
        "listed": ghcr.put("org/app", "sha256-" + "a" * 64),
    }
    ghcr.put("org/app", "latest")
    fetcher = network.fetcher()
    ask(network, fetcher, ManifestRead("org/app", "sha256-" + "a" * 64))
    for name, accept, body, backends, fault, pause in steps:
        hub.fault = fault
        network.clock.advance(pause)
        read = ManifestRead("org/app", references[name])
        serve, before = Serve(read, backends, "hub"), hub.requests + ghcr.requests
        cached = fetcher.find_cached(serve, ReadOptions(accept, body))
        served = ask(network, fetcher, read, accept, body, BUDGET, serve)
        if cached is not None:
            assert name in ("digest", "other"), "a tag may move, and a referrer may be elsewhere"
            assert served == cached
            assert hub.requests + ghcr.requests == before
