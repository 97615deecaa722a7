"""A tag whose backend fails keeps its last known digest, so a copy that lags behind does not turn it back in time."""

import pytest
from attrs import evolve

from facaded.backends.fetcher import BUDGET, Fetcher
from facaded.backends.manifests import digest_of
from facaded.backends.served_content import NotServed, Served
from facaded.policy.decision import Serve
from tests.backends.fetching import LATEST, ask, backend, manifest, serve_from, two_registries
from tests.backends.memory import Network

NEW, OLD = b'{"version": 2}', b'{"version": 1}'


def lagging(has_new: bool = False, **settings: float) -> tuple[Network, Fetcher]:
    """Return registries whose second one still has the old tag, after a pull of the new one from the first.

    The second one has the new manifest, but not under the tag, if `has_new` is set.
    """
    network = two_registries()
    if has_new:
        network.fakes["ghcr"].put("org/app", "another", body=NEW)
    network.fakes["hub"].put("org/app", "latest", body=NEW)
    network.fakes["ghcr"].put("org/app", "latest", body=OLD)
    fetcher = network.fetcher(**settings)  # type: ignore[arg-type]
    assert version(ask(network, fetcher)) == NEW
    network.clock.advance(10)
    return network, fetcher


def version(served: Served | NotServed) -> bytes | None:
    return manifest(served).body


def serve(network: Network, *order: str, failing: str = "", pinned: bool = False) -> Serve:
    """Return an answer with this order of backends, on a route that has them in the order of the network."""
    whole = serve_from(network)
    route = tuple(network.fakes)
    earlier = frozenset(route[: route.index(order[0])])
    return evolve(whole, backends=order, failing=frozenset({failing} - {""}), pinned=pinned, earlier=earlier)


@pytest.mark.parametrize("fault", ["500", "429", "hang", "token 500", "page", "wrong digest"])
@pytest.mark.parametrize("with_body", [True, False])
def test_one_failure_does_not_turn_a_tag_back(fault: str, with_body: bool) -> None:
    network, fetcher = lagging()
    network.fakes["hub"].fault = fault
    if fault == "token 500":
        network.fakes["hub"].valid.clear()
    served = ask(network, fetcher, body=with_body, seconds=BUDGET)
    assert manifest(served).digest == digest_of(NEW)
    network.fakes["hub"].fault = ""
    assert version(ask(network, fetcher)) == NEW, "the first one is suspect"
    network.clock.advance(10)
    assert version(ask(network, fetcher)) == NEW
    assert network.fakes["ghcr"].count("HEAD", "/latest") == 0


def test_the_last_manifest_comes_from_any_backend_if_it_is_not_cached() -> None:
    network, fetcher = lagging(has_new=True, size=0)
    network.fakes["hub"].fault = "500"
    served = ask(network, fetcher)
    assert (backend(served), version(served)) == ("ghcr", NEW)


def test_the_other_backend_s_tag_is_used_if_nobody_has_the_last_manifest() -> None:
    network, fetcher = lagging(size=0)
    network.fakes["hub"].fault = "500"
    assert version(ask(network, fetcher)) == OLD


def test_the_last_digest_is_believed_for_a_limited_time() -> None:
    network, fetcher = lagging()
    network.fakes["hub"].fault = "500"
    network.clock.advance(589)
    assert version(ask(network, fetcher)) == NEW
    network.clock.advance(1)
    assert version(ask(network, fetcher)) == OLD


def test_each_answer_of_its_backend_confirms_a_tag() -> None:
    network, fetcher = lagging()
    network.clock.advance(580)
    assert version(ask(network, fetcher)) == NEW
    network.fakes["hub"].fault = "500"
    network.clock.advance(590)
    assert version(ask(network, fetcher)) == NEW


def test_no_digest_is_believed_with_a_time_of_zero() -> None:
    network, fetcher = lagging(stale_tags=0)
    network.fakes["hub"].fault = "500"
    assert version(ask(network, fetcher)) == OLD


def test_a_tag_that_its_backend_no_longer_has_is_forgotten() -> None:
    network, fetcher = lagging()
    del network.fakes["hub"].manifests["org/app", "latest"]
    assert version(ask(network, fetcher)) == OLD
    network.fakes["hub"].fault = "500"
    network.clock.advance(10)
    assert version(ask(network, fetcher)) == OLD


def test_a_tag_that_moves_is_learned_anew() -> None:
    network, fetcher = lagging()
    network.fakes["hub"].put("org/app", "latest", body=b'{"version": 3}')
    assert version(ask(network, fetcher)) == b'{"version": 3}'
    network.fakes["hub"].fault = "500"
    network.clock.advance(10)
    assert version(ask(network, fetcher)) == b'{"version": 3}'


def test_the_tag_of_a_backend_that_is_down_or_waits_for_its_failback_is_believed() -> None:
    network, fetcher = lagging()
    for answer in (serve(network, "ghcr", "hub", failing="hub"), serve(network, "ghcr", "hub")):
        assert version(ask(network, fetcher, serve=answer)) == NEW
    assert network.fakes["ghcr"].count("HEAD", "/latest") == 0


def test_a_pinned_backend_and_one_beside_a_drained_one_are_asked_for_their_own_tags() -> None:
    network, fetcher = lagging()
    pinned, drained = serve(network, "ghcr", "hub", failing="hub", pinned=True), serve(network, "ghcr")
    for answer in (pinned, drained):
        network, fetcher = lagging()
        assert version(ask(network, fetcher, serve=answer)) == OLD


def test_a_tag_of_a_later_backend_is_not_believed_while_an_earlier_one_is_asked() -> None:
    network, fetcher = lagging()
    assert version(ask(network, fetcher, serve=serve(network, "ghcr"))) == OLD
    assert version(ask(network, fetcher)) == NEW


def test_among_later_backends_the_one_that_waits_for_its_failback_is_believed() -> None:
    network = two_registries("", "quay")
    network.fakes["ghcr"].put("org/app", "latest", body=NEW)
    network.fakes["quay"].put("org/app", "latest", body=OLD)
    fetcher = network.fetcher()
    assert version(ask(network, fetcher, serve=serve(network, "ghcr", "quay", "hub"))) == NEW
    assert version(ask(network, fetcher, serve=serve(network, "quay", "ghcr", "hub"))) == NEW


def test_a_cached_tag_whose_manifest_was_deleted_is_asked_for_again() -> None:
    network = two_registries()
    fetcher, hub = network.fetcher(size=600), network.fakes["hub"]
    digest = manifest(ask(network, fetcher)).digest
    ask(network, fetcher, evolve(LATEST, reference=hub.put("org/app", "other", body=OLD)))  # evicts the first one
    hub.put("org/app", "latest", body=NEW)
    del hub.manifests["org/app", digest]
    served = ask(network, fetcher)
    assert (backend(served), version(served)) == ("hub", NEW)
    assert hub.count("HEAD", "/latest") == 2


def test_a_tag_whose_new_manifest_cannot_be_read_keeps_the_old_one() -> None:
    network, fetcher = lagging()
    network.fakes["hub"].put("org/app", "latest", body=b'{"version": 3}')
    network.fakes["hub"].fault = "GET 500"
    assert version(ask(network, fetcher)) == NEW


@pytest.mark.parametrize("fault", ["403", "token 403"])
def test_a_registry_that_denies_everybody_does_not_turn_tags_back(fault: str) -> None:
    network, fetcher = lagging()
    hub = network.fakes["hub"]
    hub.fault = fault
    for _ in range(5):
        network.clock.advance(11)
        hub.valid.clear()
        assert version(ask(network, fetcher, seconds=BUDGET)) == NEW
