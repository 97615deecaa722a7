"""Images with random layers, created for one test: no client has any of their layers yet."""

import gzip
import hashlib
import io
import json
import secrets
import tarfile
from typing import Any

from attrs import define, field

INDEX = "application/vnd.oci.image.index.v1+json"

MANIFEST = "application/vnd.oci.image.manifest.v1+json"

CONFIG = "application/vnd.oci.image.config.v1+json"

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

OCI = (MANIFEST, CONFIG, LAYER)

DOCKER = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
)
"""Docker's media types of a manifest, a config and a layer, as OCI has them."""

PLATFORMS = ("amd64", "arm64")


@define
class RandomImage:
    """A multi-platform image: its blobs by digest, and its manifests (media type, digest, content) in pushing order."""

    blobs: dict[str, bytes] = field(factory=dict)
    manifests: list[tuple[str, str, bytes]] = field(factory=list)

    @classmethod
    def create(cls, size: int = 20_000, platforms: tuple[str, ...] = PLATFORMS) -> "RandomImage":
        """Return an image that has one random layer of about `size` bytes for each platform."""
        image = cls()
        descriptors = []
        for platform in platforms:
            config = {"architecture": platform, "os": "linux", "config": {"Cmd": ["/app"]}}
            descriptor = image._add_manifest(OCI, config, size)
            descriptors.append({**descriptor, "platform": {"architecture": platform, "os": "linux"}})
        index = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": descriptors})
        image.manifests.append((INDEX, _digest(index), index))
        return image

    @classmethod
    def create_for_docker(cls) -> "RandomImage":
        """Return an image of one platform with Docker's media types, as `podman build --format docker` makes it."""
        image = cls()
        history = [{"created": "2026-01-01T00:00:00Z", "created_by": "COPY app /"}]
        image._add_manifest(DOCKER, {"architecture": "amd64", "os": "linux", "config": {}, "history": history}, 20_000)
        return image

    @property
    def digest(self) -> str:
        """The digest of what the image's tags name: its index, or its only manifest."""
        return self.manifests[-1][1]

    def _add_manifest(self, types: tuple[str, str, str], config: dict[str, Any], size: int) -> dict[str, Any]:
        """Add a manifest with this config and a random layer of about `size` bytes, and return its descriptor."""
        manifest_type, config_type, layer_type = types
        layer, diff_id = _layer(size)
        config = {**config, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
        manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": manifest_type,
                "config": self._add_blob(config_type, _json(config)),
                "layers": [self._add_blob(layer_type, layer)],
            }
        )
        self.manifests.append((manifest_type, _digest(manifest), manifest))
        return {"mediaType": manifest_type, "digest": _digest(manifest), "size": len(manifest)}

    def _add_blob(self, media_type: str, blob: bytes) -> dict[str, Any]:
        """Add a blob and return its descriptor."""
        self.blobs[_digest(blob)] = blob
        return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _layer(size: int) -> tuple[bytes, str]:
    """Return a compressed layer and its diff ID, which is the digest of the uncompressed tar file."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        content = secrets.token_bytes(size)
        entry = tarfile.TarInfo("app")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(tar.getvalue(), 1), _digest(tar.getvalue())


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
