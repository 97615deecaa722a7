"""Stampedes: many clients with one request each, sent at once on connections that are already open.

They use plain sockets, because asyncio takes longer for a request than the facade.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from selectors import EVENT_READ, DefaultSelector

from attrs import frozen

from tests.process.daemon import WAIT
from tests.process.replay import DOCKER, HEAD_END, Answer, split_head
from tests.process.streams import Scene, pull_paths

LONGEST_ANSWER = 1 << 16
"""Bytes; an answer is much shorter, and comes in one piece."""


@frozen
class SentRequest:
    """A request, the connection on which it was sent, and the monotonic time in seconds."""

    connection: socket.socket
    method: str
    path: str
    started: float


def stampede(scene: Scene, clients: int, first: int = 0) -> list[Answer]:
    """Send one request of each client: pings of docker, manifests and blobs; return the answers as they came.

    The clients are those from the number `first` on.
    """
    paths = pull_paths(scene.image)
    requests = [paths[0], paths[1], paths[-1]]
    address = (scene.facade.host, scene.facade.port)
    with ExitStack() as stack:
        connections = []
        for number in range(clients):
            client = scene.client(first + number)
            connection = socket.create_connection(address, WAIT, (client.source, 0))
            connections.append((stack.enter_context(connection), client.agent))
            _send(connection, "HEAD", "/", client.agent)  # needs no backend, and so the connection is accepted before
            assert connection.recv(LONGEST_ANSWER).startswith(b"HTTP/1.1 200 ")
        sent = []
        for number, (connection, agent) in enumerate(connections):
            pings = agent == DOCKER and number % 4 == 1
            method, path = ("GET", "/v2/") if pings else requests[number % len(requests)]
            sent.append(SentRequest(connection, method, path, time.monotonic()))
            _send(connection, method, path, agent)
        return list(_receive(sent))


def _send(connection: socket.socket, method: str, path: str, agent: str) -> None:
    lines = (f"{method} {path} HTTP/1.1", "Host: localhost", f"User-Agent: {agent}")
    connection.sendall("\r\n".join(lines).encode() + HEAD_END)


def _receive(sent: list[SentRequest]) -> Iterator[Answer]:
    """Yield the answer of each request when it comes."""
    with DefaultSelector() as selector:
        for request in sent:
            selector.register(request.connection, EVENT_READ, request)
        deadline = time.monotonic() + WAIT
        while selector.get_map():
            assert time.monotonic() < deadline, f"{len(selector.get_map())} requests were not answered"
            for key, _ in selector.select(1):
                request = key.data
                head, _, _ = request.connection.recv(LONGEST_ANSWER).partition(HEAD_END)
                first_line, headers = split_head(head.decode("latin-1"))
                status, backend = int(first_line.split()[1]), headers.get("x-facaded-backend", "")
                seconds = time.monotonic() - request.started
                yield Answer(request.method, request.path, status, backend, request.started, seconds)
                selector.unregister(request.connection)
