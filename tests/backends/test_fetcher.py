"""The fetcher tries registries in turn: who is asked next, and who is not asked again."""

import pytest
from twisted.internet.defer import CancelledError, Deferred

from facaded.backends.fetcher import BUDGET, NotServed, ReadOptions, Served
from facaded.oci.requests import Blob, ManifestRead, Tags
from facaded.policy.repositories import parse_rename
from tests.backends.fetching import LATEST, WIDE, ask, backend, manifest, network
from tests.backends.memory import BLOB, Fake, Network


@pytest.mark.parametrize(
    ("fault", "said", "backend_wide"),
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
def test_a_failing_backend_is_survived_at_the_first_try_and_tried_last_for_a_while(
    fault: str, said: str, backend_wide: bool
) -> None:
    made = network(fault)
    serving, hub = made.serving(), made.fakes["hub"]
    begun = made.clock.seconds()
    served = ask(made, serving, seconds=BUDGET)
    assert backend(served) == "ghcr"
    assert isinstance(served, Served)
    assert served.failures == {"hub": said}
    assert made.failed == ["hub"], "its probe is hastened"
    assert made.clock.seconds() - begun <= BUDGET / 2 + 0.1
    made.fakes["ghcr"].put("org/app", "next")
    made.fakes["ghcr"].put("org/other", "latest")
    asked = len(hub.asked)
    assert backend(ask(made, serving, ManifestRead("org/app", "next"))) == "ghcr"
    assert len(hub.asked) == asked, "suspects last"
    hub.fault = ""
    hub.put("org/other", "latest")
    assert backend(ask(made, serving, ManifestRead("org/other", "latest"))) == ("ghcr" if backend_wide else "hub")
    made.clock.advance(10)
    assert backend(ask(made, serving)) == "hub"


@pytest.mark.parametrize("fault", ["token 403", "403", "refuse tokens"])
def test_a_backend_that_does_not_have_it_is_no_failure(fault: str) -> None:
    made = network(fault)
    served = ask(made, made.serving())
    assert backend(served) == "ghcr"
    assert made.failed == []


def test_what_only_the_second_has_is_served_and_the_first_not_asked_again_at_once() -> None:
    made = network()
    made.fakes["ghcr"].put("org/only", "latest")
    serving, only = made.serving(), ManifestRead("org/only", "latest")
    assert backend(ask(made, serving, only)) == "ghcr"
    asked = len(made.fakes["hub"].asked)
    made.clock.advance(4)
    assert backend(ask(made, serving, only)) == "ghcr"
    assert len(made.fakes["hub"].asked) == asked
    made.clock.advance(1)
    ask(made, serving, only)
    assert len(made.fakes["hub"].asked) > asked


def test_what_no_backend_has_is_not_there_unless_one_of_them_failed() -> None:
    made, nothing = network(), ManifestRead("org/nothing", "latest")
    assert ask(made, made.serving(), nothing) == NotServed({}, ("hub", "ghcr"))
    made = network("500")
    assert ask(made, made.serving(), nothing) == NotServed({"hub": "answered 500"}, ("ghcr",))


def test_a_rename_is_each_backend_s_own() -> None:
    made = Network(Fake("hub"), Fake("ghcr"))
    made.fakes["hub"].put("library/app", "latest")
    made.fakes["ghcr"].put("gh-org/app", "latest", body=b"{}")
    renames = {"hub": (parse_rename("*", "library/*"),), "ghcr": (parse_rename("app", "gh-org/app"),)}
    serving, app = made.serving(renames), ManifestRead("app", "latest")
    assert backend(ask(made, serving, app)) == "hub"
    made.fakes["hub"].fault = "500"
    made.clock.advance(11)
    assert manifest(ask(made, serving, app)).body == b"{}"


def test_a_client_that_goes_away_is_no_failure_and_cancels_the_work_behind_it() -> None:
    made = network("hang")
    serving = made.serving()
    gone: list[object] = []
    for read in (LATEST, Blob("org/app", BLOB), Tags("org/app")):
        work = Deferred.fromCoroutine(serving.serve(read, ("hub", "ghcr"), ReadOptions(WIDE)))
        work.addErrback(lambda failure: gone.append(failure.check(CancelledError)))
        made.agent.flush()
        work.cancel()
        made.agent.flush()
    assert gone == [CancelledError] * 3
    assert made.failed == []
    assert made.fakes["ghcr"].asked == []
    assert made.clock.getDelayedCalls() == []


def test_one_of_two_askers_that_goes_away_leaves_the_other_its_answer() -> None:
    made = network()
    serving = made.serving()
    first = Deferred.fromCoroutine(serving.serve(LATEST, ("hub",), ReadOptions(WIDE)))
    second = Deferred.fromCoroutine(serving.serve(LATEST, ("hub",), ReadOptions(WIDE)))
    first.addErrback(lambda _: None)
    first.cancel()
    assert backend(made.finish(second)) == "hub"


def test_a_request_that_a_backend_refuses_as_it_is_makes_no_suspect() -> None:
    made = network("400")
    made.fakes["ghcr"].fault = "400"
    serving = made.serving()
    assert ask(made, serving, Tags("org/app", "n=-1")) == NotServed({}, ("hub", "ghcr"), refused=True)
    assert made.failed == []
    made.fakes["hub"].fault = ""
    assert backend(ask(made, serving)) == "hub"
