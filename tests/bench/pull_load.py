"""Pulls as Docker sends them: `python -m tests.bench.pull_load HOST PORT` pulls and prints one line of JSON.

A pull is a new connection and six requests: the ping, HEAD of the tag, two manifests and two blobs by digest. With
`--tls` it begins with a full handshake: no session is ever resumed. `--idle` instead opens connections, sends one
request on each, prints a line, and keeps them open until the input ends.
"""

import argparse
import json
import os
import select
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from secrets import token_hex

from attrs import define, field

from tests.bench.load import untrusting

NAME = "docker.lab.test"

AGENT = r"docker/28.5.{} go/go1.24.8 kernel/6.1.0 os/linux arch/amd64 UpstreamClient(Docker-Client/28.5.1 \(linux\))"

AGENTS = 20
"""User-Agents that are sent in turn."""

ACCEPT = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "docker.distribution.manifest.v2",
        "docker.distribution.manifest.list.v2",
        "oci.image.index.v1",
        "oci.image.manifest.v1",
    )
)

TIMEOUT = 30.0
"""Seconds for all pulls of a burst."""

READ = 1 << 14


@define
class Puller:
    """Pulls from one server; what came of it is in `statuses`, and in `seconds`, one number for each pull."""

    address: tuple[str, int]
    tls: ssl.SSLContext | None
    statuses: Counter[int] = field(factory=Counter)
    seconds: list[float] = field(factory=list)

    def burst(self, pulls: Sequence[Sequence[bytes]]) -> list[socket.socket]:
        """Pull the requests of several pulls, all at once, and return the connections, which are still open."""
        poll = select.epoll()
        sockets: list[socket.socket] = []
        waiting: dict[int, Iterator[int]] = {}
        for requests in pulls:
            steps = self._pull(requests, sockets)
            events = next(steps)
            waiting[sockets[-1].fileno()] = steps
            poll.register(sockets[-1].fileno(), events)
        end = time.monotonic() + TIMEOUT
        while waiting:
            assert time.monotonic() < end, f"{len(waiting)} of {len(pulls)} pulls do not end"
            for descriptor, _ in poll.poll(1):
                events = next(waiting[descriptor], 0)
                poll.modify(descriptor, events)
                if not events:
                    poll.unregister(descriptor)
                    del waiting[descriptor]
        poll.close()
        return sockets

    def _pull(self, requests: Sequence[bytes], sockets: list[socket.socket]) -> Iterator[int]:
        """Pull, and yield the events to wait for. The connection is appended to `sockets` before the first one."""
        began = time.monotonic()
        connection = socket.socket()
        index = len(sockets)
        sockets.append(connection)
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect_ex(self.address)
        yield select.EPOLLOUT
        if self.tls is not None:
            secure = self.tls.wrap_socket(connection, server_hostname=NAME, do_handshake_on_connect=False)
            sockets[index] = connection = secure
            yield from _wait(secure)
        for request in requests:
            connection.send(request)
            yield select.EPOLLIN
            answer = b""
            while not _is_whole(answer, request):
                try:
                    received = connection.recv(READ)
                except (BlockingIOError, ssl.SSLWantReadError):
                    yield select.EPOLLIN
                    continue
                assert received, f"{self.address} closed the connection"
                answer += received
            self.statuses[int(answer[9:12])] += 1
        self.seconds.append(time.monotonic() - began)


def _wait(connection: ssl.SSLSocket) -> Iterator[int]:
    """Shake hands, and yield the events to wait for."""
    while True:
        try:
            connection.do_handshake()
        except ssl.SSLWantReadError:
            yield select.EPOLLIN
        else:
            return


def _is_whole(answer: bytes, request: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end or request.startswith(b"HEAD "):
        return bool(end)
    _, _, length = head.lower().partition(b"\r\ncontent-length:")
    return len(body) >= int(length.partition(b"\r\n")[0])


def make_requests(repository: str, agent: str) -> list[bytes]:
    """Return the requests of Docker's pull of a tag: the two manifests are the index and that of the platform."""
    path = f"/v2/{repository}"
    digests = [f"sha256:{token_hex(32)}" for _ in range(4)]
    targets = [
        "GET /v2/",
        f"HEAD {path}/manifests/latest",
        *(f"GET {path}/manifests/{digest}" for digest in digests[:2]),
        *(f"GET {path}/blobs/{digest}" for digest in digests[2:]),
    ]
    fields = f"Host: {NAME}\r\nUser-Agent: {agent}\r\nAccept: {ACCEPT}\r\nAccept-Encoding: gzip"
    return [f"{target} HTTP/1.1\r\n{fields}\r\n\r\n".encode() for target in targets]


def pull(puller: Puller, pulls: int, at_once: int) -> dict[str, object]:
    """Pull different images, so many at once, and return what was measured as a document."""
    images = [make_requests(f"org/{token_hex(6)}", AGENT.format(number % AGENTS)) for number in range(pulls)]
    began, cpu = time.monotonic(), time.process_time()
    for first in range(0, pulls, at_once):
        for connection in puller.burst(images[first : first + at_once]):
            connection.close()
    busy = (time.process_time() - cpu) / (time.monotonic() - began)
    return {"seconds": puller.seconds, "statuses": puller.statuses, "busy": busy}


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.bench.pull_load", description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--pulls", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--idle", type=int, default=0, help="connections to keep open, instead of pulls")
    options = parser.parse_args()
    puller = Puller((options.host, options.port), untrusting() if options.tls else None)
    if not options.idle:
        print(json.dumps(pull(puller, options.pulls, options.at_once)))
        return
    tag = make_requests("org/app", AGENT.format(0))[1:2]
    connections = [connection for _ in range(options.idle // 50) for connection in puller.burst([tag] * 50)]
    print(json.dumps({"connections": len(connections), "statuses": puller.statuses}), flush=True)
    sys.stdin.read()
    os._exit(0)  # without closing each connection


if __name__ == "__main__":
    main()
