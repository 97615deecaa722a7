"""Parity over registries in memory: images that are the same, that differ, and registries that fail or lie."""

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from facaded.backends.manifests import ManifestCache
from facaded.parity.comparison import REFERENCES, Comparison
from facaded.parity.findings import Finding, Report, Row, Side
from facaded.parity.patience import FAILURES, RUN_TIME
from facaded.parity.peers import CHILDREN, PAGES, PULLS_SPARED
from facaded.parity.references import TAGS
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
    """`hub` and `ghcr` with the same org/app:latest."""
    made = Network(Fake("hub"), Fake("ghcr"), *(Fake(name) for name in others))
    for fake in made.fakes.values():
        fake.put_index("org/app", "latest", *PLATFORMS)
        tagged(fake, "latest")
    return made


def tagged(fake: Fake, *tags: Any) -> None:
    fake.pages[TAGS_LIST] = {"name": "org/app", "tags": list(tags)}, ""


def compare(
    made: Network, *images: Subject, rules: Rules | None = None, seconds: float = 0, steps: list[Any] | None = None
) -> Report:
    renames = {name: rules.backends[name].renames for name in made.fakes} if rules else None
    backends = {name: BackendRules(f"https://{name}.test") for name in made.fakes}
    rules = rules or Rules(repositories=(parse("org/*"),), backends=backends)
    comparison = Comparison(made.registries(ManifestCache(0, 0, made.clock.seconds), renames), rules, made.clock)
    counted: list[Any] = [] if steps is None else steps
    work = comparison.compare(images or (LATEST,), lambda *step: counted.append(step))
    return made.run(Deferred.fromCoroutine(work), seconds)


def only(report: Report) -> Row:
    (row,) = report.rows
    return row


def told(row: Row, name: str = "ghcr") -> str:
    side = row.sides[name]
    return f"{side.finding.value}: {side.reason}" if side.reason else side.finding.value


def test_the_same_image_is_the_same() -> None:
    report = compare(two())
    row = only(report)
    assert {side.finding for side in row.sides.values()} == {Finding.SAME}
    assert row.sides["hub"].platforms == ("linux/amd64", "linux/arm64", "linux/arm/v7")
    assert not report.is_bad_news
    assert report.notes == ()


def test_a_same_image_costs_one_manifest_at_the_backend_that_clients_need_least() -> None:
    made = two()
    compare(made)
    assert made.fakes["hub"].count("GET", "/manifests/") == 0
    assert made.fakes["ghcr"].count("GET", "/manifests/") == 1


def test_an_index_is_read_where_manifests_are_not_counted() -> None:
    made = two()
    made.fakes["ghcr"].headers["ratelimit-remaining"] = "76;w=21600"
    compare(made)
    assert made.fakes["hub"].count("GET", "/manifests/") == 1
    assert made.fakes["ghcr"].count("GET", "/manifests/") == 0


def test_the_last_pulls_are_left_to_clients() -> None:
    made = two()
    for fake in made.fakes.values():
        fake.headers["ratelimit-remaining"] = f"{PULLS_SPARED - 1};w=21600"
    report = compare(made)
    assert all(fake.count("GET", "/manifests/") == 0 for fake in made.fakes.values())
    assert only(report).verdict is Finding.SAME
    assert report.notes == (
        f"a backend has fewer than {PULLS_SPARED} pulls left: not all indexes and referrers were compared",
    )


def test_many_tags_of_one_image_are_looked_into_once() -> None:
    made = two()
    for fake in made.fakes.values():
        names = [f"{number}" for number in range(20)]
        for name in names:
            fake.put("org/app", name, *fake.manifests["org/app", "latest"])
        tagged(fake, *names)
    steps: list[Any] = []
    report = compare(made, WHOLE, steps=steps)
    assert len(report.rows) == 20
    assert made.fakes["ghcr"].count("GET", "/manifests/") == 1
    assert made.fakes["hub"].count("HEAD", "/manifests/sha256:") == len(PLATFORMS)
    assert steps == [(done, 20) for done in range(1, 21)]


def test_an_image_by_digest_is_compared_too() -> None:
    made = two()
    digest = made.fakes["hub"].put("org/app", "other", MANIFEST)
    row = only(compare(made, Subject("org/app", digest)))
    assert (told(row, "hub"), told(row)) == ("same", "not there")
    assert row.verdict is Finding.DIFFERS


