"""Comparisons of registries in memory: images that are the same, images that differ, and faulty registries."""

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from facaded.backends.manifests import ManifestCache
from facaded.parity.comparison import REFERENCES, Comparison
from facaded.parity.findings import Finding, Report, Row, Side
from facaded.parity.peers import CHILDREN, PAGES, PULLS_SPARED
from facaded.parity.references import TAGS
from facaded.parity.request_limits import FAILURES, RUN_TIME
from facaded.parity.subjects import Subject
from facaded.policy.decision import BackendRules, Route, Rules
from facaded.policy.repositories import parse, parse_rename
from tests.backends.memory import INDEX, MANIFEST, Fake, Network

PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7", "unknown/unknown")
LATEST = Subject("org/app", "latest")
WHOLE = Subject("org/app", None)
TAGS_LIST = "/v2/org/app/tags/list"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


def two(*others: str) -> Network:
    """Return a network of `hub`, `ghcr` and others, all with the same org/app:latest."""
    network = Network(Fake("hub"), Fake("ghcr"), *(Fake(name) for name in others))
    for fake in network.fakes.values():
        fake.put_index("org/app", "latest", *PLATFORMS)
        list_tags(fake, "latest")
    return network


def list_tags(fake: Fake, *tags: Any) -> None:
    """Make `fake` list these tags of org/app."""
    fake.pages[TAGS_LIST] = {"name": "org/app", "tags": list(tags)}, ""


def compare(
    network: Network, *images: Subject, rules: Rules | None = None, seconds: float = 0, steps: list[Any] | None = None
) -> Report:
    renames = {name: rules.backends[name].renames for name in network.fakes} if rules else None
    backends = {name: BackendRules(f"https://{name}.test") for name in network.fakes}
    rules = rules or Rules(repositories=(parse("org/*"),), backends=backends)
    comparison = Comparison(
        network.registries(ManifestCache(0, 0, network.clock.seconds), renames), rules, network.clock
    )
    progress: list[Any] = [] if steps is None else steps
    comparing = comparison.compare(images or (LATEST,), lambda *step: progress.append(step))
    return network.run(Deferred.fromCoroutine(comparing), seconds)


def only(report: Report) -> Row:
    (row,) = report.rows
    return row


def outcome(row: Row, name: str = "ghcr") -> str:
    """Return the finding and the reason at one backend."""
    side = row.sides[name]
    return f"{side.finding.value}: {side.reason}" if side.reason else side.finding.value


def test_equal_images_are_the_same() -> None:
    report = compare(two())
    row = only(report)
    assert {side.finding for side in row.sides.values()} == {Finding.SAME}
    assert row.sides["hub"].platforms == ("linux/amd64", "linux/arm64", "linux/arm/v7")
    assert not report.is_bad_news
    assert report.notes == ()


def test_comparing_equal_images_reads_one_manifest_from_the_least_preferred_backend() -> None:
    network = two()
    compare(network)
    assert network.fakes["hub"].count("GET", "/manifests/") == 0
    assert network.fakes["ghcr"].count("GET", "/manifests/") == 1


def test_an_index_is_read_from_a_backend_that_does_not_limit_pulls() -> None:
    network = two()
    network.fakes["ghcr"].headers["ratelimit-remaining"] = "76;w=21600"
    compare(network)
    assert network.fakes["hub"].count("GET", "/manifests/") == 1
    assert network.fakes["ghcr"].count("GET", "/manifests/") == 0


def test_the_last_pulls_are_left_to_clients() -> None:
    network = two()
    for fake in network.fakes.values():
        fake.headers["ratelimit-remaining"] = f"{PULLS_SPARED - 1};w=21600"
    report = compare(network)
    assert all(fake.count("GET", "/manifests/") == 0 for fake in network.fakes.values())
    assert only(report).verdict is Finding.SAME
    assert report.notes == (
        f"a backend has fewer than {PULLS_SPARED} pulls left: some indexes and referrers were not compared",
    )


def test_an_image_with_many_tags_is_inspected_once() -> None:
    network = two()
    for fake in network.fakes.values():
        names = [f"{number}" for number in range(20)]
        for name in names:
            fake.put("org/app", name, *fake.manifests["org/app", "latest"])
        list_tags(fake, *names)
    steps: list[Any] = []
    report = compare(network, WHOLE, steps=steps)
    assert len(report.rows) == 20
    assert network.fakes["ghcr"].count("GET", "/manifests/") == 1
    assert network.fakes["hub"].count("HEAD", "/manifests/sha256:") == len(PLATFORMS)
    assert steps == [(done, 20) for done in range(1, 21)]


