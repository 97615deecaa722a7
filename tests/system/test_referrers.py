"""Signatures and SBOMs through the facade: from registries that list them in different ways, one of which may be down.

The requests of `oras discover`, `oras pull`, `notation list` and `cosign tree` are replayed as their libraries send
them (oras-go 2.6 and go-containerregistry 0.21). Podman is the real one.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from attrs import define

from tests.process.daemon import Daemon, running
from tests.several_processes import workers_of_tests
from tests.system.clients import Podman
from tests.system.images import CONFIG, INDEX, MANIFEST, RandomImage
from tests.system.registries import DockerRegistry
from tests.system.servers import ManifestFaultProxy, send

SIGNATURE = "application/vnd.cncf.notary.signature"
SBOM = "application/vnd.example.sbom"
ANY_MANIFEST = f"{MANIFEST}, {INDEX}"
ORAS = {"User-Agent": "oras/1.3.0"}
NOTATION = {"User-Agent": "notation/1.3.2"}
COSIGN = {"User-Agent": "cosign/v3.1.0 go-containerregistry/v0.21.7"}
CONTAINERD = {"User-Agent": "containerd/v2.1.9"}
PLACEMENTS = [("api", "api"), ("api", "tag"), ("tag", "tag"), ("", "api"), ("", "tag")]
"""How each of the two registries lists the signature; empty where it does not have it."""


@define
class Artifact:
    """An artifact with one layer, whose subject is an image."""

    image: RandomImage
    kind: str
    layer: bytes

    @classmethod
    def about(cls, subject: RandomImage, kind: str) -> "Artifact":
        layer = f"{kind} of {subject.digest}".encode()
        config, index = b"{}", subject.manifests[-1]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": kind,
            "config": {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)},
            "layers": [{"mediaType": kind, "digest": digest_of(layer), "size": len(layer)}],
            "subject": {"mediaType": index[0], "digest": index[1], "size": len(index[2])},
        }
        body = json.dumps(manifest).encode()
        blobs = {digest_of(config): config, digest_of(layer): layer}
        return cls(RandomImage(blobs, [(MANIFEST, digest_of(body), body)]), kind, layer)

    @property
    def descriptor(self) -> dict[str, object]:
        _, digest, body = self.image.manifests[0]
        return {"mediaType": MANIFEST, "digest": digest, "size": len(body), "artifactType": self.kind}


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


class ReferrersProxy(ManifestFaultProxy):
    """A registry with the referrers API, which Debian's docker-registry lacks, in pages of one entry.

    `referrers` maps the digest of a subject to its list. Without any, it redirects to a web page, as GHCR does.
    """

    def __init__(self, host: str, registry_url: str) -> None:
        super().__init__(host, registry_url)
        self.referrers: dict[str, list[dict[str, object]]] = {}

    def respond(self, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        url = urlsplit(request.path)
        repository, _, digest = url.path.rpartition("/referrers/")
        if not repository:
            return super().respond(request)
        headers = {name: value for name, value in request.headers.items() if name == "Authorization"}
        status, answered, body = send("GET", f"{self.registry_url}{repository}/tags/list", headers)
        if status == 401:
            return status, {"WWW-Authenticate": answered["Www-Authenticate"]}, body
        if not self.referrers:
            return 303, {"Location": f"{self.url}/page"}, b""
        page = int(parse_qs(url.query).get("page", ["0"])[0])
        entries = self.referrers.get(digest, [])
        more = {"Link": f'<{url.path}?page={page + 1}>; rel="next"'} if page + 1 < len(entries) else {}
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries[page : page + 1]}
        return 200, {"Content-Type": INDEX, **more}, json.dumps(document).encode()


@define
class Place:
    """A docker-registry behind a proxy that has the referrers API, and lists artifacts in one of the two ways."""

    registry: DockerRegistry
    proxy: ReferrersProxy

    def publish(self, image: RandomImage, way: str, *artifacts: Artifact) -> None:
        self.registry.publish(image, "org/app", "latest")
        if not way:
            return
        for artifact in artifacts:
            self.registry.publish(artifact.image, "org/app", artifact.image.digest)
        entries = [artifact.descriptor for artifact in artifacts]
        if way == "api":
            self.proxy.referrers[image.digest] = entries
            return
        body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
        index = RandomImage({}, [(INDEX, digest_of(body), body)])
        self.registry.publish(index, "org/app", image.digest.replace(":", "-"))

    def stop(self) -> None:
        self.proxy.stop()
        self.registry.stop()


@pytest.fixture
def places(needs: Callable[..., None], tmp_path: Path) -> Iterator[tuple[Place, Place]]:
    needs("docker-registry")
    started = []
    try:
        for name, hosts in (("main", (2, 4, 6, 8)), ("second", (3, 5, 7, 9))):
            own, tokens, cdn, front = (f"127.0.0.{host}" for host in hosts)
            registry = DockerRegistry(name, tmp_path / name, (own, tokens, cdn)).start()
            proxy = ReferrersProxy(front, registry.url)
            proxy.start()
            started.append(Place(registry, proxy))
        yield started[0], started[1]
    finally:
        for place in started:
            place.stop()


def settings(places: tuple[Place, Place], answer: str = "auto") -> str:
    main, second = (place.proxy.url for place in places)
    return f"""
