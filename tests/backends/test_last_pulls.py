"""The last pulls that a registry allows this machine are kept for sources that had fewer than others."""

import json
from collections.abc import Iterable
from ipaddress import ip_network

import pytest
from attrs import define
from twisted.internet.defer import Deferred
from twisted.web.server import Request

from facaded.backends.fetcher import Fetcher
from facaded.backends.manifests import digest_of
from facaded.backends.served_content import NotServed, ReadOptions, Served
from facaded.backends.shares import OverLimit
from facaded.oci.requests import ManifestRead
from facaded.policy.decision import Serve
from facaded.policy.health import Quota
from facaded.policy.limits import Limit, Limits
from tests.backends.fetching import LATEST, WIDE, ask, backend, forward, manifest, serve_from
from tests.backends.memory import INDEX, Fake, Network

GREEDY, HONEST = "192.0.2.66", "198.51.100.7"

WINDOW = 21600


@define
class MeteredFake(Fake):
    """A registry that allows `limit` GETs of manifests, as Docker Hub does; `pulls` are those that it had."""

    limit: int = 100
    pulls: int = 0

    def _manifest(self, request: Request, repository: str, reference: str) -> bytes:
        if request.method == b"GET":
            if self.pulls == self.limit:
                return self._respond(request, 429, {}, b"")
            self.pulls += 1
        remaining = self.limit - self.pulls
        self.headers = {"RateLimit-Limit": f"{self.limit};w={WINDOW}", "RateLimit-Remaining": f"{remaining};w={WINDOW}"}
        return Fake._manifest(self, request, repository, reference)


def metered(*others: str, images: int = 120) -> tuple[Network, MeteredFake, Fetcher]:
    """Return a network whose first registry, `hub`, allows 100 pulls; all have org/app with tags 0, 1 and so on."""
    hub = MeteredFake("hub")
    network = Network(hub, *(Fake(name) for name in others))
    for fake in network.fakes.values():
        fake.put("org/app", "latest")
        for number in range(images):
            fake.put("org/app", str(number))
    return network, hub, network.fetcher()


def pull(network: Network, fetcher: Fetcher, tag: str, source: str) -> Served | NotServed:
    """Pull an image by its tag, with its body, and return the answer."""
    read = ManifestRead("org/app", tag)
    options = ReadOptions(WIDE, source=source)
    return network.run(Deferred.fromCoroutine(fetcher.serve(serve_from(network, read), options)))


def pull_all(network: Network, fetcher: Fetcher, tags: Iterable[int], source: str) -> list[Served | NotServed]:
    """Pull images at the same time."""
    works = []
    for tag in tags:
        serve = serve_from(network, ManifestRead("org/app", str(tag)))
        works.append(Deferred.fromCoroutine(fetcher.serve(serve, ReadOptions(WIDE, source=source))))
    return [network.run(work, 1) for work in works]


@pytest.mark.parametrize("at_once", [True, False])
def test_one_source_leaves_a_quarter_of_the_pulls_to_others(at_once: bool) -> None:
    network, hub, fetcher = metered()
    network.shares.reconfigure(Limits(backend_requests_per_source=10_000))
    pull(network, fetcher, "latest", HONEST)
    if at_once:
        answers = pull_all(network, fetcher, range(120), GREEDY)
    else:
        answers = [pull(network, fetcher, str(tag), GREEDY) for tag in range(120)]
    assert hub.pulls == 75
    assert sum(isinstance(answer, Served) for answer in answers) == 74
    assert backend(pull(network, fetcher, "119", HONEST)) == "hub"
    assert network.failed == []


def test_a_source_that_had_its_share_learns_when_to_ask_again() -> None:
    network, _, fetcher = metered()
    for tag in range(75):
        pull(network, fetcher, str(tag), GREEDY)
    network.clock.advance(WINDOW - 100)
    answer = pull(network, fetcher, "80", GREEDY)
    assert isinstance(answer, NotServed)
    message = "hub keeps its last pulls (of 100 in 6 h) for clients that had fewer"
    assert answer.over_limit == OverLimit(f"{message}: try again in 100 s, or pull from there directly", 100)
    assert network.reached_limits.all()[Limit.QUOTA_RESERVE].subject == GREEDY


def test_a_source_has_its_share_of_the_reserve_and_no_more() -> None:
    network, hub, fetcher = metered()
    for tag in range(75):
        pull(network, fetcher, str(tag), GREEDY)
    answers = [pull(network, fetcher, str(tag), HONEST) for tag in range(80, 84)]
    assert [isinstance(answer, Served) for answer in answers] == [True, True, False, False]
    assert hub.pulls == 77


def test_the_next_registry_serves_a_source_that_had_its_share() -> None:
    network, hub, fetcher = metered("ghcr")
    for tag in range(75):
        pull(network, fetcher, str(tag), GREEDY)
    assert backend(pull(network, fetcher, "80", GREEDY)) == "ghcr"
    assert backend(pull(network, fetcher, "81", HONEST)) == "hub"
    assert (hub.pulls, network.failed) == (76, [])