def test_an_image_by_digest_is_compared_too() -> None:
    network = two()
    digest = network.fakes["hub"].put("org/app", "other", MANIFEST)
    row = only(compare(network, Subject("org/app", digest)))
    assert (outcome(row, "hub"), outcome(row)) == ("same", "not there")
    assert row.verdict is Finding.DIFFERS


@pytest.mark.parametrize(
    ("hub_platforms", "ghcr_platforms", "reason"),
    [
        (PLATFORMS[:2], PLATFORMS[:1], "lacks linux/arm64"),
        (PLATFORMS[:1], PLATFORMS[:2], "also has linux/arm64"),
        (PLATFORMS[:1], PLATFORMS[1:2], "lacks linux/amd64; also has linux/arm64"),
    ],
)
def test_a_difference_in_digests_is_described_by_platforms(
    hub_platforms: tuple[str, ...], ghcr_platforms: tuple[str, ...], reason: str
) -> None:
    network = two()
    network.fakes["hub"].put_index("org/app", "latest", *hub_platforms)
    network.fakes["ghcr"].put_index("org/app", "latest", *ghcr_platforms)
    row = only(compare(network))
    assert outcome(row) == f"differs: {reason}"
    assert row.sides["ghcr"].platforms == ghcr_platforms
    assert row.sides["hub"].finding is Finding.SAME


def test_a_copy_of_only_one_platform_is_described_as_that() -> None:
    network = two()
    index = json.loads(network.fakes["hub"].manifests["org/app", "latest"][1])
    one = network.fakes["hub"].manifests["org/app", index["manifests"][1]["digest"]]
    network.fakes["ghcr"].put("org/app", "latest", *one)
    assert outcome(only(compare(network))) == "differs: only linux/arm64"


@pytest.mark.parametrize(("number", "reason"), [(1, "lacks linux/arm64"), (3, "lacks 1 attestation")])
def test_a_copy_that_lacks_a_manifest_of_its_index_differs(number: int, reason: str) -> None:
    network = two()
    ghcr = network.fakes["ghcr"]
    index = json.loads(ghcr.manifests["org/app", "latest"][1])
    del ghcr.manifests["org/app", index["manifests"][number]["digest"]]
    row = only(compare(network))
    assert outcome(row) == f"differs: {reason}"
    assert outcome(row, "hub") == "same"


def test_the_same_bytes_with_another_media_type_differ() -> None:
    network = two()
    ghcr = network.fakes["ghcr"]
    ghcr.manifests["org/app", "latest"] = DOCKER_LIST, ghcr.manifests["org/app", "latest"][1]
    assert outcome(only(compare(network))) == f"differs: its media type is {DOCKER_LIST}, not {INDEX}"


def put_referrers(fake: Fake, *digests: str) -> None:
    """Put referrers of the first index on `fake`."""
    index = next(digest for _, digest in fake.manifests if digest.startswith("sha256:") and is_index(fake, digest))
    descriptors = [{"mediaType": MANIFEST, "digest": digest} for digest in digests]
    fake.pages[f"/v2/org/app/referrers/{index}"] = {"manifests": descriptors}, ""


def is_index(fake: Fake, reference: str) -> bool:
    return fake.manifests["org/app", reference][0] == INDEX


def test_a_backend_that_lacks_a_signature_differs() -> None:
    network = two()
    put_referrers(network.fakes["hub"], "sha256:" + "1" * 64, "sha256:" + "2" * 64)
    put_referrers(network.fakes["ghcr"], "sha256:" + "2" * 64, "not a digest")
    row = only(compare(network))
    assert outcome(row) == "differs: lacks 1 of 2 referrers"
    assert outcome(row, "hub") == "same"
    assert row.sides["ghcr"].referrers == ("sha256:" + "2" * 64,)


@pytest.mark.parametrize("fault", ["no referrers", "login page"])
def test_without_the_referrers_api_the_fallback_tag_is_read(fault: str) -> None:
    network = two()
    hub, ghcr = network.fakes["hub"], network.fakes["ghcr"]
    ghcr.fault = fault
    digest = hub.put_index("org/app", "latest", *PLATFORMS)
    put_referrers(hub, signature := "sha256:" + "1" * 64)
    assert outcome(only(compare(network))) == "differs: lacks 1 of 1 referrer"
    fallback = json.dumps({"manifests": [{"digest": signature}]}).encode()
    ghcr.put("org/app", digest.replace(":", "-"), INDEX, fallback)
    assert outcome(only(compare(network))) == "same"


