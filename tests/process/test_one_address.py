"""Fifty clients behind one address pull one image: to the facade they look like one client that asks again."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.process.replay import CONTAINERD, DOCKER, ReplayedClient
from tests.process.streams import Scene, count_kinds, scene

CLIENTS = 50
ADDRESS = "127.1.9.9"
PAUSE = 0.05
"""Seconds between the starts of two clients: they pull at the same time, and for longer than a second in all."""


def pull_together(stage: Scene, agent: str) -> list[ReplayedClient]:
    clients = [ReplayedClient(ADDRESS, agent, stage.url) for _ in range(CLIENTS)]

    async def pull(number: int) -> None:
        await asyncio.sleep(number * PAUSE)
        await clients[number].pull("org/app")

    async def run() -> None:
        await asyncio.gather(*(pull(number) for number in range(CLIENTS)))

    asyncio.run(run())
    return clients


@pytest.mark.parametrize("agent", [CONTAINERD, DOCKER])
def test_all_layers_come_from_the_main_registry_and_the_quota_of_this_machine_is_not_spent(
    tmp_path: Path, agent: str
) -> None:
    with scene(tmp_path, 'interval = "1s"') as stage:
        stage.set_delay(0.05)
        began = time.monotonic()
        clients = pull_together(stage, agent)
        assert [client.failure for client in clients if client.failure] == []
        facade_requests = count_kinds(stage.main.requests(facade=True, since=began))
        assert facade_requests["GET manifest"] == 0, facade_requests
        client_requests = count_kinds(stage.main.requests(facade=False))
        assert client_requests["GET manifest"] >= 2 * CLIENTS, client_requests
        assert client_requests["GET layer"] == CLIENTS * len(stage.image.blobs), client_requests
        assert stage.second.requests(facade=False) == []
