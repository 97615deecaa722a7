"""The referrers of all backends as one list."""

import json
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred

from facaded.backends.fetcher import Fetcher
from facaded.backends.manifests import digest_of
from facaded.backends.registry import Listing
from facaded.backends.served_content import NotServed, ReadOptions, Served
from facaded.oci.referrers import MOST_REFERRERS, referrers_tag
from facaded.oci.requests import Blob, ManifestRead, Referrers
from facaded.policy.decision import Serve
from facaded.policy.elsewhere import ELSEWHERE_TIME
from facaded.policy.repositories import parse_rename
from tests.backends.fetching import WIDE, ask, backend, serve_from, two_registries
from tests.backends.memory import BLOB, INDEX, MANIFEST, Fake, Network

SIGNATURE = "application/vnd.example.signature"
SUBJECT = "sha256:" + "5" * 64
API = f"/v2/org/app/referrers/{SUBJECT}"
TAG = referrers_tag(SUBJECT)


def descriptor(number: int, kind: str = SIGNATURE) -> dict[str, object]:
    return {"mediaType": MANIFEST, "digest": f"sha256:{number:064x}", "size": 7, "artifactType": kind}


def index(*numbers: int) -> dict[str, object]:
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(number) for number in numbers]}


def by_api(fake: Fake, *numbers: int, path: str = API, link: str = "") -> None:
    fake.pages[path] = index(*numbers), link


def by_tag(fake: Fake, *numbers: int, repository: str = "org/app") -> None:
    fake.put(repository, TAG, INDEX, json.dumps(index(*numbers)).encode())


def united_from(network: Network, read: Referrers) -> Serve:
    return evolve(serve_from(network, read), united=True)


def unite(network: Network, fetcher: Fetcher, query: str = "", seconds: float = 0, **serve: Any) -> Served | NotServed:
    read = Referrers("org/app", SUBJECT, query)
    return ask(network, fetcher, read, seconds=seconds, serve=evolve(united_from(network, read), **serve))


def listing(served: Served | NotServed) -> Listing:
    assert isinstance(served, Served)
    assert isinstance(served.content, Listing)
    return served.content


def numbers(served: Served | NotServed) -> list[int]:
    """Return the numbers of the listed digests."""
    document = json.loads(listing(served).body)
    return [int(entry["digest"].partition(":")[2], 16) for entry in document["manifests"]]


def empty(fault: str = "") -> tuple[Network, Fake, Fake]:
    """Return two registries whose referrers APIs list nothing, or the first of which has a fault."""
    network = two_registries(fault)
    hub, ghcr = network.fakes.values()
    return network, hub, ghcr


# What is listed


@pytest.mark.parametrize("first", [by_api, by_tag])
@pytest.mark.parametrize("second", [by_api, by_tag])
def test_all_ways_in_which_two_registries_list_referrers_are_united(first: Any, second: Any) -> None:
    network, hub, ghcr = empty()
    first(hub, 2, 1)
    second(ghcr, 1, 3)
    served = unite(network, network.fetcher())
    assert numbers(served) == [2, 1, 3]
    assert listing(served) == Listing(INDEX, listing(served).body, None, "")
    assert network.attempts == []


@pytest.mark.parametrize("way", [by_api, by_tag])
def test_referrers_of_the_second_registry_alone_are_listed(way: Any) -> None:
    network, _, ghcr = empty()
    way(ghcr, 1)
    assert numbers(unite(network, network.fetcher())) == [1]


def test_a_registry_may_list_in_both_ways() -> None:
    network, hub, _ = empty()
    by_api(hub, 1)
    by_tag(hub, 2, 1)
    assert numbers(unite(network, network.fetcher())) == [1, 2]


def test_an_image_without_referrers_has_an_empty_list() -> None:
    network, _, _ = empty()
    served = unite(network, network.fetcher())
    assert numbers(served) == []
    assert backend(served) == "hub"


@pytest.mark.parametrize(
    "fault", ["no referrers", "login page", *(f"referrers {code}" for code in (405, 406, 410, 501))]
)
def test_a_registry_without_the_api_is_asked_for_the_fallback_tag(fault: str) -> None:
    network, hub, ghcr = empty(fault)
    by_tag(hub, 1)
    by_api(ghcr, 2)
    served = unite(network, network.fetcher())
    assert numbers(served) == [1, 2]
    assert (listing(served).incomplete, network.attempts) == ((), [])