def test_cosign_signatures_are_compared() -> None:
    network = two()
    digest = network.fakes["hub"].put_index("org/app", "latest", *PLATFORMS)
    network.fakes["hub"].put("org/app", digest.replace(":", "-") + ".sig", MANIFEST)
    assert outcome(only(compare(network))) == "differs: lacks 1 of 1 referrer"


def test_all_tags_of_a_repository_are_compared() -> None:
    network = two()
    hub, ghcr = network.fakes["hub"], network.fakes["ghcr"]
    hub.put("org/app", "1")
    for fake in (hub, ghcr):
        fake.put("org/app", "2", MANIFEST)
    ghcr.put("org/app", "3", MANIFEST)
    list_tags(hub, "1", "2")
    list_tags(ghcr, "2", "3")
    report = compare(network, WHOLE)
    rows = {row.reference: (outcome(row, "hub"), outcome(row)) for row in report.rows}
    assert rows == {"1": ("same", "not there"), "2": ("same", "same"), "3": ("not there", "same")}
    assert hub.count("HEAD", "manifests/3") == 0


def test_tags_are_read_over_all_pages() -> None:
    network = two()
    for fake in network.fakes.values():
        fake.pages[TAGS_LIST] = {"tags": ["latest"]}, f'<{TAGS_LIST}?last=latest>; rel="next"'
        fake.pages[f"{TAGS_LIST}?last=latest"] = {"tags": ["other"]}, ""
        fake.put("org/app", "other", MANIFEST)
    assert [row.reference for row in compare(network, WHOLE).rows] == ["latest", "other"]


def test_a_repository_without_tags_has_one_row() -> None:
    network = two()
    for fake in network.fakes.values():
        list_tags(fake)
        fake.pages[TAGS_LIST] = {"tags": None}, ""
    row = only(compare(network, WHOLE))
    assert (row.reference, row.verdict) == ("(all tags)", Finding.NOT_THERE)


def test_a_backend_that_fails_is_not_one_that_differs() -> None:
    network = two()
    network.fakes["ghcr"].fault = "500"
    report = compare(network)
    assert outcome(only(report)) == "failing: answered 500"
    assert only(report).verdict is Finding.FAILING
    assert report.is_bad_news


def test_a_backend_that_hangs_gets_no_more_requests_after_some_failures() -> None:
    network = two()
    names = [f"{number}" for number in range(40)]
    for name in names:
        network.fakes["hub"].put("org/app", name)
    list_tags(network.fakes["hub"], *names)
    network.fakes["ghcr"].fault = "hang"
    report = compare(network, WHOLE, seconds=30)
    assert len(report.rows) == 41
    assert all(row.verdict is Finding.FAILING for row in report.rows)
    assert outcome(report.rows[-1]) == "failing: timeout; gave up"
    assert len(network.fakes["ghcr"].requests) <= FAILURES + 4
    assert network.clock.seconds() < 15


def test_a_manifest_refused_with_a_fresh_token_is_not_there() -> None:
    network = two()
    network.fakes["hub"].fault = "refuse tokens"
    row = only(compare(network))
    assert (outcome(row, "hub"), outcome(row)) == ("not there: answered 401", "same")


def test_an_image_that_no_backend_has_is_bad_news_if_a_person_named_it() -> None:
    report = compare(two(), Subject("org/app", "typo"))
    assert only(report).verdict is Finding.NOT_THERE
    assert report.is_bad_news


def test_an_image_that_no_backend_has_is_left_out_if_only_a_client_requested_it() -> None:
    report = compare(two(), Subject("org/app", "typo", recent=True), Subject("org/app", "latest", recent=True))
    assert only(report).reference == "latest"
    assert not report.is_bad_news
    assert report.notes == ("left out images that clients requested but no backend has",)


def test_an_image_named_twice_is_compared_once() -> None:
    assert len(compare(two(), LATEST, Subject("org/app", "latest", recent=True)).rows) == 1


def test_images_are_compared_over_the_backends_of_their_route() -> None:
    network = two("third")
    rules = Rules(
        repositories=(parse("org/*"),),
        backends={name: BackendRules(f"https://{name}.test") for name in network.fakes},
        named_routes=(Route(("ghcr", "third"), (parse("org/app"),)), Route(("hub",), (parse("org/one"),))),
    )
    report = compare(network, LATEST, Subject("org/one", "latest"), rules=rules)
    assert tuple(only(report).sides) == report.backends == ("ghcr", "third")
    assert report.notes == ("org/one comes from hub only: nothing to compare",)
    assert network.fakes["hub"].requests == []


