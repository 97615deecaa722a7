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

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

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
            layer, diff_id = _layer(size)
            rootfs = {"type": "layers", "diff_ids": [diff_id]}
            config = _json({"architecture": platform, "os": "linux", "config": {"Cmd": ["/app"]}, "rootfs": rootfs})
            manifest = _json(
                {
                    "schemaVersion": 2,
                    "mediaType": MANIFEST,
                    "config": image._add_blob(CONFIG, config),
                    "layers": [image._add_blob(LAYER, layer)],
                }
            )
            image.manifests.append((MANIFEST, _digest(manifest), manifest))
            descriptor = {"mediaType": MANIFEST, "digest": _digest(manifest), "size": len(manifest)}
            descriptors.append({**descriptor, "platform": {"architecture": platform, "os": "linux"}})
        index = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": descriptors})
        image.manifests.append((INDEX, _digest(index), index))
        return image

    @classmethod
    def create_for_docker(cls) -> "RandomImage":
        """Return an image of one platform with Docker's media types, as `podman build --format docker` makes it."""
        image = cls()
        layer, diff_id = _layer(20_000)
        history = [{"created": "2026-01-01T00:00:00Z", "created_by": "COPY app /"}]
        rootfs = {"type": "layers", "diff_ids": [diff_id]}
        config = _json({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs, "history": history})
        manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": DOCKER_MANIFEST,
                "config": image._add_blob(DOCKER_CONFIG, config),
                "layers": [image._add_blob(DOCKER_LAYER, layer)],
            }
        )
        image.manifests.append((DOCKER_MANIFEST, _digest(manifest), manifest))
        return image

    @property
    def digest(self) -> str:
        """The digest of what the image's tags name: its index, or its only manifest."""
        return self.manifests[-1][1]

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
