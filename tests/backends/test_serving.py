"""Fetcher over registries in memory: manifests, blobs, lists, tokens, the cache, and failing registries."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from facaded.backends.fetcher import (
    BUDGET,
    BlobAt,
    BlobSize,
    Fetcher,
    NotServed,
    ReadOptions,
    Served,
    Unauthorized,
    Welcome,
)
from facaded.backends.manifests import Accept, Cache, Manifest, digest_of
from facaded.backends.registry import Listing
from facaded.backends.tokens import Credentials
from facaded.oci.requests import Blob, Ping, Read, Referrers, Tags
from facaded.oci.requests import Manifest as ManifestRead
from facaded.policy.repositories import parse_rename
from tests.backends.memory import BLOB, INDEX, MANIFEST, Fake, Network

WIDE = Accept.read((INDEX, MANIFEST))
NARROW = Accept.read((MANIFEST,))
LATEST = ManifestRead("org/app", "latest")


def network(fault: str = "", *others: str) -> Network:
    """`hub` with a fault, and `ghcr`; both have org/app:latest, with the same content."""
    made = Network(Fake("hub", fault=fault), Fake("ghcr"), *(Fake(name) for name in others))
    for fake in made.fakes.values():
        fake.put("org/app", "latest")
    return made


def ask(
    made: Network, serving: Fetcher, read: Read = LATEST, accept: Accept = WIDE, body: bool = True, seconds: float = 0
) -> Served | NotServed:
    return made.finish(
        Deferred.fromCoroutine(serving.serve(read, tuple(made.fakes), ReadOptions(accept, body))), seconds
    )


def manifest(served: Served | NotServed) -> Manifest:
    assert isinstance(served, Served)
    assert isinstance(served.found, Manifest)
    return served.found


def backend(served: Served | NotServed) -> str:
    assert isinstance(served, Served)
    return served.backend


def test_a_tag_is_asked_by_head_and_the_manifest_by_its_digest() -> None:
    made = network()
    found = manifest(ask(made, made.serving()))
    assert found.media_type == INDEX
    assert found.body is not None
    assert found.digest == digest_of(found.body)
    hub = made.fakes["hub"]
    assert (hub.count("HEAD", "/latest"), hub.count("GET", "/latest"), hub.count("GET", "sha256:")) == (1, 0, 1)
    assert made.fakes["ghcr"].asked == []


@pytest.mark.parametrize("together", [True, False])
def test_a_tag_asked_a_hundred_times_costs_one_head_and_one_get(together: bool) -> None:
    made = network()
    serving, hub = made.serving(), made.fakes["hub"]
    works = []
    for _ in range(100):
        works.append(Deferred.fromCoroutine(serving.serve(LATEST, ("hub", "ghcr"), ReadOptions(WIDE))))
        if not together:
            made.finish(works.pop())
    for work in works:
        assert manifest(made.finish(work)).body
    assert (hub.count("HEAD", "manifests"), hub.count("GET", "manifests"), hub.tokens) == (1, 1, 1)


def test_a_head_costs_no_get() -> None:
    made = network()
    found = manifest(ask(made, made.serving(), body=False))
    assert found.body is None
    assert found.length > 0
    assert found.digest.startswith("sha256:")
    assert made.fakes["hub"].count("GET", "manifests") == 0


def test_a_digest_in_the_cache_costs_nothing_until_it_is_too_old() -> None:
    made = network()
    serving, hub = made.serving(), made.fakes["hub"]
    by_digest = ManifestRead("org/app", manifest(ask(made, serving)).digest)
    asked = len(hub.asked)
    hub.fault = "500"
    assert backend(ask(made, serving, by_digest)) == "hub"
    assert len(hub.asked) == asked
    made.clock.advance(3600)
    assert backend(ask(made, serving, by_digest)) == "ghcr"


def test_a_tag_is_asked_again_after_its_time() -> None:
    made = network()
    serving = made.serving()
    first = manifest(ask(made, serving)).digest
    made.fakes["hub"].put("org/app", "latest", body=b'{"new": 1}')
    assert manifest(ask(made, serving)).digest == first
    made.clock.advance(10)
    assert manifest(ask(made, serving)).digest != first


def test_a_manifest_is_not_given_to_another_repository_s_askers() -> None:
    made = network()
    serving = made.serving()
    digest = manifest(ask(made, serving)).digest
    assert ask(made, serving, ManifestRead("org/other", digest)) == NotServed({}, ("hub", "ghcr"))


def test_a_narrow_asker_does_not_choose_for_a_wide_one() -> None:
    """docker-registry gives the amd64 manifest of a tag to who does not accept an index."""
    made = Network(Fake("hub"))
    hub, serving = made.fakes["hub"], made.serving()
    amd64 = hub.put("org/app", "latest", MANIFEST)
    assert manifest(ask(made, serving, accept=NARROW)).digest == amd64
    index = hub.put("org/app", "latest", INDEX)
    assert manifest(ask(made, serving, accept=WIDE)).digest == index
    hub.put("org/app", "latest", MANIFEST)
    assert manifest(ask(made, serving, accept=NARROW)).digest == amd64
    assert manifest(ask(made, serving, accept=WIDE)).digest == index


def test_what_one_asker_cannot_accept_is_still_there_for_another() -> None:
    made = network()
    serving = made.serving()
    assert isinstance(ask(made, serving, accept=NARROW), NotServed)
    assert manifest(ask(made, serving, accept=WIDE)).media_type == INDEX
    digest = manifest(ask(made, serving)).digest
    assert isinstance(ask(made, serving, ManifestRead("org/app", digest), NARROW), NotServed)


@pytest.mark.parametrize(
    ("fault", "said", "whole"),
    [
        ("500", "answered 500", False),
        ("429", "answered 429", True),
        ("wrong digest", "serves a manifest with a wrong digest", False),
        ("token 500", "token server: answered 500", True),
        ("token 404", "token server: answered 404", True),
        ("hang", "time-out", True),
        ("hang auth.hub.test", "time-out", True),
        ("hang hub.test", "time-out", True),
    ],
)
def test_a_failing_backend_is_survived_at_the_first_try_and_tried_last_for_a_while(
    fault: str, said: str, whole: bool
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
    assert backend(ask(made, serving, ManifestRead("org/other", "latest"))) == ("ghcr" if whole else "hub")
    made.clock.advance(10)
    assert backend(ask(made, serving)) == "hub"


def test_a_backend_whose_head_has_no_digest_is_asked_by_get() -> None:
    made = network("no digest")
    found = manifest(ask(made, made.serving(), body=False))
    assert found.digest.startswith("sha256:")
    assert made.fakes["hub"].count("GET", "/latest") == 1


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


def test_a_token_is_dropped_when_it_is_refused() -> None:
    made = network()
    serving, hub = made.serving(), made.fakes["hub"]
    ask(made, serving)
    hub.valid.clear()
    made.clock.advance(11)
    hub.put("org/app", "latest", body=b"{}")
    assert manifest(ask(made, serving)).body == b"{}"
    assert hub.tokens == 2


def test_a_token_is_renewed_before_it_expires_and_asked_for_its_own_repository() -> None:
    made = network()
    serving, hub = made.serving(), made.fakes["hub"]
    hub.put("org/other", "latest")
    ask(made, serving)
    ask(made, serving, ManifestRead("org/other", "latest"))
    assert hub.count("GET", "scope=repository%3Aorg%2Fapp%3Apull") == 1
    assert hub.count("GET", "scope=repository%3Aorg%2Fother%3Apull") == 1
    assert hub.count("GET", "user%2Fimage") == 0, "GHCR's placeholder"
    made.clock.advance(240)
    ask(made, serving)
    assert hub.tokens == 3


def test_a_blob_is_where_the_backend_says() -> None:
    made = network()
    served = ask(made, made.serving(), Blob("org/app", BLOB))
    assert served == Served("hub", BlobAt("https://cdn.hub.test/a?sig=1"), {})


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("", "redirects a blob to an invalid URL"),
        ("ftp://cdn.test/a", "redirects a blob to an invalid URL"),
        ("javascript:alert(1)", "redirects a blob to an invalid URL"),
        ("https://u:p@cdn.test/a", "redirects a blob to an invalid URL"),
        ("https://cdn.test/" + "a" * 9000, "redirects a blob to an invalid URL"),
        ("https://cdn.test/a b", "redirects a blob to an invalid URL"),
        ("http://cdn.test/a", "redirects a blob to plain http"),
        ("/elsewhere", None),
    ],
)
def test_a_location_that_a_client_should_not_follow_is_never_passed_on(location: str, said: str | None) -> None:
    made = network()
    made.fakes["hub"].headers["Location"] = location
    served = ask(made, made.serving(), Blob("org/app", BLOB))
    assert isinstance(served, Served)
    assert served.found == BlobAt("https://cdn.ghcr.test/a?sig=1")
    assert served.failures == ({"hub": said} if said else {})


def test_a_location_on_the_backend_s_own_host_is_followed_with_the_token() -> None:
    made = network()
    made.fakes["hub"].headers["Location"] = f"/v2/org/app/blobs/{BLOB}"
    served = ask(made, made.serving(), Blob("org/app", BLOB))
    assert isinstance(served, Served)
    assert served.failures == {"hub": "redirects a blob to itself"}
    assert made.fakes["hub"].count("GET", "/blobs/") == 2


def test_bytes_of_a_blob_are_never_read() -> None:
    made = network("bytes")
    served = ask(made, made.serving(), Blob("org/app", BLOB))
    assert isinstance(served, Served)
    assert served.backend == "ghcr"
    assert served.failures == {"hub": "hands out blobs itself"}


def test_a_blob_s_size_comes_from_a_manifest_else_from_the_cdn() -> None:
    made = network()
    serving, hub = made.serving(), made.fakes["hub"]
    assert ask(made, serving, Blob("org/app", BLOB), body=False) == Served("hub", BlobSize(6), {})
    assert [host for host, _ in hub.authorizations if host.startswith("cdn")] == ["cdn.hub.test"]
    assert all(given == "" for host, given in hub.authorizations if host.startswith("cdn")), "no token for the CDN"
    body = json.dumps({"layers": [{"digest": BLOB, "size": 66}]}).encode()
    hub.put("org/app", "described", MANIFEST, body)
    ask(made, serving, ManifestRead("org/app", "described"))
    asked = len(hub.asked)
    assert ask(made, serving, Blob("org/app", BLOB), body=False) == Served("hub", BlobSize(66), {})
    assert len(hub.asked) == asked


def test_lists_are_under_the_facade_s_name_and_their_next_page_too() -> None:
    made = network()
    serving = made.serving({"hub": (parse_rename("org/*", "other/*"),)})
    served = ask(made, serving, Tags("org/app", "n=1"))
    assert isinstance(served, Served)
    assert isinstance(served.found, Listing)
    assert json.loads(served.found.body) == {"name": "org/app", "tags": ["b"]}
    assert served.found.next_query == "n=1&last=b"
    assert made.fakes["hub"].count("GET", "/v2/other/app/tags/list?n=1") == 1
    referrers = ask(made, serving, Referrers("org/app", BLOB, "artifactType=x"))
    assert referrers == Served("hub", Listing(INDEX, b"{}", None, "artifactType"), {})


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


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    path = tmp_path / "password"
    path.write_text("s3cret\n")
    os.chmod(path, 0o600)
    return Credentials("me", path)


BASIC = "Basic bWU6czNjcmV0"


def test_credentials_are_used_only_for_what_anybody_may_have(credentials: Credentials) -> None:
    made = network()
    serving, hub = made.serving(credentials=credentials), made.fakes["hub"]
    assert backend(ask(made, serving)) == "hub"
    basic = [host for host, given in hub.authorizations if given == BASIC]
    assert basic == ["auth.hub.test"], "after an anonymous HEAD was answered 200"
    heads = [given for (method, _), (_, given) in zip(hub.asked, hub.authorizations, strict=True) if method == "HEAD"]
    assert heads == ["Bearer hub-1"]
    hub.authorizations.clear()
    ask(made, serving, ManifestRead("org/private", "latest"))
    assert all(given != BASIC for _, given in hub.authorizations)


def test_a_registry_that_wants_basic_alone_is_asked_so(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("s3cret")
    made = network("basic")
    hub = made.fakes["hub"]
    hub.valid.add(BASIC)
    private = made.serving(credentials=Credentials("me", path), publish_private=True)
    assert backend(ask(made, private)) == "hub"
    assert hub.tokens == 0
    assert backend(ask(made, made.serving())) == "ghcr", "without an account it is not there"


@pytest.mark.parametrize("realm", ["https://auth.evil.test/token", "https://hub.test.evil.example/token"])
def test_credentials_are_never_sent_to_a_realm_on_another_domain(credentials: Credentials, realm: str) -> None:
    made = network()
    hub = made.fakes["hub"]
    hub.valid.add("stranger")
    hub.realm = realm
    ask(made, made.serving(credentials=credentials))
    assert made.strangers
    assert all(given == "" for _, given in made.strangers)


def test_a_realm_that_the_settings_name_gets_them(credentials: Credentials) -> None:
    made = network()
    made.fakes["hub"].valid.add("stranger")
    made.fakes["hub"].realm = "https://sso.example/token"
    named = Credentials(credentials.username, credentials.password_file, "https://sso.example/token")
    ask(made, made.serving(credentials=named))
    assert BASIC in [given for _, given in made.strangers]


def test_a_token_goes_to_the_backend_it_was_issued_for_and_nowhere_else() -> None:
    made = network("500")
    ask(made, made.serving())
    for name, fake in made.fakes.items():
        for host, value in fake.authorizations:
            assert value == "" or (host == f"{name}.test" and value.startswith(f"Bearer {name}-"))


def test_the_cache_is_bounded_in_bytes() -> None:
    cache = Cache(5000, 10, lambda: 0.0)
    manifests = [Manifest(INDEX, digest_of(bytes([n])), 1000, b"x" * 1000) for n in range(10)]
    for each in manifests:
        cache.keep("org/app", each)
    kept = [each for each in manifests if cache.manifest("org/app", each.digest, WIDE)]
    assert kept == manifests[-3:]
    cache.keep("org/app", Manifest(INDEX, digest_of(b"large"), 6000, b"x" * 6000))
    assert cache.manifest("org/app", digest_of(b"large"), WIDE) is None
    nothing = Cache(0, 10, lambda: 0.0)
    nothing.keep("org/app", manifests[0])
    nothing.keep_tag("hub", "org/app", "latest", WIDE, manifests[0].digest)
    assert nothing.manifest("org/app", manifests[0].digest, WIDE) is None
    assert nothing.tag("hub", "org/app", "latest", WIDE) is None


@given(st.lists(st.text()))
def test_any_accept_header_is_read(lines: list[str]) -> None:
    assert "" not in Accept.read(tuple(lines)).types


def forward(
    made: Network, serving: Fetcher, request: Ping | Read, authorization: str | None
) -> Served | NotServed | Unauthorized | Welcome:
    return made.finish(
        Deferred.fromCoroutine(serving.forward(request, "hub", authorization, ReadOptions(WIDE))), BUDGET
    )


def test_a_client_without_credentials_is_told_to_authenticate_as_the_backend_wants_it() -> None:
    made = network()
    serving = made.serving()
    realm = 'Bearer realm="https://auth.hub.test/token",service="hub"'
    assert forward(made, serving, Ping(), None) == Unauthorized(realm)
    assert forward(made, serving, LATEST, None) == Unauthorized(f'{realm},scope="repository:org/app:pull"')
    assert made.fakes["hub"].count("GET", "manifests") == 0


def test_a_client_s_credentials_go_to_their_backend_alone_and_nothing_is_kept() -> None:
    made = network()
    serving, hub = made.serving(), made.fakes["hub"]
    hub.valid.add("client-token")
    mine = "Bearer client-token"
    assert forward(made, serving, Ping(), mine) == Welcome()
    assert manifest(forward(made, serving, LATEST, mine)).body  # type: ignore[arg-type]
    assert forward(made, serving, Blob("org/app", BLOB), mine) == Served(
        "hub", BlobAt("https://cdn.hub.test/a?sig=1"), {}
    )
    gets = hub.count("GET", "manifests")
    forward(made, serving, LATEST, mine)
    assert hub.count("GET", "manifests") == gets + 1, "not cached"
    assert {given for host, given in hub.authorizations if host == "hub.test" and given} == {mine}
    assert all(given == "" for host, given in hub.authorizations if host != "hub.test")
    assert made.fakes["ghcr"].asked == []
    assert made.strangers == []


def test_an_anonymous_request_is_not_joined_to_an_authorised_one() -> None:
    made = network()
    serving = made.serving()
    made.fakes["hub"].valid.add("client-token")
    authorised = Deferred.fromCoroutine(serving.forward(LATEST, "hub", "Bearer client-token", ReadOptions(WIDE)))
    other = Deferred.fromCoroutine(serving.forward(LATEST, "hub", "Bearer another", ReadOptions(WIDE)))
    anonymous = Deferred.fromCoroutine(serving.forward(LATEST, "hub", None, ReadOptions(WIDE)))
    assert isinstance(made.finish(authorised), Served)
    assert isinstance(made.finish(other), Unauthorized)
    assert isinstance(made.finish(anonymous), Unauthorized)
    assert isinstance(forward(made, serving, LATEST, None), Unauthorized)


def test_a_backend_that_fails_a_client_is_said_to() -> None:
    made = network("hang")
    assert forward(made, made.serving(), LATEST, "Bearer x") == NotServed({"hub": "time-out"}, ())


def test_an_account_that_is_refused_leaves_what_anybody_may_pull(credentials: Credentials) -> None:
    """Docker Hub 2024-09-27: the token server answered 401 to logged-in users alone."""
    made = network("account refused")
    serving = made.serving(credentials=credentials)
    for _ in range(2):
        assert backend(ask(made, serving)) == "hub"
        made.clock.advance(20)
    published = made.serving(credentials=credentials, publish_private=True)
    served = ask(made, published)
    assert isinstance(served, Served)
    assert served.failures == {"hub": "the token server refuses facaded's account"}


def test_a_password_that_has_gone_is_said_without_its_path(credentials: Credentials) -> None:
    made = network()
    serving = made.serving(credentials=credentials)
    credentials.password_file.unlink()
    ask(made, serving, body=False)
    served = ask(made, serving)
    assert isinstance(served, Served)
    assert served.failures == {"hub": "facaded cannot read its password"}


def test_a_backend_that_challenges_manifests_alone_is_authenticated_to() -> None:
    made = network("open door")
    serving = made.serving()
    assert backend(ask(made, serving)) == "hub"
    challenged = forward(made, made.serving(), LATEST, None)
    assert isinstance(challenged, Unauthorized)
    assert challenged.challenge.endswith('scope="repository:org/app:pull"')


def test_a_tag_asked_by_head_again_and_again_costs_no_get() -> None:
    made = network()
    serving = made.serving()
    for _ in range(5):
        assert manifest(ask(made, serving, body=False)).length > 0
    assert made.fakes["hub"].count("GET", "manifests") == 0


def test_a_backend_without_digests_is_asked_once_as_well() -> None:
    made = network("no digest")
    serving, hub = made.serving(), made.fakes["hub"]
    for _ in range(5):
        assert backend(ask(made, serving)) == "hub"
    assert (hub.count("HEAD", "manifests"), hub.count("GET", "manifests")) == (1, 1)


def test_a_tag_whose_manifest_is_missing_is_a_failure() -> None:
    made = Network(Fake("hub"))
    hub = made.fakes["hub"]
    digest = hub.put("org/app", "latest")
    del hub.manifests["org/app", digest]
    assert ask(made, made.serving()) == NotServed({"hub": "has a tag but not its manifest"}, ())


@pytest.mark.parametrize("size", [True, -1, 10**15, 1.5, "7", None])
def test_a_size_that_no_blob_has_is_not_believed(size: object) -> None:
    cache = Cache(1 << 20, 10, lambda: 0.0)
    body = json.dumps({"layers": [{"digest": BLOB, "size": size}]}).encode()
    cache.keep("org/app", Manifest(MANIFEST, digest_of(body), len(body), body))
    assert cache.blob_size("org/app", BLOB) is None


def test_a_request_that_a_backend_refuses_as_it_is_makes_no_suspect() -> None:
    made = network("400")
    made.fakes["ghcr"].fault = "400"
    serving = made.serving()
    assert ask(made, serving, Tags("org/app", "n=-1")) == NotServed({}, ("hub", "ghcr"), refused=True)
    assert made.failed == []
    made.fakes["hub"].fault = ""
    assert backend(ask(made, serving)) == "hub"


@pytest.mark.parametrize(
    ("link", "query"),
    [
        ('</v2/org/app/tags/list?n=1&last=b>; rel="next"', "n=1&last=b"),
        ('</v2/org/app/tags/list?a=1>; rel="prev", </v2/org/app/tags/list?b=2>; rel=next', "b=2"),
        ('<https://hub.test/v2/org/app/tags/list?n=1>; rel="next"', "n=1"),
        ('</v2/org/other/tags/list?n=1>; rel="next"', None),
        ('<//[/v2/org/app/tags/list?n=1>; rel="next"', None),
        ('</v2/org/app/tags/list?last=a b"c>; rel="next"', None),
        ('</v2/org/app/tags/list?a=%0d%0a>; rel="next"', None),
        ('</v2/org/app/tags/list?a=1>; rel="prev"', None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_the_next_page_is_read_from_a_link_or_there_is_none(link: str, query: str | None) -> None:
    made = network()
    made.fakes["hub"].headers["Link"] = link
    served = ask(made, made.serving(), Tags("org/app"))
    assert isinstance(served, Served)
    assert isinstance(served.found, Listing)
    assert served.found.next_query == query


def test_another_registry_s_empty_list_does_not_hide_a_signature() -> None:
    """A client that gets 404 looks for the tag that the digest makes."""
    made = network("no referrers")
    assert isinstance(ask(made, made.serving(), Referrers("org/app", BLOB)), NotServed)
    made = network("500")
    assert backend(ask(made, made.serving(), Referrers("org/app", BLOB))) == "ghcr"


def test_a_list_is_an_object_with_200_or_a_failure() -> None:
    made = network("login page")
    served = ask(made, made.serving(), Referrers("org/app", BLOB))
    assert isinstance(served, Served)
    assert served.failures == {"hub": "answered 307 to a list"}


@pytest.mark.parametrize("location", ["https://hub.test:443/x", "https://HUB.test/x"])
def test_the_backend_s_own_host_is_known_however_it_is_written(location: str) -> None:
    made = network()
    made.fakes["hub"].headers["Location"] = location
    served = ask(made, made.serving(), Blob("org/app", BLOB))
    assert isinstance(served, Served)
    assert served.found == BlobAt("https://cdn.ghcr.test/a?sig=1")


def test_what_clients_send_is_remembered_in_a_few_bytes() -> None:
    long = Accept.read((", ".join(f"application/x-{number}" for number in range(1000)),))
    assert len(long.key) == 32
    assert long.key == Accept.read(tuple(reversed(long.value.split(", ")))).key