@pytest.mark.parametrize(
    ("ours", "theirs", "reason"),
    [
        (PLATFORMS[:2], PLATFORMS[:1], "lacks linux/arm64"),
        (PLATFORMS[:1], PLATFORMS[:2], "has also linux/arm64"),
        (PLATFORMS[:1], PLATFORMS[1:2], "lacks linux/amd64; has also linux/arm64"),
    ],
)
def test_where_digests_differ_the_platforms_say_how(
    ours: tuple[str, ...], theirs: tuple[str, ...], reason: str
) -> None:
    made = two()
    made.fakes["hub"].put_index("org/app", "latest", *ours)
    made.fakes["ghcr"].put_index("org/app", "latest", *theirs)
    row = only(compare(made))
    assert told(row) == f"differs: {reason}"
    assert row.sides["ghcr"].platforms == theirs
    assert row.sides["hub"].finding is Finding.SAME


def test_a_copy_of_one_platform_is_told_as_that() -> None:
    made = two()
    index = json.loads(made.fakes["hub"].manifests["org/app", "latest"][1])
    one = made.fakes["hub"].manifests["org/app", index["manifests"][1]["digest"]]
    made.fakes["ghcr"].put("org/app", "latest", *one)
    assert told(only(compare(made))) == "differs: linux/arm64 alone"


@pytest.mark.parametrize(("number", "reason"), [(1, "lacks linux/arm64"), (3, "lacks 1 attestation")])
def test_a_copy_whose_index_names_what_is_not_there_differs(number: int, reason: str) -> None:
    made = two()
    ghcr = made.fakes["ghcr"]
    index = json.loads(ghcr.manifests["org/app", "latest"][1])
    del ghcr.manifests["org/app", index["manifests"][number]["digest"]]
    row = only(compare(made))
    assert told(row) == f"differs: {reason}"
    assert told(row, "hub") == "same"


def test_the_same_bytes_under_another_type_differ() -> None:
    made = two()
    ghcr = made.fakes["ghcr"]
    ghcr.manifests["org/app", "latest"] = DOCKER_LIST, ghcr.manifests["org/app", "latest"][1]
    assert told(only(compare(made))) == f"differs: called {DOCKER_LIST}, not {INDEX}"


def referrers(fake: Fake, *digests: str) -> None:
    digest = next(each for name, each in fake.manifests if each.startswith("sha256:") and is_index(fake, each))
    listed = [{"mediaType": MANIFEST, "digest": each} for each in digests]
    fake.pages[f"/v2/org/app/referrers/{digest}"] = {"manifests": listed}, ""


def is_index(fake: Fake, reference: str) -> bool:
    return fake.manifests["org/app", reference][0] == INDEX


def test_a_signature_that_one_lacks_is_told() -> None:
    made = two()
    referrers(made.fakes["hub"], "sha256:" + "1" * 64, "sha256:" + "2" * 64)
    referrers(made.fakes["ghcr"], "sha256:" + "2" * 64, "not a digest")
    row = only(compare(made))
    assert told(row) == "differs: lacks 1 of 2 referrers"
    assert told(row, "hub") == "same"
    assert row.sides["ghcr"].referrers == ("sha256:" + "2" * 64,)


@pytest.mark.parametrize("fault", ["no referrers", "login page"])
def test_without_a_list_of_referrers_the_tag_that_the_digest_makes_is_read(fault: str) -> None:
    made = two()
    hub, ghcr = made.fakes["hub"], made.fakes["ghcr"]
    ghcr.fault = fault
    digest = hub.put_index("org/app", "latest", *PLATFORMS)
    referrers(hub, signature := "sha256:" + "1" * 64)
    assert told(only(compare(made))) == "differs: lacks 1 of 1 referrer"
    fallback = json.dumps({"manifests": [{"digest": signature}]}).encode()
    ghcr.put("org/app", digest.replace(":", "-"), INDEX, fallback)
    assert told(only(compare(made))) == "same"


def test_what_cosign_keeps_beside_an_image_is_compared() -> None:
    made = two()
    digest = made.fakes["hub"].put_index("org/app", "latest", *PLATFORMS)
    made.fakes["hub"].put("org/app", digest.replace(":", "-") + ".sig", MANIFEST)
    assert told(only(compare(made))) == "differs: lacks 1 of 1 referrer"