def renaming(network: Network, pattern: str) -> Rules:
    """Return rules that rename org/* to `pattern` on ghcr."""
    ghcr = BackendRules("https://ghcr.test", (parse_rename("org/*", pattern),))
    return Rules(repositories=(parse("org/*"),), backends={"hub": BackendRules("https://hub.test"), "ghcr": ghcr})


def test_a_renamed_repository_is_requested_by_its_name_on_the_backend() -> None:
    network = two()
    ghcr = network.fakes["ghcr"]
    ghcr.manifests = {("there/app", reference): manifest for (_, reference), manifest in ghcr.manifests.items()}
    ghcr.pages = {TAGS_LIST.replace("org", "there"): ({"tags": ["latest"]}, "")}
    assert only(compare(network, WHOLE, rules=renaming(network, "there/*"))).verdict is Finding.SAME


def test_a_backend_on_which_the_name_would_be_invalid_is_not_asked() -> None:
    network = two()
    row = only(compare(network, rules=renaming(network, "x" * 253 + "/*")))
    assert row.sides["ghcr"] == Side(Finding.NOT_ASKED, "its name there would be invalid")
    assert row.verdict is Finding.NOT_ASKED
    assert network.fakes["ghcr"].requests == []


def test_pages_that_form_a_loop_are_a_failure() -> None:
    network = two()
    network.fakes["ghcr"].pages[TAGS_LIST] = {"tags": ["latest"]}, f'<{TAGS_LIST}?a=1>; rel="next"'
    network.fakes["ghcr"].pages[f"{TAGS_LIST}?a=1"] = {"tags": ["latest"]}, f'<{TAGS_LIST}?a=1>; rel="next"'
    report = compare(network, WHOLE)
    assert outcome(report.rows[0]) == "failing: the pages of the list form a loop"
    assert outcome(report.rows[0], "hub") == "same: 1 tag"


def test_too_many_pages_are_a_failure() -> None:
    network = two()
    ghcr = network.fakes["ghcr"]
    for number in range(PAGES * 2):
        path = f"{TAGS_LIST}?a={number}" if number else TAGS_LIST
        ghcr.pages[path] = {"tags": []}, f'<{TAGS_LIST}?a={number + 1}>; rel="next"'
    report = compare(network, WHOLE, seconds=60)
    assert outcome(report.rows[0]) == f"failing: the list has more than {PAGES} pages"
    assert ghcr.count("GET", "/tags/list") == PAGES


def test_of_too_many_tags_some_are_compared_and_a_note_says_so() -> None:
    network = two()
    list_tags(network.fakes["ghcr"], *(f"t{number}" for number in range(TAGS * 3)))
    report = compare(network, WHOLE, seconds=300)
    assert len(report.rows) == TAGS
    assert report.notes == (f"org/app has more than {TAGS} tags: compared {TAGS} of them",)


def test_invalid_tags_are_not_requested() -> None:
    network = two()
    list_tags(network.fakes["ghcr"], "latest", "\x1b[2J", "../x", 5, None, {"a": 1}, "x" * 200)
    report = compare(network, WHOLE)
    assert only(report).verdict is Finding.SAME
    assert report.notes == ("ghcr lists 6 invalid tags in org/app: not compared",)


@pytest.mark.parametrize("document", [[], {"tags": "latest"}, {"tags": {"a": 1}}])
def test_an_invalid_list_is_a_failure(document: Any) -> None:
    network = two()
    network.fakes["ghcr"].pages[TAGS_LIST] = document, ""
    report = compare(network, WHOLE)
    assert outcome(report.rows[0]) == "failing: list is not a JSON object"


def test_an_index_that_does_not_match_its_digest_is_a_failure() -> None:
    network = two()
    network.fakes["ghcr"].fault = "wrong digest"
    row = only(compare(network))
    assert outcome(row) == "failing: its index: manifest does not match its digest"
    assert outcome(row, "hub") == "same"


@pytest.mark.parametrize("entries", [5, [5, None, {"digest": 5}, {"digest": "sha256:../../../v2/"}]])
def test_an_invalid_index_is_compared_by_its_digest(entries: Any) -> None:
    network = two()
    for fake in network.fakes.values():
        fake.put("org/app", "latest", INDEX, json.dumps({"manifests": entries}).encode())
    assert only(compare(network)).verdict is Finding.SAME


def test_from_a_registry_whose_heads_have_no_digest_the_manifests_are_read() -> None:
    network = two()
    network.fakes["ghcr"].fault = "no digest"
    assert only(compare(network)).verdict is Finding.SAME