def test_a_failure_of_another_registry_is_no_limit_of_the_source() -> None:
    network, _, fetcher = metered("ghcr")
    for tag in range(75):
        pull(network, fetcher, str(tag), GREEDY)
    network.fakes["ghcr"].fault = "500"
    answer = pull(network, fetcher, "80", GREEDY)
    assert isinstance(answer, NotServed)
    assert (answer.over_limit, set(answer.failures)) == (None, {"hub", "ghcr"})


def test_a_source_that_joins_the_request_of_a_refused_one_gets_its_image() -> None:
    network, _, fetcher = metered()
    for tag in range(75):
        pull(network, fetcher, str(tag), GREEDY)
    serve = serve_from(network, ManifestRead("org/app", "80"))
    refused, joined = (
        Deferred.fromCoroutine(fetcher.serve(serve, ReadOptions(WIDE, source=source))) for source in (GREEDY, HONEST)
    )
    assert isinstance(network.run(refused), NotServed)
    assert backend(network.run(joined)) == "hub"


def test_what_is_cached_and_heads_spend_no_pulls() -> None:
    network, hub, fetcher = metered()
    for tag in range(75):
        pull(network, fetcher, str(tag), GREEDY)
    assert manifest(pull(network, fetcher, "3", GREEDY)).body
    assert manifest(ask(network, fetcher, ManifestRead("org/app", "90"), body=False)).body is None
    assert hub.pulls == 75


def test_without_a_reserve_all_pulls_can_be_used() -> None:
    network, hub, fetcher = metered()
    network.shares.reconfigure(Limits(quota_reserve=0))
    for tag in range(100):
        assert isinstance(pull(network, fetcher, str(tag), GREEDY), Served)
    assert hub.pulls == 100


def test_an_exempt_source_may_use_the_reserve() -> None:
    network, hub, fetcher = metered()
    network.shares.reconfigure(Limits(exempt=(ip_network("192.0.2.0/24"),)))
    for tag in range(100):
        pull(network, fetcher, str(tag), GREEDY)
    assert hub.pulls == 100


def test_pulls_count_again_when_the_window_is_over() -> None:
    network, hub, fetcher = metered()
    for tag in range(77):
        pull(network, fetcher, str(tag), GREEDY)
    network.clock.advance(WINDOW)
    hub.pulls = 0
    network.quotas.note("hub", "address", Quota(20, 100, WINDOW))
    assert isinstance(pull(network, fetcher, "80", GREEDY), Served)


def test_an_old_quota_reserves_nothing() -> None:
    network, hub, fetcher = metered()
    for tag in range(75):
        pull(network, fetcher, str(tag), GREEDY)
    network.clock.advance(WINDOW)
    hub.pulls = 0
    digest = digest_of(hub.manifests["org/app", "90"][1])
    assert isinstance(pull(network, fetcher, digest, GREEDY), Served), "asked by digest, so no HEAD renews the quota"


def test_a_moved_tag_is_believed_while_few_pulls_are_left() -> None:
    network, hub, fetcher = metered()
    old = manifest(pull(network, fetcher, "latest", HONEST)).digest
    for tag in range(74):
        pull(network, fetcher, str(tag), GREEDY)
    network.clock.advance(60)
    new = hub.put("org/app", "latest", INDEX, json.dumps({"mediaType": INDEX, "new": True}).encode())
    before = len(hub.requests)
    assert manifest(pull(network, fetcher, "latest", HONEST)).digest == old
    pinned = Serve(LATEST, ("hub",), "hub", pinned=True)
    assert manifest(ask(network, fetcher, serve=pinned)).digest == new, "pinned: its operator wants what it has"
    assert len(hub.requests) > before
    network.clock.advance(11)
    assert manifest(pull(network, fetcher, "latest", HONEST)).digest == new


def test_a_forwarded_request_does_not_spend_this_machines_pulls() -> None:
    network, hub, fetcher = metered()
    for tag in range(75):
        pull(network, fetcher, str(tag), "-")
    hub.valid.add("mine")
    assert isinstance(forward(network, fetcher, ManifestRead("org/app", "80"), "Bearer mine"), Served)
    assert hub.pulls == 76


def test_counts_follow_a_renamed_backend() -> None:
    network, _, fetcher = metered()
    for tag in range(75):
        pull(network, fetcher, str(tag), GREEDY)
    network.quotas.rename({"hub": "docker-hub"})
    assert network.quotas.of("hub") == {}
    assert network.quotas.of("docker-hub")["address"][0].remaining == 25
    assert not network.quotas.is_low("hub", "address", 25)
    assert network.quotas.is_low("docker-hub", "address", 25)