def test_the_tags_of_a_repository_are_compared_as_sets_and_each_by_its_digest() -> None:
    made = two()
    hub, ghcr = made.fakes["hub"], made.fakes["ghcr"]
    hub.put("org/app", "1")
    for fake in (hub, ghcr):
        fake.put("org/app", "2", MANIFEST)
    ghcr.put("org/app", "3", MANIFEST)
    tagged(hub, "1", "2")
    tagged(ghcr, "2", "3")
    report = compare(made, WHOLE)
    rows = {row.reference: (told(row, "hub"), told(row)) for row in report.rows}
    assert rows == {"1": ("same", "not there"), "2": ("same", "same"), "3": ("not there", "same")}
    assert hub.count("HEAD", "manifests/3") == 0


def test_tags_are_read_over_all_pages() -> None:
    made = two()
    for fake in made.fakes.values():
        fake.pages[TAGS_LIST] = {"tags": ["latest"]}, f'<{TAGS_LIST}?last=latest>; rel="next"'
        fake.pages[f"{TAGS_LIST}?last=latest"] = {"tags": ["other"]}, ""
        fake.put("org/app", "other", MANIFEST)
    assert [row.reference for row in compare(made, WHOLE).rows] == ["latest", "other"]


def test_a_repository_without_tags_is_told_once() -> None:
    made = two()
    for fake in made.fakes.values():
        tagged(fake)
        fake.pages[TAGS_LIST] = {"tags": None}, ""
    row = only(compare(made, WHOLE))
    assert (row.reference, row.verdict) == ("(all tags)", Finding.NOT_THERE)


def test_a_backend_that_fails_is_not_one_that_differs() -> None:
    made = two()
    made.fakes["ghcr"].fault = "500"
    report = compare(made)
    assert told(only(report)) == "failing: answered 500"
    assert only(report).verdict is Finding.FAILING
    assert report.is_bad_news


def test_one_that_hangs_is_asked_no_more_after_some_patience() -> None:
    made = two()
    names = [f"{number}" for number in range(40)]
    for name in names:
        made.fakes["hub"].put("org/app", name)
    tagged(made.fakes["hub"], *names)
    made.fakes["ghcr"].fault = "hang"
    report = compare(made, WHOLE, seconds=30)
    assert len(report.rows) == 41
    assert all(row.verdict is Finding.FAILING for row in report.rows)
    assert told(report.rows[-1]) == "failing: timeout; asked no more"
    assert len(made.fakes["ghcr"].requests) <= FAILURES + 4
    assert made.clock.seconds() < 15


def test_every_manifest_refused_with_a_fresh_token_is_told() -> None:
    made = two()
    made.fakes["hub"].fault = "refuse tokens"
    row = only(compare(made))
    assert (told(row, "hub"), told(row)) == ("not there: answered 401", "same")


def test_what_no_backend_has_is_bad_news_if_a_person_named_it() -> None:
    report = compare(two(), Subject("org/app", "typo"))
    assert only(report).verdict is Finding.NOT_THERE
    assert report.is_bad_news


def test_what_only_a_client_named_is_left_out_if_no_backend_has_it() -> None:
    report = compare(two(), Subject("org/app", "typo", recent=True), Subject("org/app", "latest", recent=True))
    assert only(report).reference == "latest"
    assert not report.is_bad_news
    assert report.notes == ("clients have also asked for images that no backend has: those are left out",)


def test_an_image_named_twice_is_compared_once() -> None:
    assert len(compare(two(), LATEST, Subject("org/app", "latest", recent=True)).rows) == 1


def test_images_are_compared_over_the_backends_of_their_route() -> None:
    made = two("third")
    rules = Rules(
        repositories=(parse("org/*"),),
        backends={name: BackendRules(f"https://{name}.test") for name in made.fakes},
        named_routes=(Route(("ghcr", "third"), (parse("org/app"),)), Route(("hub",), (parse("org/one"),))),
    )
    report = compare(made, LATEST, Subject("org/one", "latest"), rules=rules)
    assert tuple(only(report).sides) == report.backends == ("ghcr", "third")
    assert report.notes == ("org/one comes from hub alone: nothing to compare",)
    assert made.fakes["hub"].requests == []


