"""What the fetcher reports of its requests, as evidence of the backends' health."""

import errno

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectBindError, ConnectError, ConnectionRefusedError
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed

from facaded.backends.served_content import NotServed, ReadOptions
from facaded.net.client import is_local_error
from facaded.oci.requests import Blob, ManifestRead, Read, Referrers, Tags
from facaded.policy.evidence import Attempt
from facaded.policy.health import Step
from tests.backends.fetching import LATEST, WIDE, ask, backend, manifest, serve_from, two_registries
from tests.backends.memory import BLOB, Network


def attempts(network: Network) -> list[tuple[str, Step, bool, bool]]:
    return [(attempt.backend, attempt.step, attempt.good, attempt.sample) for attempt in network.attempts]


def test_each_good_request_is_reported_with_its_step() -> None:
    network = two_registries()
    fetcher = network.fetcher()
    ask(network, fetcher, body=False)
    ask(network, fetcher)
    ask(network, fetcher, Blob("org/app", BLOB))
    steps = [Step.MANIFEST, Step.BODY, Step.BLOB]
    assert attempts(network) == [("hub", step, True, True) for step in steps]


def test_an_attempt_names_repository_client_and_reason() -> None:
    network = two_registries("500")
    options = ReadOptions(WIDE, source="192.0.2.1")
    network.run(Deferred.fromCoroutine(network.fetcher().serve(serve_from(network), options)))
    assert network.attempts == [
        Attempt("hub", Step.MANIFEST, False, "org/app", "192.0.2.1", "answered 500"),
        Attempt("ghcr", Step.BODY, True, "org/app", "192.0.2.1"),
    ]


def test_what_comes_from_the_cache_is_not_reported() -> None:
    network = two_registries()
    fetcher = network.fetcher()
    by_digest = ManifestRead("org/app", manifest(ask(network, fetcher)).digest)
    network.attempts.clear()
    ask(network, fetcher)
    ask(network, fetcher, by_digest)
    assert network.attempts == []
    network.clock.advance(10)
    ask(network, fetcher)
    assert attempts(network) == [("hub", Step.MANIFEST, True, True)], "the tag alone was asked for"


@pytest.mark.parametrize(
    ("fault", "read", "step"),
    [
        ("token 500", LATEST, Step.TOKEN),
        ("hang auth.hub.test", LATEST, Step.TOKEN),
        ("hang", LATEST, Step.PING),
        ("500", LATEST, Step.MANIFEST),
        ("GET 500", LATEST, Step.BODY),
        ("page", LATEST, Step.BODY),
        ("500", Blob("org/app", BLOB), Step.BLOB),
    ],
)
def test_each_failure_is_reported_with_its_step(fault: str, read: Read, step: Step) -> None:
    network = two_registries(fault)
    assert backend(ask(network, network.fetcher(), read, seconds=12)) == "ghcr"
    is_content = fault == "page"  # one image, which says nothing of the others
    assert attempts(network)[0] == ("hub", step, False, not is_content)


def test_a_timeout_of_a_whole_try_is_reported() -> None:
    network = two_registries("", "a", "b", "c", "d")
    fetcher, hub = network.fetcher(), network.fakes["hub"]
    ask(network, fetcher)
    network.attempts.clear()
    hub.fault = "hang"
    assert backend(ask(network, fetcher, Blob("org/app", BLOB), seconds=12)) == "ghcr"
    assert attempts(network)[0] == ("hub", Step.BLOB, False, True)


@pytest.mark.parametrize("read", [Tags("org/app"), Referrers("org/app", BLOB)])
def test_a_list_is_no_sample(read: Read) -> None:
    network = two_registries("500")
    ask(network, network.fetcher(), read)
    assert attempts(network) == [("hub", Step.MANIFEST, False, False)]


@pytest.mark.parametrize("fault", ["429", "token 429"])
def test_a_rate_limit_is_no_sample_and_has_its_retry_after(fault: str) -> None:
    network = two_registries(fault)
    network.fakes["hub"].retry_after = "30"
    ask(network, network.fetcher())
    limited = network.attempts[0]
    assert (limited.good, limited.sample, limited.retry_after) == (False, False, 30)


@pytest.mark.parametrize("fault", ["403", "token 403", "400"])
def test_what_a_backend_refuses_is_not_reported(fault: str) -> None:
    network = two_registries(fault)
    network.fakes["ghcr"].fault = fault
    ask(network, network.fetcher())
    ask(network, network.fetcher(), ManifestRead("org/none", "latest"))
    assert network.attempts == []


class Exhausted:
    """An agent on a machine without something."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def request(self, *_: object) -> Deferred[object]:
        return fail(self._error)

    def flush(self) -> None:
        """Nothing to do."""


NO_PORTS = ConnectError(errno.EADDRNOTAVAIL)
NO_FILES = OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize(
    "error",
    [NO_FILES, NO_PORTS, ConnectBindError(errno.ENOBUFS), ResponseFailed([Failure(NO_FILES)])],
)
def test_a_failure_of_this_machine_says_nothing_of_a_backend(error: Exception) -> None:
    network = two_registries()
    network.agent = Exhausted(error)  # type: ignore[assignment]
    fetcher = network.fetcher()
    served = ask(network, fetcher)
    assert isinstance(served, NotServed)
    assert list(served.failures) == ["hub", "ghcr"]
    assert network.attempts == []
    assert served.failures["hub"].startswith("this machine could not send the request: ")
    assert is_local_error(error)


def test_a_backend_that_refuses_connections_fails() -> None:
    assert not is_local_error(ConnectionRefusedError(errno.ECONNREFUSED))
    assert not is_local_error(ValueError())
