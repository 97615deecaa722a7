"""Requests for referrers stay within the limits of their source, and those say nothing of a backend's health."""

from collections.abc import Callable

from attrs import define, evolve
from twisted.internet.defer import Deferred
from twisted.web.server import Request

from facaded.backends.fetcher import Fetcher
from facaded.backends.referrers_cache import PartialList, ReferrersCache
from facaded.backends.served_content import NotServed, ReadOptions, Served
from facaded.oci.referrers import Referrer, referrers_tag
from facaded.oci.requests import Referrers
from facaded.policy.health import Quota
from facaded.policy.limits import BURST, Limit, Limits
from tests.backends.fetching import WIDE, serve_from, two_registries
from tests.backends.memory import INDEX, MANIFEST, Fake, Network

SOURCE = "192.0.2.7"


def subject(number: int) -> str:
    return f"sha256:{number:064x}"


def start(network: Network, fetcher: Fetcher, number: int, source: str = SOURCE) -> Deferred[Served | NotServed]:
    read = Referrers("org/app", subject(number))
    serve = evolve(serve_from(network, read), united=True)
    return Deferred.fromCoroutine(fetcher.serve(serve, ReadOptions(WIDE, source=source)))


def test_a_request_counts_once_for_all_backends_and_not_at_all_if_its_lists_are_fresh() -> None:
    network = two_registries()
    network.shares.reconfigure(Limits(backend_requests_per_source=1))
    fetcher = network.fetcher()
    for number in range(BURST):
        assert isinstance(network.run(start(network, fetcher, number)), Served)
    refused = network.run(start(network, fetcher, BURST))
    assert isinstance(refused, NotServed)
    assert refused.over_limit is not None
    assert isinstance(network.run(start(network, fetcher, 0)), Served)


def test_a_request_that_waits_for_a_place_until_its_time_is_over_is_no_failure_of_the_backend() -> None:
    network = two_registries("hang lists")
    fetcher = network.fetcher()
    works = [start(network, fetcher, number) for number in range(200)]
    last = network.run(works[-1], 12.1)
    assert isinstance(last, NotServed)
    assert last.failures == {"hub": "too many requests to it are in progress"}
    assert Limit.BACKEND_REQUESTS in network.reached_limits.all()
    for work in works[:-1]:
        work.addErrback(lambda _: None)
        work.cancel()


def test_the_last_pulls_are_not_spent_on_the_indexes_of_fallback_tags() -> None:
    network = two_registries()
    hub = network.fakes["hub"]
    fetcher = network.fetcher()
    for number in range(20):
        hub.put("org/app", referrers_tag(subject(number)), INDEX, b'{"manifests": [], "of": %d}' % number)
    network.quotas.note("hub", "address", Quota(20, 100, 21600))
    answers = [network.run(start(network, fetcher, number)) for number in range(20)]
    assert hub.count("GET", "/manifests/") < 20
    assert isinstance(answers[-1], NotServed)
    assert "keeps its last pulls" in answers[-1].failures["hub"]
    assert network.attempts == []


@define
class JoinedFake(Fake):
    """A registry that calls `before_head` before it answers the HEAD of a manifest."""

    before_head: Callable[[], None] = lambda: None

    def _manifest(self, request: Request, repository: str, reference: str) -> bytes:
        if request.method == b"HEAD":
            self.before_head()
        return Fake._manifest(self, request, repository, reference)


def test_a_source_that_joins_the_request_of_a_refused_one_gets_the_list() -> None:
    hub = JoinedFake("hub")
    network = Network(hub)
    fetcher = network.fetcher()
    for number in range(21):
        hub.put("org/app", referrers_tag(subject(number)), INDEX, b'{"manifests": [], "of": %d}' % number)
    network.quotas.note("hub", "address", Quota(20, 100, 21600))
    for number in range(20):
        network.run(start(network, fetcher, number))
    joined: list[Deferred[Served | NotServed]] = []

    def join() -> None:
        hub.before_head = lambda: None
        joined.append(start(network, fetcher, 20, "198.51.100.7"))

    hub.before_head = join
    network.run(start(network, fetcher, 20))
    assert isinstance(network.run(joined[0]), Served)


def test_the_lists_that_are_remembered_are_bounded_in_memory() -> None:
    cache = ReferrersCache(100_000, 10, 600, lambda: 0.0)
    entries = tuple(Referrer(subject(number), "", "x" * 1000) for number in range(10))
    for number in range(20):
        cache.store("hub", Referrers("org/app", subject(number)), entries, PartialList())
    remembered = [cache.last("hub", Referrers("org/app", subject(number))) is not None for number in range(20)]
    assert remembered == [False] * 13 + [True] * 7
    cache.store("hub", Referrers("org/app", subject(0)), entries * 10, PartialList())
    assert cache.last("hub", Referrers("org/app", subject(0))) is None


def test_no_pull_is_spent_on_a_tag_that_is_no_index() -> None:
    network = two_registries()
    hub = network.fakes["hub"]
    hub.put("org/app", referrers_tag(subject(1)), f"{MANIFEST} {INDEX}")
    hub.headers["Content-Type"] = MANIFEST
    network.run(start(network, network.fetcher(), 1))
    assert (hub.count("HEAD", "/manifests/"), hub.count("GET", "/manifests/")) == (1, 0)