class Odd(Fake):
    """A registry that gives the answers in `odd` to requests whose path contains the key."""

    odd: dict[str, tuple[int, dict[str, str], bytes]]

    def answer(self, request: Any, host: str) -> Any:
        for part, (status, headers, body) in self.odd.items():
            if part in request.uri.decode():
                return self._respond(request, status, headers, body)
        return super().answer(request, host)


def odd(part: str, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Network:
    """Return a network of `hub` and an odd `ghcr`."""
    network = two()
    strange = Odd("ghcr", network.fakes["ghcr"].manifests, pages=network.fakes["ghcr"].pages)
    strange.odd = {part: (status, headers or {}, body)}
    network.fakes["ghcr"] = strange
    return network


def child(number: int) -> str:
    network = two()
    digest: str = json.loads(network.fakes["hub"].manifests["org/app", "latest"][1])["manifests"][number]["digest"]
    return digest


@pytest.mark.parametrize(
    ("part", "status", "reason"),
    [
        (child(0), 500, "failing: linux/amd64: answered 500"),
        (child(0), 307, "failing: linux/amd64: answered 307 to the HEAD of a manifest"),
        (child(3), 429, "failing: an attestation: rate-limited (429)"),
        ("/referrers/", 500, "failing: referrers: answered 500"),
        ("/referrers/", 303, "same"),
        ("/referrers/", 403, "same"),
        ("/referrers/", 200, "failing: referrers: list is not a JSON object"),
        (".sig", 500, "failing: referrers: answered 500"),
        ("/manifests/latest", 400, "failing: answered 400"),
        ("/manifests/latest", 403, "not there: answered 403"),
        ("/manifests/latest", 404, "not there"),
        ("/manifests/latest", 429, "failing: rate-limited (429)"),
    ],
)
def test_other_answers_of_a_registry(part: str, status: int, reason: str) -> None:
    assert outcome(only(compare(odd(part, status)))) == reason


def test_a_manifest_with_another_digest_than_the_requested_one_is_a_failure() -> None:
    network = odd(child(0), 200, {"Docker-Content-Digest": "sha256:" + "0" * 64, "Content-Length": "9"})
    assert outcome(only(compare(network))) == "failing: linux/amd64: Docker-Content-Digest is not the requested digest"


def test_too_many_referrers_are_a_failure() -> None:
    many = json.dumps({"manifests": [{"digest": f"sha256:{number:064}"} for number in range(2000)]}).encode()
    row = only(compare(odd("/referrers/", 200, {"Content-Type": INDEX}, many)))
    assert outcome(row) == "failing: referrers: more than 1000"


def test_a_fallback_tag_is_not_read_if_the_last_pulls_are_left_to_clients() -> None:
    network = two()
    ghcr = network.fakes["ghcr"]
    digest = network.fakes["hub"].put_index("org/app", "latest", *PLATFORMS)
    ghcr.fault, ghcr.headers = "no referrers", {"ratelimit-remaining": "3;w=21600"}
    ghcr.put("org/app", digest.replace(":", "-"), INDEX)
    report = compare(network)
    assert outcome(only(report)) == "same"
    assert ghcr.count("GET", "/manifests/") == 0
    assert len(report.notes) == 1


def test_of_a_very_large_index_some_manifests_are_compared_and_a_note_says_so() -> None:
    network = two()
    for fake in network.fakes.values():
        fake.put_index("org/app", "latest", *(f"os{number}/cpu" for number in range(CHILDREN + 50)))
    report = compare(network, seconds=60)
    assert network.fakes["ghcr"].count("HEAD", "/manifests/sha256:") == CHILDREN
    assert report.notes == (f"an index in org/app has more than {CHILDREN} manifests: compared the first {CHILDREN}",)


def test_a_comparison_that_takes_too_long_gives_up() -> None:
    network = two()

    class Slow(Fake):
        def answer(self, request: Any, host: str) -> Any:
            if "/tags/list" in request.uri.decode():
                network.clock.rightNow += RUN_TIME + 1
            return super().answer(request, host)

    network.fakes["ghcr"] = Slow("ghcr", network.fakes["ghcr"].manifests, pages=network.fakes["ghcr"].pages)
    row = only(compare(network, WHOLE, seconds=10))
    assert outcome(row) == outcome(row, "hub") == "failing: too slow; gave up"


def test_of_too_many_references_some_are_compared_and_a_note_says_so() -> None:
    network = two()
    for fake in network.fakes.values():
        fake.fault = "hang"
    images = [Subject("org/app", f"t{number}") for number in range(REFERENCES + 1)]
    report = compare(network, *images, seconds=10)
    assert len(report.rows) == REFERENCES
    assert report.notes == (f"there are more than {REFERENCES} references: compared the first {REFERENCES}",)
