"""Streams of replayed requests, each client at an address of its own, and counts of what they caused."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from attrs import frozen

from tests.process.daemon import Daemon, running
from tests.process.delayed_registry import REPOSITORY, DelayedRegistry, SeenRequest
from tests.process.replay import CONTAINERD, DOCKER, Answer, ReplayedClient
from tests.system.images import RandomImage

SETTINGS = """
repositories = ["org/*"]
[health]
canary = "org/app"
{health}
[[backend]]
name = "main"
url = "{main}"
[[backend]]
name = "second"
url = "{second}"
rename = {{}}
"""

HOSTS = {"main": ("127.0.0.2", "127.0.0.4", "127.0.0.6"), "second": ("127.0.0.3", "127.0.0.5", "127.0.0.7")}

ADDRESSES_OF_A_BLOCK = 250
"""Clients in each of the networks 127.1.N.0/24. A client that comes back would ask again, so none does."""


@frozen
class Scene:
    """A facade before two registries with the same image."""

    facade: Daemon
    main: DelayedRegistry
    second: DelayedRegistry
    image: RandomImage

    @property
    def url(self) -> str:
        return f"http://{self.facade.host}:{self.facade.port}"

    def set_delay(self, seconds: float) -> None:
        for registry in (self.main, self.second):
            registry.delay = seconds

    def client(self, number: int) -> ReplayedClient:
        """Return the client with this number, alternately docker and containerd."""
        source = f"127.1.{number // ADDRESSES_OF_A_BLOCK}.{1 + number % ADDRESSES_OF_A_BLOCK}"
        return ReplayedClient(source, (CONTAINERD, DOCKER)[number % 2], self.url)


@contextmanager
def scene(directory: Path, health: str, checkout: Path | None = None) -> Iterator[Scene]:
    """Start registries without a delay, and a facade with these lines in its table [health]; yield them.

    By then the second probe, which goes to the CDN, is over: proofs of every step are fresh. `checkout` is the
    directory of another facaded.
    """
    image = RandomImage.create(platforms=("amd64",))
    main, second = (DelayedRegistry(name, hosts, image).start() for name, hosts in HOSTS.items())
    facade = Daemon(directory, SETTINGS.format(health=health, main=main.url(), second=second.url()))
    if checkout is not None:
        facade.use_checkout(checkout)
    try:
        with running(facade):
            facade.start()
            for registry in (main, second):
                facade.wait_until(partial(_was_probed, registry), f"the probe of {registry.name} ends")
            yield Scene(facade, main, second, image)
            assert "Traceback" not in facade.log
    finally:
        main.stop()
        second.stop()


def _was_probed(registry: DelayedRegistry) -> bool:
    return count_kinds(registry.requests(facade=True))["GET layer"] > 0


def pull_paths(image: RandomImage) -> list[tuple[str, str]]:
    """Return method and path of the requests of a pull, without the ping."""
    base = f"/v2/{REPOSITORY}"
    manifest = image.manifests[0][1]
    return [
        ("HEAD", f"{base}/manifests/latest"),
        ("GET", f"{base}/manifests/{image.digest}"),
        ("GET", f"{base}/manifests/{manifest}"),
        *(("GET", f"{base}/blobs/{digest}") for digest in image.blobs),
    ]


async def visit(client: ReplayedClient, image: RandomImage) -> list[Answer]:
    """Send the requests of a pull to the facade alone, and return its answers."""
    if client.agent == DOCKER:
        await client.ask("GET", "/v2/")
    for method, path in pull_paths(image):
        await client.ask(method, path)
    return client.answers


def stream(scene: Scene, rate: float, seconds: float, first: int = 0) -> list[Answer]:
    """Start `rate` visits a second, from the client with the number `first` on; return all answers in order."""

    async def run() -> list[Answer]:
        visits, began = list[asyncio.Task[list[Answer]]](), time.monotonic()
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            visits.append(asyncio.create_task(visit(scene.client(first + number), scene.image)))
        return [answer for answers in await asyncio.gather(*visits) for answer in answers]

    return sorted(asyncio.run(run()), key=lambda answer: answer.started)


def count_kinds(requests: Iterable[SeenRequest]) -> Counter[str]:
    return Counter(seen.kind for seen in requests)
