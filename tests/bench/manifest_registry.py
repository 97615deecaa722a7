"""A docker-registry without tokens that has one image whose index is some 2 kB."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from tests.bench.servers_under_load import Server, pinned, read_version
from tests.system.images import RandomImage
from tests.system.registries import DockerRegistry

HOSTS = ("127.0.0.3", "127.0.0.4", "127.0.0.5")

PLATFORMS = ("amd64", "arm64", "ppc64le", "s390x", "riscv64", "386", "arm", "mips64le", "loong64")
"""So many that the index has the size of a usual one."""


@frozen
class ManifestRegistry:
    """The registry as a server that runs, and the path of its index by digest."""

    server: Server
    target: str


@contextmanager
def manifest_registry(directory: Path, core: int) -> Iterator[ManifestRegistry]:
    """Start a registry on a core, and stop it in the end. It stores the image in memory, not in files."""
    registry = DockerRegistry("registry", directory, HOSTS, redirects_blobs=False, requires_tokens=False)
    config = directory / "config.yml"
    settings = json.loads(config.read_text()) | {"storage": {"inmemory": {}}}
    config.write_text(json.dumps(settings))
    try:
        with pinned(core):
            registry.start()
        image = RandomImage.create(1000, PLATFORMS)
        registry.publish(image, "org/app", "latest")
        version = read_version("docker-registry", "--version", r" ([\d.]+)")
        log = directory / "log"
        server = Server(
            "docker-registry", version, (), directory, HOSTS[0], registry.port, 0, log, {}, 200, registry.process
        )
        yield ManifestRegistry(server, f"/v2/org/app/manifests/{image.digest}")
    finally:
        registry.stop()
