"""A registry, its token server and its CDN that answer each request after a delay, and record who asked for what."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from tests.process.daemon import free_port
from tests.process.replay import Response, read_head, split_head
from tests.system.images import RandomImage

REPOSITORY = "org/app"

SERVERS = ("registry", "tokens", "cdn")

BACKLOG = 4096
"""Connections that may wait to be accepted: a stampede opens many at once."""

START_TIME = 10.0
"""Timeout in seconds of starting or stopping the servers, which takes milliseconds."""


@frozen
class SeenRequest:
    """A request that arrived at one of the SERVERS, at a monotonic time in seconds."""

    seconds: float
    server: str
    method: str
    path: str
    is_from_facade: bool
    is_partial: bool

    @property
    def kind(self) -> str:
        """What was requested, such as "HEAD manifest": a row of a count."""
        for part, noun in (("/manifests/", "manifest"), ("/blobs/", "blob"), ("/token", "token"), ("/cdn/", "layer")):
            if part in self.path:
                return f"{self.method} {noun}"
        return f"{self.method} {self.path}"


class DelayedRegistry:
    """A registry with one image, `org/app:latest`, which requires tokens and redirects blobs to its CDN.

    The registry, its token server and its CDN have an address of their own from `hosts`. Each answer takes `delay`
    seconds; `refuses` closes all connections at once instead. `seen` has all requests in order.
    """

    def __init__(self, name: str, hosts: Sequence[str], image: RandomImage, delay: float = 0.0) -> None:
        self.name, self.delay, self.refuses = name, delay, False
        self.seen: list[SeenRequest] = []
        self._addresses = {server: (host, free_port(host)) for server, host in zip(SERVERS, hosts, strict=True)}
        self._manifests = {digest: (media_type, digest, content) for media_type, digest, content in image.manifests}
        self._manifests["latest"] = self._manifests[image.digest]
        self._blobs = image.blobs
        self._loop = asyncio.new_event_loop()
        self._listening: list[asyncio.Server] = []

    def url(self, server: str = "registry") -> str:
        host, port = self._addresses[server]
        return f"http://{host}:{port}"

    def start(self) -> "DelayedRegistry":
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._run(self._listen())
        return self

    def stop(self) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def requests(self, *, facade: bool, since: float = 0.0) -> list[SeenRequest]:
        """Return the requests of the facade, or those of clients, from the monotonic time `since` on."""
        return [seen for seen in list(self.seen) if seen.is_from_facade == facade and seen.seconds >= since]

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(START_TIME)

    async def _listen(self) -> None:
        for server, (host, port) in self._addresses.items():
            listening = await asyncio.start_server(partial(self._serve, server), host, port, backlog=BACKLOG)
            self._listening.append(listening)

    async def _close(self) -> None:
        for listening in self._listening:
            listening.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, server: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The client has disconnected, or the servers stop.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not self.refuses:
                first_line, headers = split_head(await read_head(reader))
                method, target, _ = first_line.split(" ")
                is_from_facade = headers.get("user-agent", "").startswith("facaded/")
                path, is_partial = urlsplit(target).path, "range" in headers
                self.seen.append(SeenRequest(time.monotonic(), server, method, path, is_from_facade, is_partial))
                await asyncio.sleep(self.delay)
                if self.refuses:
                    break
                writer.write(self._respond(server, path, headers).to_bytes(with_body=method != "HEAD"))
                await writer.drain()
        writer.transport.abort()

    def _respond(self, server: str, path: str, headers: dict[str, str]) -> Response:
        if server == "tokens":
            return Response(200, {"Content-Type": "application/json"}, json.dumps({"token": self._token}).encode())
        if server == "cdn":
            return self._content(self._blobs.get(path.rpartition("/")[2]), headers)
        if headers.get("authorization") != f"Bearer {self._token}":
            challenge = f'Bearer realm="{self.url("tokens")}/token",service="{self.name}"'
            scope = "" if path == "/v2/" else f',scope="repository:{REPOSITORY}:pull"'
            return Response(401, {"WWW-Authenticate": challenge + scope})
        if path == "/v2/":
            return Response(200, {}, b"{}")
        kind, _, reference = path.removeprefix(f"/v2/{REPOSITORY}/").partition("/")
        if kind == "blobs" and reference in self._blobs:
            return Response(307, {"Location": f"{self.url('cdn')}/cdn/{reference}"})
        if kind != "manifests" or reference not in self._manifests:
            return Response(404)
        media_type, digest, content = self._manifests[reference]
        return Response(200, {"Content-Type": media_type, "Docker-Content-Digest": digest}, content)

    @property
    def _token(self) -> str:
        """A token that this registry alone takes."""
        return f"token-of-{self.name}"

    @staticmethod
    def _content(blob: bytes | None, headers: dict[str, str]) -> Response:
        if blob is None:
            return Response(404)
        if "authorization" in headers:
            return Response(400)  # as a CDN with signed URLs
        if headers.get("range") == "bytes=0-0":
            return Response(206, {"Content-Range": f"bytes 0-0/{len(blob)}"}, blob[:1])
        return Response(200, {"Content-Type": "application/octet-stream"}, blob)
