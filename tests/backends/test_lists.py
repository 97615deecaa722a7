"""Lists of tags and referrers, and their pages."""

import json

import pytest

from facaded.backends.fetcher import NotServed, Served
from facaded.backends.registry import Listing
from facaded.oci.requests import Referrers, Tags
from facaded.policy.repositories import parse_rename
from tests.backends.fetching import ask, backend, two_registries
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


def test_a_redirect_in_response_to_a_list_request_is_a_failure() -> None:
    network = two_registries("login page")
    served = ask(network, network.fetcher(), Referrers("org/app", BLOB))
    assert isinstance(served, Served)
    assert served.failures == {"hub": "answered 307 to a list request"}