def test_a_web_page_in_place_of_a_list_means_that_there_is_no_api() -> None:
    network, hub, _ = empty()
    hub.headers["Content-Type"] = "text/html"
    assert (numbers(unite(network, network.fetcher())), network.attempts) == ([], [])


def test_a_json_document_that_is_no_list_means_that_there_is_no_api() -> None:
    network, hub, ghcr = empty()
    hub.headers["Content-Type"] = "application/json"
    by_api(ghcr, 1)
    assert (numbers(unite(network, network.fetcher())), network.attempts) == ([1], [])


def test_a_fallback_tag_that_is_no_index_lists_nothing() -> None:
    network, hub, _ = empty()
    hub.put("org/app", TAG, MANIFEST)
    assert (numbers(unite(network, network.fetcher())), network.attempts) == ([], [])


def test_every_backend_is_asked_under_its_own_name() -> None:
    network, hub, _ = empty()
    renames = {"hub": (parse_rename("org/*", "theirs/*"),)}
    by_api(hub, 1, path=f"/v2/theirs/app/referrers/{SUBJECT}")
    by_tag(hub, 2, repository="theirs/app")
    assert numbers(unite(network, network.fetcher(renames))) == [1, 2]


def test_the_artifact_types_are_filtered_here() -> None:
    network, hub, ghcr = empty()
    entries = [descriptor(1, "a/b"), descriptor(2, "c/d"), descriptor(3, "e/f")]
    hub.pages[API] = {"manifests": entries}, ""
    hub.pages[f"{API}?artifactType=a/b"] = {"manifests": []}, ""
    by_tag(ghcr, 4)
    served = unite(network, network.fetcher(), "artifactType=a%2Fb&artifactType=e%2Ff")
    assert (numbers(served), listing(served).filters) == ([1, 3], "artifactType")
    unfiltered = unite(network, network.fetcher(), "n=1")
    assert (numbers(unfiltered), listing(unfiltered).filters) == ([1, 2, 3, 4], "")


# Pages


def next_page(number: int) -> str:
    return f'<{API}?page={number}>; rel="next"'


def test_all_pages_of_a_list_are_read() -> None:
    network, hub, _ = empty()
    by_api(hub, 1, link=next_page(2))
    by_api(hub, 2, path=f"{API}?page=2", link=next_page(3))
    by_api(hub, 3, path=f"{API}?page=3")
    assert numbers(unite(network, network.fetcher())) == [1, 2, 3]


def test_pages_that_repeat_end_the_list() -> None:
    network, hub, _ = empty()
    by_api(hub, 1, link=next_page(2))
    by_api(hub, 2, path=f"{API}?page=2", link=next_page(2))
    assert numbers(unite(network, network.fetcher())) == [1, 2]
    assert hub.count("GET", "/referrers/") == 2


@pytest.mark.parametrize("fault", ["", "no referrers", "login page", "referrers 501", "referrers 403"])
def test_a_list_with_a_missing_page_is_a_failure_of_that_list(fault: str) -> None:
    """Else it would be remembered as complete, and a signature would be missing."""
    network, hub, ghcr = empty(fault or "referrers 410")
    by_api(hub, 1, link=next_page(2))
    by_api(ghcr, 2)
    fetcher = network.fetcher()
    served = unite(network, fetcher)
    assert (numbers(served), listing(served).incomplete) == ([2], ("hub",))
    assert listing(unite(network, fetcher)).incomplete == ("hub",)


def test_a_list_without_an_end_is_bounded() -> None:
    network, hub, _ = empty()
    by_api(hub, link=next_page(1))
    for page in range(1, 200):
        by_api(hub, page, path=f"{API}?page={page}", link=next_page(page + 1))
    assert len(numbers(unite(network, network.fetcher(), seconds=12))) == 99
    assert hub.count("GET", "/referrers/") == 100


