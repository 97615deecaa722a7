"""Lists of tags and referrers, and their pages."""

import json

import pytest
from twisted.internet.defer import Deferred

from facaded.backends.manifests import Accept
from facaded.backends.registry import Listing
from facaded.backends.served_content import NotServed, ReadOptions, Served, Unauthorized
from facaded.oci.requests import Read, Referrers, Tags
from facaded.policy.repositories import parse_rename
from tests.backends.fetching import LATEST, NARROW, WIDE, ask, backend, serve_from, two_registries
from tests.backends.memory import BLOB, INDEX


def test_lists_and_their_next_pages_have_the_facade_s_name() -> None:
    network = two_registries()
    fetcher = network.fetcher({"hub": (parse_rename("org/*", "other/*"),)})
    served = ask(network, fetcher, Tags("org/app", "n=1"))
    assert isinstance(served, Served)
    assert isinstance(served.content, Listing)
    assert json.loads(served.content.body) == {"name": "org/app", "tags": ["b"]}
    assert served.content.next_query == "n=1&last=b"
    assert network.fakes["hub"].count("GET", "/v2/other/app/tags/list?n=1") == 1
    referrers = ask(network, fetcher, Referrers("org/app", BLOB, "artifactType=x"))
    assert referrers == Served("hub", Listing(INDEX, b"{}", None, "artifactType"), {})


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
        ("<>" * 8000 + '</v2/org/app/tags/list?n=1>; rel="next"', None),
    ],
)
def test_the_next_page_comes_from_the_link_header(link: str, query: str | None) -> None:
    network = two_registries()
    network.fakes["hub"].headers["Link"] = link
    served = ask(network, network.fetcher(), Tags("org/app"))
    assert isinstance(served, Served)
    assert isinstance(served.content, Listing)
    assert served.content.next_query == query


def test_another_registry_s_empty_list_does_not_hide_a_signature() -> None:
    """A client that gets 404 tries the fallback tag."""
    network = two_registries("no referrers")
    assert isinstance(ask(network, network.fetcher(), Referrers("org/app", BLOB)), NotServed)
    network = two_registries("500")
    assert backend(ask(network, network.fetcher(), Referrers("org/app", BLOB))) == "ghcr"


@pytest.mark.parametrize("fault", ["login page", "no referrers", "referrers 405", "referrers 501"])
def test_a_registry_without_a_referrers_api_is_not_failing(fault: str) -> None:
    """GHCR redirects to a web page (artifacthub/hub issue 4785), which one client could use to divert the others."""
    network = two_registries(fault)
    fetcher = network.fetcher()
    assert ask(network, fetcher, Referrers("org/app", BLOB)) == NotServed({}, ("hub", "ghcr"))
    assert network.attempts == []
    network.fakes["ghcr"].fault = "500"
    assert backend(ask(network, fetcher, Tags("org/app") if fault != "login page" else LATEST)) == "hub"


def test_a_redirect_in_response_to_a_request_for_tags_fails_that_request_only() -> None:
    network = two_registries("login page")
    fetcher = network.fetcher()
    for _ in range(2):
        served = ask(network, fetcher, Tags("org/app"))
        assert isinstance(served, Served)
        assert (served.backend, served.failures) == ("ghcr", {"hub": "answered 307 to a list request"})
        assert network.attempts == []
    assert network.fakes["hub"].count("GET", "tags/list") == 2
    assert backend(ask(network, fetcher)) == "hub"


def test_simultaneous_requests_for_a_list_are_one_request() -> None:
    network = two_registries("hang lists")
    fetcher, hub = network.fetcher(), network.fakes["hub"]

    def start(read: Read, accept: Accept = WIDE) -> Deferred[Served | NotServed]:
        return Deferred.fromCoroutine(fetcher.serve(serve_from(network, read), ReadOptions(accept)))

    works = [start(Tags("org/app")) for _ in range(40)]
    assert hub.count("GET", "tags/list") == 1
    works += [start(Tags("org/app", "n=1")), start(Tags("org/app"), NARROW), start(Tags("org/other"))]
    assert hub.count("GET", "tags/list") == 4
    for work in works:
        assert backend(network.run(work, 12)) == "ghcr"
    assert hub.count("GET", "tags/list") == 4


def test_requests_for_a_list_with_authorizations_of_their_own_are_not_shared() -> None:
    network = two_registries("hang lists")
    fetcher, hub = network.fetcher(), network.fakes["hub"]
    hub.valid.add("client-token")
    works = [
        Deferred.fromCoroutine(fetcher.forward(Tags("org/app"), "hub", f"Bearer {token}", ReadOptions(WIDE)))
        for token in ("client-token", "client-token", "another")
    ]
    assert hub.count("GET", "tags/list") == 3
    answers = [network.run(work, 12) for work in works]
    assert [type(answer) for answer in answers] == [NotServed, NotServed, Unauthorized]


@pytest.mark.parametrize(
    ("sent", "served_type"),
    [
        (INDEX, INDEX),
        ("application/json", "application/json"),
        ("application/json; charset=utf-8", "application/json"),
        ("Application/vnd.example+JSON", "application/vnd.example+json"),
        ("text/html", "application/json"),
        ("text/html; a=application/json", "application/json"),
        ("application/xhtml+xml", "application/json"),
        ("application/javascript", "application/json"),
        ("", "application/json"),
        ("application/json, text/html", "application/json"),
    ],
)
def test_a_list_is_served_as_json_whatever_its_type(sent: str, served_type: str) -> None:
    network = two_registries()
    network.fakes["hub"].headers["Content-Type"] = sent
    for read in (Tags("org/app"), Referrers("org/app", BLOB)):
        served = ask(network, network.fetcher(), read)
        assert isinstance(served, Served)
        assert isinstance(served.content, Listing)
        assert served.content.media_type == served_type


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"tags": [1] * 200_000}, "list has over 100000 values"),
        ([], "list is not a JSON object"),
        ({"tags": {"a": 1}}, "list is not a JSON object"),
    ],
)
def test_a_list_that_cannot_be_read_is_a_failure(document: object, reason: str) -> None:
    network = two_registries()
    network.fakes["hub"].pages["/v2/org/app/tags/list"] = document, ""
    served = ask(network, network.fetcher(), Tags("org/app"))
    assert isinstance(served, Served)
    assert (served.backend, served.failures) == ("ghcr", {"hub": reason})


@pytest.mark.parametrize("tags", [[f"v{number}" for number in range(90_000)], None, []])
def test_a_list_of_many_tags_or_none_is_served_with_or_without_another_name(tags: list[str] | None) -> None:
    network = two_registries()
    for name in ("org/app", "other/app"):
        network.fakes["hub"].pages["/v2/org/app/tags/list"] = {"name": name, "tags": tags, "x": 1.5}, ""
        served = ask(network, network.fetcher(), Tags("org/app"))
        assert isinstance(served, Served)
        assert isinstance(served.content, Listing)
        document = json.loads(served.content.body)
        assert (document["name"], document["tags"]) == ("org/app", tags)
