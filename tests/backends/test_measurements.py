"""What is measured of the requests to the backends, of probes, and of the cache."""

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from facaded.backends.blob_offers import BlobSettings
from facaded.backends.fetcher import BUDGET
from facaded.backends.manifests import CacheUses
from facaded.backends.measurements import Measurements, TokenResult
from facaded.backends.served_content import ReadOptions
from facaded.oci.requests import Blob, ManifestRead
from facaded.policy.health import Step
from tests.backends.fetching import LATEST, NARROW, WIDE, ask, manifest, serve_from, two_registries
from tests.backends.memory import BLOB, Fake, Network
from tests.backends.probing import CANARY, DEEP, GATE, WHOLE, climb
from tests.watching import GOOD, up


def test_each_request_to_a_backend_is_timed_by_its_step() -> None:
    network = two_registries()
    fetcher = network.fetcher(blobs=BlobSettings(2.0, 60.0))
    manifest(ask(network, fetcher))
    ask(network, fetcher, Blob("org/app", BLOB))
    counts = {key: histogram.total for key, histogram in network.measurements.requests.items()}
    steps = (Step.PING, Step.TOKEN, Step.MANIFEST, Step.BODY, Step.BLOB, Step.CDN)
    assert counts == {("hub", step): 1 for step in steps}


def test_a_request_that_is_given_up_is_timed_too() -> None:
    network = two_registries("hang hub.test")
    ask(network, network.fetcher(), seconds=BUDGET)
    assert network.measurements.requests["hub", Step.PING].seconds >= 4.0


@pytest.mark.parametrize(
    ("fault", "result"),
    [
        ("", TokenResult.GRANTED),
        ("token 403", TokenResult.REFUSED),
        ("token 500", TokenResult.FAILED),
        ("token 429", TokenResult.FAILED),
        ("hang auth.hub.test", TokenResult.FAILED),
    ],
)
def test_requests_for_tokens_are_counted_by_what_came_of_them(fault: str, result: TokenResult) -> None:
    network = Network(Fake("hub", fault=fault))
    network.fakes["hub"].put("org/app", "latest")
    ask(network, network.fetcher(), seconds=BUDGET)
    assert network.measurements.tokens.keys() == {("hub", result)}


def test_a_client_that_disconnects_is_no_failure_of_the_token_server() -> None:
    network = two_registries("hang auth.hub.test")
    work = Deferred.fromCoroutine(network.fetcher().serve(serve_from(network), ReadOptions(WIDE)))
    work.addErrback(lambda _: None)
    for _ in range(12):
        network.agent.flush()
    work.cancel()
    assert not network.measurements.tokens


def test_requests_for_manifests_are_counted_by_where_the_manifest_was() -> None:
    network = two_registries()
    fetcher, uses = network.fetcher(), network.measurements.cache_uses
    digest = manifest(ask(network, fetcher)).digest
    assert uses == CacheUses(misses=1)
    ask(network, fetcher)
    ask(network, fetcher, ManifestRead("org/app", digest))
    assert uses == CacheUses(hits=2, misses=1)
    network.clock.advance(11)
    ask(network, fetcher)
    assert uses == CacheUses(hits=2, confirmed=1, misses=1), "only its digest was asked for"
    by_digest = ManifestRead("org/app", digest)
    assert fetcher.find_cached(serve_from(network, by_digest), ReadOptions(WIDE)) is not None
    assert fetcher.find_cached(serve_from(network, by_digest), ReadOptions(NARROW)) is None, "it is asked for next"
    assert uses == CacheUses(hits=3, confirmed=1, misses=1)
    ask(network, fetcher, ManifestRead("org/app", "missing"))
    ask(network, fetcher, Blob("org/app", BLOB))
    assert uses == CacheUses(hits=3, confirmed=1, misses=2)


def test_the_cache_knows_how_much_it_has() -> None:
    network = two_registries()
    fetcher = network.fetcher()
    assert fetcher.cache.used == 0
    body = manifest(ask(network, fetcher, LATEST)).body
    assert body is not None
    assert fetcher.cache.used > len(body)


def test_a_probe_says_how_long_each_step_took() -> None:
    result, _ = climb(WHOLE, CANARY, DEEP)
    assert list(result.durations) == list(Step)
    failed, _ = climb({"/v2/": GATE["/v2/"]}, CANARY)
    assert failed.durations == {Step.PING: 0.0, Step.TOKEN: 3.0}, "the token server hangs"


def test_a_reload_forgets_the_backends_that_are_gone() -> None:
    watching = up("main", "second")
    measurements = watching.watch.measurements
    for name in ("main", "second"):
        measurements.note_probe(name, {Step.PING: 0.1})
        measurements.note_token(name, TokenResult.GRANTED)
        with measurements.measured(name)(Step.BLOB):
            pass
    watching.watch.reconfigure(watching.backends.plan("second"))
    for measured in (measurements.probes, measurements.tokens, measurements.requests):
        assert {key[0] for key in measured} == {"second"}
    watching.watch.stopService()


def test_the_results_of_probes_are_measured() -> None:
    watching = up("main")
    watching.advance(10)
    watching.backends.answer("main", evolve(GOOD, durations={Step.PING: 0.02, Step.TOKEN: 0.2}))
    seconds = {key: histogram.seconds for key, histogram in watching.watch.measurements.probes.items()}
    assert seconds == {("main", Step.PING): 0.02, ("main", Step.TOKEN): 0.2}
    watching.watch.stopService()


def test_time_is_that_of_the_clock() -> None:
    clock = Clock()
    measurements = Measurements(clock)
    with measurements.measured("main")(Step.BLOB):
        clock.advance(0.3)
    assert measurements.requests["main", Step.BLOB].seconds == 0.3