def test_a_list_has_a_bounded_number_of_entries() -> None:
    network, hub, ghcr = empty()
    by_api(hub, *range(800), link=next_page(2))
    by_api(hub, *range(800, 1600), path=f"{API}?page=2", link=next_page(3))
    by_tag(ghcr, 2000)
    assert numbers(unite(network, network.fetcher())) == [*range(MOST_REFERRERS)]
    assert hub.count("GET", "page=3") == 0


def test_the_entries_of_the_first_backend_of_the_route_are_listed_also_while_it_fails() -> None:
    """The second one could hide them behind a thousand others."""
    network, hub, ghcr = empty()
    fetcher = network.fetcher()
    by_api(hub, 1)
    by_api(ghcr, *range(2, 2000))
    unite(network, fetcher)
    network.clock.advance(10)
    hub.fault = "500"
    served = unite(network, fetcher, backends=("ghcr", "hub"), failing=frozenset({"hub"}))
    assert numbers(served) == [*range(1, MOST_REFERRERS + 1)]


@pytest.mark.parametrize("document", [[], {"manifests": [1] * 200_000}, {"manifests": ["x" * 5_000_000]}])
def test_a_list_that_cannot_be_read_is_a_failure_of_that_list(document: object) -> None:
    network, hub, ghcr = empty()
    hub.pages[API] = document, ""
    by_api(ghcr, 1)
    fetcher = network.fetcher()
    served = unite(network, fetcher)
    assert (numbers(served), listing(served).incomplete) == ([1], ("hub",))
    assert [(attempt.backend, attempt.good, attempt.sample) for attempt in network.attempts] == [("hub", False, False)]
    assert backend(ask(network, fetcher)) == "hub"


# A backend that fails


@pytest.mark.parametrize("failing", ["hub", "ghcr"])
@pytest.mark.parametrize("fault", ["500", "429", "hang", "token 500", "referrers 500"])
def test_the_last_list_of_a_failing_backend_stands_in(failing: str, fault: str) -> None:
    network, hub, ghcr = empty()
    fetcher = network.fetcher()
    by_api(hub, 1)
    by_tag(ghcr, 2)
    assert numbers(unite(network, fetcher)) == [1, 2]
    network.clock.advance(590)
    network.fakes[failing].pages.clear()
    network.fakes[failing].fault, network.fakes[failing].valid = fault, set()
    served = unite(network, fetcher, seconds=12)
    assert (numbers(served), listing(served).incomplete) == ([1, 2], ())


def test_the_last_list_is_believed_for_stale_tags() -> None:
    network, hub, ghcr = empty()
    fetcher = network.fetcher()
    by_api(hub, 1)
    by_api(ghcr, 2)
    unite(network, fetcher)
    network.clock.advance(600)
    ghcr.fault = "500"
    served = unite(network, fetcher)
    assert (numbers(served), listing(served).incomplete) == ([1], ("ghcr",))


def test_without_a_last_list_the_others_are_listed_with_a_warning() -> None:
    network, hub, ghcr = empty("500")
    by_tag(ghcr, 2)
    served = unite(network, network.fetcher())
    assert (numbers(served), backend(served), listing(served).incomplete) == ([2], "ghcr", ("hub",))
    assert network.failed == ["hub"]
    assert hub.count("GET", "/manifests/") == 0


@pytest.mark.parametrize("query", ["", "artifactType=a/b"])
def test_without_entries_a_failing_backend_may_have_what_is_asked_for(query: str) -> None:
    """An empty list would say that an image has no signature."""
    network, _, ghcr = empty("500")
    by_api(ghcr, *([2] if query else []))
    assert unite(network, network.fetcher(), query) == NotServed({"hub": "answered 500"}, ("ghcr",))


def test_what_the_fallback_tag_lists_is_answered_if_the_api_fails() -> None:
    network, hub, _ = empty("referrers 500")
    by_tag(hub, 1)
    served = unite(network, network.fetcher())
    assert (numbers(served), listing(served).incomplete) == ([1], ("hub",))


def test_a_failing_list_makes_a_backend_suspect_of_nothing_else() -> None:
    network, _, _ = empty("referrers 500")
    fetcher = network.fetcher()
    unite(network, fetcher)
    assert backend(ask(network, fetcher)) == "hub"
    other = Referrers("org/app", BLOB)
    assert backend(ask(network, fetcher, other, serve=serve_from(network, other))) == "ghcr"