def renaming(made: Network, theirs: str) -> Rules:
    """Rules by which ghcr calls org/app something else."""
    ghcr = BackendRules("https://ghcr.test", (parse_rename("org/*", theirs),))
    return Rules(repositories=(parse("org/*"),), backends={"hub": BackendRules("https://hub.test"), "ghcr": ghcr})


def test_a_renamed_repository_is_asked_by_its_name_there() -> None:
    made = two()
    ghcr = made.fakes["ghcr"]
    ghcr.manifests = {("there/app", reference): kept for (_, reference), kept in ghcr.manifests.items()}
    ghcr.pages = {TAGS_LIST.replace("org", "there"): ({"tags": ["latest"]}, "")}
    assert only(compare(made, WHOLE, rules=renaming(made, "there/*"))).verdict is Finding.SAME


def test_a_backend_where_the_name_cannot_be_is_not_asked() -> None:
    made = two()
    row = only(compare(made, rules=renaming(made, "x" * 253 + "/*")))
    assert row.sides["ghcr"] == Side(Finding.NOT_ASKED, "it has no such name there")
    assert row.verdict is Finding.NOT_ASKED
    assert made.fakes["ghcr"].requests == []


def test_pages_that_lead_in_a_circle_are_a_failure() -> None:
    made = two()
    made.fakes["ghcr"].pages[TAGS_LIST] = {"tags": ["latest"]}, f'<{TAGS_LIST}?a=1>; rel="next"'
    made.fakes["ghcr"].pages[f"{TAGS_LIST}?a=1"] = {"tags": ["latest"]}, f'<{TAGS_LIST}?a=1>; rel="next"'
    report = compare(made, WHOLE)
    assert told(report.rows[0]) == "failing: the pages of a list lead in a circle"
    assert told(report.rows[0], "hub") == "same: 1 tag"


def test_pages_without_an_end_are_a_failure() -> None:
    made = two()
    ghcr = made.fakes["ghcr"]
    for number in range(PAGES * 2):
        path = f"{TAGS_LIST}?a={number}" if number else TAGS_LIST
        ghcr.pages[path] = {"tags": []}, f'<{TAGS_LIST}?a={number + 1}>; rel="next"'
    report = compare(made, WHOLE, seconds=60)
    assert told(report.rows[0]) == f"failing: a list has no end after {PAGES} pages"
    assert ghcr.count("GET", "/tags/list") == PAGES


def test_of_very_many_tags_some_are_compared_and_it_is_said() -> None:
    made = two()
    tagged(made.fakes["ghcr"], *(f"t{number}" for number in range(TAGS * 3)))
    report = compare(made, WHOLE, seconds=300)
    assert len(report.rows) == TAGS
    assert report.notes == (f"org/app has more than {TAGS} tags: {TAGS} of them are compared",)


def test_names_that_are_no_tags_are_not_asked_for() -> None:
    made = two()
    tagged(made.fakes["ghcr"], "latest", "\x1b[2J", "../x", 5, None, {"a": 1}, "x" * 200)
    report = compare(made, WHOLE)
    assert only(report).verdict is Finding.SAME
    assert report.notes == ("ghcr lists 6 names in org/app that are no tags: they are not compared",)


@pytest.mark.parametrize("document", [[], {"tags": "latest"}, {"tags": {"a": 1}}])
def test_a_list_that_is_none_is_a_failure(document: Any) -> None:
    made = two()
    made.fakes["ghcr"].pages[TAGS_LIST] = document, ""
    report = compare(made, WHOLE)
    assert told(report.rows[0]) == "failing: list is not a JSON object"


def test_an_index_with_another_content_than_its_digest_is_a_failure() -> None:
    made = two()
    made.fakes["ghcr"].fault = "wrong digest"
    row = only(compare(made))
    assert told(row) == "failing: its index: manifest does not match its digest"
    assert told(row, "hub") == "same"


@pytest.mark.parametrize("entries", [5, [5, None, {"digest": 5}, {"digest": "sha256:../../../v2/"}]])
def test_an_index_of_nonsense_is_compared_by_its_digest(entries: Any) -> None:
    made = two()
    for fake in made.fakes.values():
        fake.put("org/app", "latest", INDEX, json.dumps({"manifests": entries}).encode())
    assert only(compare(made)).verdict is Finding.SAME


