"""Referrers as a client sees them: one list for every family, and what it lists is served from where it is."""

import json

import pytest
from attrs import evolve

from facaded.oci.referrers import referrers_tag
from facaded.policy.decision import Mode
from tests.backends.memory import BLOB, INDEX, MANIFEST, Fake
from tests.web.test_facade import RULES, Client, values

SUBJECT = "sha256:" + "5" * 64
LIST = f"/v2/org/app/referrers/{SUBJECT}"
SIGNATURE = f"/v2/org/app/manifests/{referrers_tag(SUBJECT)}.sig"
FAMILIES = ("docker/28", "containerd/2.1.0", "containers/5", "oras/1.2", "go-containerregistry/v0.21")


def put_signature(fake: Fake) -> str:
    """Publish a signature of SUBJECT with one layer, list it, and return its digest."""
    body = {"mediaType": MANIFEST, "config": {"digest": BLOB, "size": 6}, "layers": []}
    digest = fake.put("org/app", "signature", MANIFEST, json.dumps(body).encode())
    fake.pages[LIST] = {"manifests": [{"mediaType": MANIFEST, "digest": digest, "size": 2}]}, ""
    return digest


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_finds_a_signature_that_the_second_registry_alone_has(family: str) -> None:
    client = Client()
    digest = put_signature(client.network.fakes["second"])
    headers = {"User-Agent": family, "Accept": MANIFEST}
    code, answered, body = client.ask("GET", LIST, headers=headers)
    assert (code, values(answered, "Content-Type"), values(answered, "Link")) == (200, [INDEX], [])
    assert [entry["digest"] for entry in json.loads(body)["manifests"]] == [digest]
    code, answered, _ = client.ask("GET", f"/v2/org/app/manifests/{digest}", headers=headers)
    assert (code, values(answered, "X-Facaded-Backend")) == (200, ["second"])
    code, answered, _ = client.ask("GET", f"/v2/org/app/blobs/{BLOB}", headers=headers)
    assert (code, values(answered, "Location")[0].split("/")[2].partition(".")[0]) == (307, "cdn")


def test_what_is_not_listed_is_still_redirected() -> None:
    client = Client()
    put_signature(client.network.fakes["second"])
    client.ask("GET", LIST)
    code, headers, _ = client.ask("GET", f"/v2/org/app/manifests/{SUBJECT}")
    assert (code, values(headers, "X-Facaded-Backend")) == (307, ["main"])


def test_the_tag_of_a_signature_is_served_from_the_registry_that_has_it() -> None:
    client = Client()
    tag = SIGNATURE.rpartition("/")[2]
    client.network.fakes["second"].put("org/app", tag, MANIFEST)
    code, headers, _ = client.ask("GET", SIGNATURE, headers={"Accept": MANIFEST})
    assert (code, values(headers, "X-Facaded-Backend")) == (200, ["second"])


def test_the_tag_of_a_signature_that_the_working_registry_lacks_is_404_while_the_other_fails() -> None:
    client = Client()
    client.network.fakes["second"].fault = "500"
    code, _, body = client.ask("GET", SIGNATURE, headers={"User-Agent": "containers/5"})
    assert (code, json.loads(body)["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")


def test_a_list_that_may_be_incomplete_has_a_warning() -> None:
    client = Client()
    put_signature(client.network.fakes["second"])
    client.network.fakes["main"].fault = "500"
    code, headers, _ = client.ask("GET", LIST)
    assert (code, values(headers, "Warning")) == (200, ['299 - "referrers may be missing: main failed"'])


def test_a_list_that_may_be_incomplete_and_is_empty_is_503() -> None:
    client = Client()
    client.network.fakes["main"].fault = "500"
    code, headers, body = client.ask("GET", LIST)
    assert (code, values(headers, "Retry-After")) == (503, ["5"])
    (error,) = json.loads(body)["errors"]
    assert error["code"] == "UNAVAILABLE"
    assert "main failed (answered 500); second does not have it" in error["message"]


def test_head_has_the_length_of_the_list_and_no_body() -> None:
    client = Client()
    put_signature(client.network.fakes["second"])
    _, _, listed = client.ask("GET", LIST)
    code, headers, body = client.ask("HEAD", LIST)
    assert (code, body, values(headers, "Content-Length")) == (200, b"", [str(len(listed))])


def test_lists_that_are_relayed_as_they_are_have_no_404_that_ends_the_search_of_a_client() -> None:
    client = Client(evolve(RULES, merge_referrers=False))
    client.network.fakes["main"].fault = "no referrers"
    code, _, body = client.ask("GET", LIST, headers={"User-Agent": "oras-go"})
    assert (code, json.loads(body)["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")


def test_with_answer_redirect_lists_are_redirected() -> None:
    client = Client(evolve(RULES, mode=Mode.REDIRECT))
    code, headers, _ = client.ask("GET", LIST, headers={"User-Agent": "oras-go"})
    assert (code, values(headers, "Location")) == (307, [f"https://main.test{LIST}"])