def test_a_resting_backend_is_not_asked_and_its_last_list_stands_in() -> None:
    network, hub, ghcr = empty()
    fetcher = network.fetcher()
    by_api(hub, 1)
    by_api(ghcr, 2)
    unite(network, fetcher)
    network.clock.advance(60)
    before = len(ghcr.requests)
    served = unite(network, fetcher, resting=frozenset({"ghcr"}))
    assert (numbers(served), listing(served).incomplete, len(ghcr.requests)) == ([1, 2], (), before)
    network.clock.advance(600)
    assert listing(unite(network, fetcher, resting=frozenset({"ghcr"}))).incomplete == ("ghcr",)


def test_a_backend_that_is_down_gets_less_time_if_another_one_works() -> None:
    network, hub, _ = empty()
    network.fakes["ghcr"].fault = "hang"
    by_api(hub, 1)
    served = unite(network, network.fetcher(), seconds=2.1, failing=frozenset({"ghcr"}))
    assert (numbers(served), listing(served).incomplete) == ([1], ("ghcr",))


def test_a_refusal_means_no_referrers_but_not_that_known_ones_are_gone() -> None:
    network, hub, ghcr = empty()
    fetcher = network.fetcher()
    by_api(hub, 1)
    by_api(ghcr, 2)
    hub.fault = "403"
    assert numbers(unite(network, fetcher)) == [2]
    hub.fault = ""
    network.clock.advance(10)
    assert numbers(unite(network, fetcher)) == [1, 2]
    hub.fault = "403"
    network.clock.advance(10)
    served = unite(network, fetcher)
    assert (numbers(served), network.attempts) == ([1, 2], [])


# How often backends are asked


def test_a_list_is_asked_for_once_in_tag_ttl_and_an_unchanged_index_is_fetched_once() -> None:
    network, hub, ghcr = empty("no referrers")
    fetcher = network.fetcher()
    by_tag(hub, 1)
    by_api(ghcr, 2)
    for query in ("", "artifactType=a/b", "n=1"):
        unite(network, fetcher, query)
    lists = hub.count("GET", "/referrers/"), ghcr.count("GET", "/referrers/")
    assert lists == (1, 1)
    network.clock.advance(10)
    assert numbers(unite(network, fetcher)) == [1, 2]
    assert (hub.count("GET", "/referrers/"), hub.count("GET", f"/manifests/{TAG}")) == (2, 1)
    by_tag(hub, 3)
    network.clock.advance(10)
    assert numbers(unite(network, fetcher)) == [3, 2]
    assert hub.count("GET", f"/manifests/{TAG}") == 2


def test_an_index_that_is_older_than_its_digest_is_fetched_again() -> None:
    network, hub, _ = empty()
    fetcher = network.fetcher()
    by_tag(hub, 1)
    current = json.dumps(index(1, 2)).encode()
    hub.headers["Docker-Content-Digest"] = digest_of(current)
    assert numbers(unite(network, fetcher)) == [1]
    hub.put("org/app", TAG, INDEX, current)
    network.clock.advance(10)
    assert numbers(unite(network, fetcher)) == [1, 2]


def test_simultaneous_requests_for_referrers_are_one_request_to_each_backend() -> None:
    network, hub, ghcr = empty("hang lists")
    fetcher = network.fetcher()
    by_tag(ghcr, 1)
    reads = [Referrers("org/app", SUBJECT, f"artifactType={SIGNATURE}&n={number}") for number in range(40)]
    works = [Deferred.fromCoroutine(fetcher.serve(united_from(network, read), ReadOptions(WIDE))) for read in reads]
    assert [numbers(network.run(work, 12)) for work in works] == [[1]] * 40
    assert (hub.count("GET", "/referrers/"), ghcr.count("GET", f"/manifests/{TAG}")) == (1, 1)


def test_a_client_that_disconnects_ends_the_requests() -> None:
    network, _, _ = empty("hang")
    network.fakes["ghcr"].fault = "hang"
    read = Referrers("org/app", SUBJECT)
    work = Deferred.fromCoroutine(network.fetcher().serve(united_from(network, read), ReadOptions(WIDE)))
    errors: list[Any] = []
    work.addErrback(errors.append)
    network.agent.flush()
    work.cancel()
    assert [error.type.__name__ for error in errors] == ["CancelledError"]
    assert (network.attempts, network.clock.getDelayedCalls()) == ([], [])


