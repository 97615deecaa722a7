"""The media types of manifests: an error page is not taken for a manifest."""

import pytest

from facaded.backends.media_types import is_manifest_type
from facaded.backends.served_content import NotServed, Served
from facaded.oci.requests import ManifestRead
from tests.backends.fetching import LATEST, ask, backend, manifest, two_registries
from tests.backends.memory import INDEX, MANIFEST, Fake, Network


@pytest.mark.parametrize(
    ("media_type", "good"),
    [
        (INDEX, True),
        (MANIFEST, True),
        (f"{MANIFEST}; charset=utf-8", True),
        (MANIFEST.upper(), True),
        ("application/vnd.docker.distribution.manifest.v2+json", True),
        ("application/vnd.docker.distribution.manifest.list.v2+json", True),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", True),
        ("application/vnd.docker.distribution.manifest.v1+json", True),
        ("application/vnd.oci.artifact.manifest.v1+json", True),
        ("text/html", False),
        ("text/plain", False),
        ("application/json", False),
        ("application/octet-stream", False),
        ("", False),
    ],
)
def test_manifests_have_certain_media_types(media_type: str, good: bool) -> None:
    assert is_manifest_type(media_type) is good


def test_a_maintenance_page_is_a_failure() -> None:
    network = two_registries("page")
    served = ask(network, network.fetcher())
    assert isinstance(served, Served)
    assert (served.backend, served.failures) == (
        "ghcr",
        {"hub": "answered with something that is no manifest (text/html)"},
    )
    assert network.failed == ["hub"]
    by_digest = ManifestRead("org/app", manifest(served).digest)
    network = two_registries("page")
    assert backend(ask(network, network.fetcher(), by_digest, body=False)) == "ghcr"


@pytest.mark.parametrize(
    ("sent", "body", "served_type"),
    [
        ("", f'{{"mediaType": "{INDEX}"}}', INDEX),
        ("application/json", f'{{"mediaType": "{INDEX}"}}', INDEX),
        ("application/json", "{}", None),
        ("application/json", '{"mediaType": "text/html"}', None),
        ("text/html", f'{{"mediaType": "{INDEX}"}}', None),
        (f"{INDEX}; charset=utf-8", "{}", f"{INDEX}; charset=utf-8"),
    ],
)
@pytest.mark.parametrize("with_body", [True, False])
def test_a_body_without_a_good_type_is_read(sent: str, body: str, served_type: str | None, with_body: bool) -> None:
    network = Network(Fake("hub", headers={"Content-Type": sent}))
    network.fakes["hub"].put("org/app", "latest", body=body.encode())
    served = ask(network, network.fetcher(), body=with_body)
    if served_type is None:
        assert isinstance(served, NotServed)
        assert "no manifest" in served.failures["hub"]
    else:
        assert manifest(served).media_type == served_type


@pytest.mark.parametrize("body", ["[]", "<h1>"])
def test_a_body_that_is_no_json_object_is_no_manifest_whatever_its_type(body: str) -> None:
    network = Network(Fake("hub", headers={"Content-Type": INDEX}))
    network.fakes["hub"].put("org/app", "latest", body=body.encode())
    served = ask(network, network.fetcher())
    assert isinstance(served, NotServed)
    assert "no manifest" in served.failures["hub"]


def test_a_manifest_whose_type_has_a_parameter_is_cached() -> None:
    network = Network(Fake("hub", headers={"Content-Type": f"{INDEX.upper()}; charset=utf-8"}))
    network.fakes["hub"].put("org/app", "latest")
    fetcher = network.fetcher()
    for _ in range(3):
        assert manifest(ask(network, fetcher, LATEST)).media_type == f"{INDEX.upper()}; charset=utf-8"
    assert network.fakes["hub"].count("GET", "manifests") == 1
