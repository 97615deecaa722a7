"""Lists of tags and referrers, and their pages."""

import json

import pytest

from facaded.backends.fetcher import NotServed, Served
from facaded.backends.registry import Listing
from facaded.oci.requests import Referrers, Tags
from facaded.policy.repositories import parse_rename
from tests.backends.fetching import ask, backend, network
from tests.backends.memory import BLOB, INDEX


def test_lists_are_under_the_facade_s_name_and_their_next_page_too() -> None:
    made = network()
    serving = made.serving({"hub": (parse_rename("org/*", "other/*"),)})
    served = ask(made, serving, Tags("org/app", "n=1"))
    assert isinstance(served, Served)
    assert isinstance(served.content, Listing)
    assert json.loads(served.content.body) == {"name": "org/app", "tags": ["b"]}
    assert served.content.next_query == "n=1&last=b"
    assert made.fakes["hub"].count("GET", "/v2/other/app/tags/list?n=1") == 1
    referrers = ask(made, serving, Referrers("org/app", BLOB, "artifactType=x"))
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
def test_the_next_page_is_read_from_a_link_or_there_is_none(link: str, query: str | None) -> None:
    made = network()
    made.fakes["hub"].headers["Link"] = link
    served = ask(made, made.serving(), Tags("org/app"))
    assert isinstance(served, Served)
    assert isinstance(served.content, Listing)
    assert served.content.next_query == query


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
    assert served.failures == {"hub": "answered 307 to a list request"}
