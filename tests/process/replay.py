"""Replayed pulls: the requests of Docker's classic store and of containerd, from any loopback address."""

import asyncio
import json
import re
import time
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

from attrs import define, field, frozen

from tests.system.images import INDEX, MANIFEST

DOCKER, CONTAINERD = "docker/28.0.0", "containerd/2.0.0"

REQUEST_TIME = 20.0
"""Timeout of one request in seconds: longer than facaded tries its backends."""

MOST_REDIRECTS = 5

HEAD_END = b"\r\n\r\n"


@frozen
class Response:
    """A response: status, headers (as received: names in lower case), and body."""

    status: int
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = b""

    def to_bytes(self, *, with_body: bool) -> bytes:
        lines = [f"{name}: {value}" for name, value in {**self.headers, "Content-Length": len(self.body)}.items()]
        head = "\r\n".join([f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}", *lines])
        return head.encode() + HEAD_END + (self.body if with_body else b"")


@frozen
class Answer:
    """An answer of the facade to one request: status, backend, and the seconds until it came."""

    method: str
    path: str
    status: int
    backend: str
    started: float
    seconds: float


async def read_head(reader: asyncio.StreamReader) -> str:
    return (await reader.readuntil(HEAD_END)).decode("latin-1")


def split_head(head: str) -> tuple[str, dict[str, str]]:
    """Return the first line of a request or response, and its headers with names in lower case."""
    first_line, *lines = head.rstrip("\r\n").split("\r\n")
    return first_line, {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def send(source: str, method: str, url: str, headers: Mapping[str, str]) -> Response:
    """Send one request from the address `source` on a new connection. Raises OSError or TimeoutError."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    async with asyncio.timeout(REQUEST_TIME):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, local_addr=(source, 0))
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode())
            try:
                first_line, received = split_head(await read_head(reader))
                body = await reader.readexactly(0 if method == "HEAD" else int(received.get("content-length", "0")))
            except asyncio.IncompleteReadError as error:
                raise ConnectionResetError("the response ended early") from error
            return Response(int(first_line.split()[1]), received, body)
        finally:
            writer.transport.abort()


@define
class ReplayedClient:
    """A client at `source` that pulls from the facade at `facade`, a URL without a path, as `agent` does.

    A token is sent only to the host whose challenge it answers, at every hop, as both clients do. `answers` are those
    of the facade; `failure` is why the last pull failed, and empty if it did not.
    """

    source: str
    agent: str
    facade: str
    answers: list[Answer] = field(factory=list)
    failure: str = ""
    _tokens: dict[str, str] = field(factory=dict)

    async def pull(self, repository: str, tag: str = "latest") -> bool:
        """Pull an image with one platform; return whether it succeeded."""
        self.failure = ""
        try:
            await self._pull(f"/v2/{repository}", tag)
        except (OSError, TimeoutError, ValueError) as error:
            self.failure = f"{type(error).__name__}: {error}"
        return not self.failure

    async def ask(self, method: str, path: str) -> Response:
        """Ask the facade, without following a redirect."""
        started = time.monotonic()
        response = await send(self.source, method, self.facade + path, self._headers(self.facade))
        backend = response.headers.get("x-facaded-backend", "")
        self.answers.append(Answer(method, path, response.status, backend, started, time.monotonic() - started))
        return response

    async def _pull(self, base: str, tag: str) -> None:
        if self.agent == DOCKER:
            await self._ping()
        index = await self._get_manifest(base, tag)
        manifest = await self._get_manifest(base, json.loads(index.body)["manifests"][0]["digest"])
        document = json.loads(manifest.body)
        blobs = [document["config"]["digest"], *(layer["digest"] for layer in document["layers"])]
        for response in await asyncio.gather(*(self._get(f"{base}/blobs/{digest}") for digest in blobs)):
            _require(response, "blob")

    async def _ping(self) -> None:
        """Learn the challenge from the host where the ping ends, and get a token there."""
        response, host = await self._follow("GET", "/v2/")
        if response.status == 401:
            await self._get_token(host, response)
        else:
            _require(response, "ping")

    async def _get_manifest(self, base: str, reference: str) -> Response:
        """Resolve a tag by HEAD and get the manifest by digest; after a HEAD that failed, Docker gets the tag."""
        if reference.startswith("sha256:"):
            return _require(await self._get(f"{base}/manifests/{reference}"), "manifest")
        head = await self._get(f"{base}/manifests/{reference}", "HEAD")
        digest = head.headers.get("docker-content-digest", reference) if head.status == 200 else reference
        return _require(await self._get(f"{base}/manifests/{digest}"), "manifest")

    async def _get(self, path: str, method: str = "GET") -> Response:
        """Request a path and follow redirects; containerd then answers a challenge, and begins again at the facade."""
        response, host = await self._follow(method, path)
        if response.status == 401 and self.agent != DOCKER and host not in self._tokens:
            await self._get_token(host, response)
            response, _ = await self._follow(method, path)
        return response

    async def _follow(self, method: str, path: str) -> tuple[Response, str]:
        """Return the final response, and the URL, without a path, of the server that sent it."""
        response, url = await self.ask(method, path), self.facade + path
        for _ in range(MOST_REDIRECTS):
            if response.status != 307:
                break
            url = urljoin(url, response.headers["location"])
            response = await send(self.source, method, url, self._headers(_origin(url)))
        return response, _origin(url)

    async def _get_token(self, host: str, response: Response) -> None:
        values = dict(re.findall(r'(\w+)="([^"]*)"', response.headers["www-authenticate"]))
        url = f"{values['realm']}?service={values.get('service', '')}&scope={values.get('scope', '')}"
        token = _require(await send(self.source, "GET", url, {"User-Agent": self.agent}), "token")
        self._tokens[host] = json.loads(token.body)["token"]

    def _headers(self, host: str) -> dict[str, str]:
        headers = {"User-Agent": self.agent, "Accept": f"{INDEX}, {MANIFEST}"}
        return headers | ({"Authorization": f"Bearer {self._tokens[host]}"} if host in self._tokens else {})


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _require(response: Response, noun: str) -> Response:
    """Return a good response. Raises ValueError if it is not one."""
    if response.status not in (200, 206):
        raise ValueError(f"{noun}: {response.status} {response.body[:200]!r}")
    return response