repositories = ["org/*"]
answer = "{answer}"
[cache]
tag_ttl = "50ms"
[[backend]]
name = "main"
url = "{main}"
[[backend]]
name = "second"
url = "{second}"
rename = {{}}
"""


# What clients send


def get(daemon: Daemon, path: str, client: dict[str, str], accept: str = ANY_MANIFEST) -> tuple[str, bytes]:
    """Send a GET and follow its redirects without a token for other hosts, as these clients do."""
    headers = {**client, "Accept": accept}
    status, answered, body = daemon.get(path, headers=headers)
    if status == 307:
        status, answered, body = send("GET", answered["Location"], client)
    assert status == 200, (path, status, body, daemon.log)
    return answered.get("Content-Type", ""), body


def discover(daemon: Daemon, subject: str, client: dict[str, str], kind: str = "") -> list[str]:
    """List the referrers of an image as oras-go and go-containerregistry do: any other type means "no API"."""
    query = f"?artifactType={kind.replace('/', '%2F')}" if kind else ""
    media_type, body = get(daemon, f"/v2/org/app/referrers/{subject}{query}", client, INDEX)
    assert media_type == INDEX
    return [entry["digest"] for entry in json.loads(body)["manifests"]]


def pull_artifact(daemon: Daemon, digest: str, client: dict[str, str]) -> bytes:
    """Pull an artifact by digest, and return its layer."""
    _, body = get(daemon, f"/v2/org/app/manifests/{digest}", client)
    assert digest_of(body) == digest
    layer = json.loads(body)["layers"][0]["digest"]
    return get(daemon, f"/v2/org/app/blobs/{layer}", client)[1]


@pytest.mark.parametrize("down", ["", "main", "second"])
@pytest.mark.parametrize(("first", "second"), PLACEMENTS)
def test_signatures_are_found_in_every_placement_and_with_either_registry_down(
    tmp_path: Path, places: tuple[Place, Place], first: str, second: str, down: str
) -> None:
    image = RandomImage.create()
    signature, sbom = Artifact.about(image, SIGNATURE), Artifact.about(image, SBOM)
    for place, way in zip(places, (first, second), strict=True):
        place.publish(image, way, sbom, signature)
    digests = [sbom.image.digest, signature.image.digest]
    daemon = Daemon(tmp_path, settings(places))
    with running(daemon):
        daemon.start()
        if down == "second" and not first:
            for _ in range(1 if workers_of_tests() == 1 else 12):  # so that each process has its list
                discover(daemon, image.digest, ORAS)  # its last list stands in for it
        for place in places:
            if place.registry.name == down:
                place.proxy.stop()
        for client in (ORAS, COSIGN, CONTAINERD):
            assert discover(daemon, image.digest, client) == digests
        assert discover(daemon, image.digest, NOTATION, SIGNATURE) == digests[1:]
        if down == "second" and not first:
            return  # nobody else has the content
        for client in (ORAS, NOTATION, COSIGN):
            assert pull_artifact(daemon, signature.image.digest, client) == signature.layer
        if not first:
            redirect_safe = {**CONTAINERD, "Accept": ANY_MANIFEST}
            assert daemon.get(f"/v2/org/app/manifests/{digests[1]}", headers=redirect_safe)[0] == 200


def test_cosign_finds_a_signature_by_its_tag_at_the_second_registry(
    tmp_path: Path, places: tuple[Place, Place]
) -> None:
    main, second = places
    image = RandomImage.create()
    signature = Artifact.about(image, SIGNATURE)
    main.publish(image, "")
    second.publish(image, "")
    tag = f"{image.digest.replace(':', '-')}.sig"
    second.registry.publish(signature.image, "org/app", tag)
    daemon = Daemon(tmp_path, settings(places))
    with running(daemon):
        daemon.start()
        for client in (COSIGN, CONTAINERD):
            _, body = get(daemon, f"/v2/org/app/manifests/{tag}", client)
            layer = json.loads(body)["layers"][0]["digest"]
            assert get(daemon, f"/v2/org/app/blobs/{layer}", client)[1] == signature.layer
            assert daemon.get(f"/v2/org/app/manifests/{tag[:-4]}.att", headers=client)[0] == 404


@pytest.mark.parametrize("down", [0, 1])
@pytest.mark.parametrize("answer", ["auto", "serve"])
def test_podman_pulls_an_unsigned_image_with_sigstore_attachments_while_one_registry_is_down(
    needs: Callable[..., None], tmp_path: Path, places: tuple[Place, Place], answer: str, down: int
) -> None:
    needs("podman", root=True)
    image = RandomImage.create()
    for place in places:
        place.publish(image, "")
    daemon = Daemon(tmp_path, settings(places, answer))
    with running(daemon), tempfile.TemporaryDirectory() as short_path:
        registries = tmp_path / "home" / ".config" / "containers" / "registries.d"
        registries.mkdir(parents=True)
        (registries / "default.yaml").write_text("default-docker:\n  use-sigstore-attachments: true\n")
        podman = Podman(Path(short_path), ("env", f"HOME={tmp_path}/home"))
        places[down].proxy.stop()
        daemon.start()
        result = podman.pull_with_podman(f"127.0.0.1:{daemon.port}/org/app:latest")
        assert result.returncode == 0, f"{result.stderr}\n{daemon.log}"
        daemon.wait_until(lambda: '.sig HTTP/1.1" 404 ' in daemon.log, "the signature is logged as missing")