# What is elsewhere


def test_a_referrer_that_not_every_backend_lists_is_served_from_where_it_is_and_so_are_its_blobs() -> None:
    network, hub, ghcr = empty()
    fetcher = network.fetcher()
    config, layer = "sha256:" + "8" * 64, "sha256:" + "9" * 64
    body = {"config": {"digest": config, "size": 2}, "layers": [{"digest": layer, "size": 3}]}
    digest = ghcr.put("org/app", "signature", MANIFEST, json.dumps(body).encode())
    ghcr.pages[API] = {"manifests": [{**descriptor(1), "digest": digest}, descriptor(2)]}, ""
    by_api(hub, 2)
    signature, everywhere = ManifestRead("org/app", digest), ManifestRead("org/app", f"sha256:{2:064x}")
    assert not fetcher.must_serve(signature)
    unite(network, fetcher)
    assert fetcher.must_serve(signature)
    assert not fetcher.must_serve(everywhere)
    assert not fetcher.must_serve(Blob("org/app", layer))
    assert backend(ask(network, fetcher, signature)) == "ghcr"
    assert all(fetcher.must_serve(Blob("org/app", blob)) for blob in (config, layer))
    assert not fetcher.must_serve(Blob("org/other", layer))


def test_a_digest_is_elsewhere_no_longer_than_it_is_listed_however_often_it_is_asked_for() -> None:
    """A registry that lists an image of another one would else move its pulls here as long as they go on."""
    network, hub, ghcr = empty()
    fetcher = network.fetcher()
    digest = hub.put("org/app", "image", MANIFEST, b"{}")
    ghcr.pages[API] = {"manifests": [{**descriptor(1), "digest": digest}]}, ""
    unite(network, fetcher)
    image = ManifestRead("org/app", digest)
    for _ in range(4):
        network.clock.advance(ELSEWHERE_TIME / 4 - 1)
        assert fetcher.must_serve(image)
        assert backend(ask(network, fetcher, image)) == "hub"
    network.clock.advance(4)
    assert not fetcher.must_serve(image)


def test_what_the_tag_of_a_signature_leads_to_is_elsewhere() -> None:
    network, _, ghcr = empty()
    fetcher = network.fetcher()
    by_tag(ghcr, 1)
    tagged = ManifestRead("org/app", TAG)
    served = ask(network, fetcher, tagged)
    assert backend(served) == "ghcr"
    assert fetcher.must_serve(ManifestRead("org/app", f"sha256:{1:064x}"))


@pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom"])
def test_a_working_first_backend_has_the_last_word_on_a_signature_that_it_does_not_have(suffix: str) -> None:
    """Podman takes any error but "not found" as one of the image."""
    network, _, ghcr = empty()
    ghcr.fault = "500"
    read = ManifestRead("org/app", TAG + suffix)
    assert ask(network, network.fetcher(), read) == NotServed({}, ("hub",))
    image = ask(network, network.fetcher(), ManifestRead("org/app", "unknown"))
    assert isinstance(image, NotServed)
    assert image.failures


def test_a_pull_does_not_wait_for_long_for_the_signature_at_a_backend_that_is_down() -> None:
    network, _, ghcr = empty()
    ghcr.fault = "hang"
    read = ManifestRead("org/app", f"{TAG}.sig")
    serve = evolve(serve_from(network, read), failing=frozenset({"ghcr"}))
    assert ask(network, network.fetcher(), read, seconds=2.1, serve=serve) == NotServed({}, ("hub",))


@pytest.mark.parametrize(("fault", "failing"), [("500", ""), ("403", ""), ("400", ""), ("", "hub")])
def test_a_first_backend_that_fails_or_refuses_has_not(fault: str, failing: str) -> None:
    network, _, ghcr = empty(fault)
    ghcr.fault = "500"
    read = ManifestRead("org/app", f"{TAG}.sig")
    serve = evolve(serve_from(network, read), failing=frozenset({failing}))
    served = ask(network, network.fetcher(), read, serve=serve)
    assert isinstance(served, NotServed)
    assert "ghcr" in served.failures