def test_a_registry_without_digests_in_its_heads_is_asked_for_the_manifests() -> None:
    made = two()
    made.fakes["ghcr"].fault = "no digest"
    assert only(compare(made)).verdict is Finding.SAME


class Odd(Fake):
    """A registry that answers what `odd` says for paths that end so."""

    odd: dict[str, tuple[int, dict[str, str], bytes]]

    def answer(self, request: Any, host: str) -> Any:
        for part, (status, headers, body) in self.odd.items():
            if part in request.uri.decode():
                return self._respond(request, status, headers, body)
        return super().answer(request, host)


def odd(part: str, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Network:
    """`hub` and an odd `ghcr`."""
    made = two()
    strange = Odd("ghcr", made.fakes["ghcr"].manifests, pages=made.fakes["ghcr"].pages)
    strange.odd = {part: (status, headers or {}, body)}
    made.fakes["ghcr"] = strange
    return made


def child(number: int) -> str:
    made = two()
    digest: str = json.loads(made.fakes["hub"].manifests["org/app", "latest"][1])["manifests"][number]["digest"]
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
def test_what_else_a_registry_may_answer(part: str, status: int, reason: str) -> None:
    assert told(only(compare(odd(part, status)))) == reason


def test_a_registry_that_names_another_digest_for_a_digest_is_a_failure() -> None:
    made = odd(child(0), 200, {"Docker-Content-Digest": "sha256:" + "0" * 64, "Content-Length": "9"})
    assert told(only(compare(made))) == "failing: linux/amd64: Docker-Content-Digest is not the requested digest"


def test_a_list_of_referrers_without_measure_is_a_failure() -> None:
    many = json.dumps({"manifests": [{"digest": f"sha256:{number:064}"} for number in range(2000)]}).encode()
    row = only(compare(odd("/referrers/", 200, {"Content-Type": INDEX}, many)))
    assert told(row) == "failing: referrers: more than 1000 of them"


def test_a_fallback_tag_is_not_read_where_clients_need_the_pulls() -> None:
    made = two()
    ghcr = made.fakes["ghcr"]
    digest = made.fakes["hub"].put_index("org/app", "latest", *PLATFORMS)
    ghcr.fault, ghcr.headers = "no referrers", {"ratelimit-remaining": "3;w=21600"}
    ghcr.put("org/app", digest.replace(":", "-"), INDEX)
    report = compare(made)
    assert told(only(report)) == "same"
    assert ghcr.count("GET", "/manifests/") == 0
    assert len(report.notes) == 1


def test_of_an_index_without_measure_some_manifests_are_looked_for() -> None:
    made = two()
    for fake in made.fakes.values():
        fake.put_index("org/app", "latest", *(f"os{number}/cpu" for number in range(CHILDREN + 50)))
    report = compare(made, seconds=60)
    assert made.fakes["ghcr"].count("HEAD", "/manifests/sha256:") == CHILDREN
    assert report.notes == (
        f"an index in org/app names more than {CHILDREN} manifests: the first {CHILDREN} are looked for",
    )


def test_a_comparison_that_takes_too_long_is_ended() -> None:
    made = two()

    class Slow(Fake):
        def answer(self, request: Any, host: str) -> Any:
            if "/tags/list" in request.uri.decode():
                made.clock.rightNow += RUN_TIME + 1
            return super().answer(request, host)

    made.fakes["ghcr"] = Slow("ghcr", made.fakes["ghcr"].manifests, pages=made.fakes["ghcr"].pages)
    row = only(compare(made, WHOLE, seconds=10))
    assert told(row) == told(row, "hub") == "failing: too slow; asked no more"


def test_of_very_many_references_some_are_compared_and_it_is_said() -> None:
    made = two()
    for fake in made.fakes.values():
        fake.fault = "hang"
    images = [Subject("org/app", f"t{number}") for number in range(REFERENCES + 1)]
    report = compare(made, *images, seconds=10)
    assert len(report.rows) == REFERENCES
    assert report.notes == (f"there are more than {REFERENCES} references: the first {REFERENCES} are compared",)
