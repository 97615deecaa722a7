"""Reverse proxies in front of a registry, its token server or its CDN, for fault injection.

A fault begins and ends at once, for open connections as well as for new ones.
"""

import asyncio
import contextlib
import datetime
import ipaddress
import math
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import Any

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.process.daemon import free_port

SWITCH_TIMEOUT = 10.0
"""Timeout in seconds of a proxy's change to another failure mode, which takes a few milliseconds."""

SEED = 7
"""Seed of the random choice of responses to reset, so that each run resets the same ones."""

SLICE_TIME = 0.1
"""Seconds between the parts of a response that is sent slowly."""

TLS_HANDSHAKE = b"\x16"

NO_TLS = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
"""The response to a TLS handshake on plain HTTP, which some clients try first on a loopback address."""

_HOP_BY_HOP = ("connection", "content-length", "transfer-encoding", "keep-alive")


@frozen
class ProxyRequest:
    """A request to a proxy."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def is_manifest(self) -> bool:
        return "/manifests/" in self.target

    @property
    def is_from_facade(self) -> bool:
        return self.headers.get("user-agent", "").startswith("facaded/")

    @property
    def is_from_docker(self) -> bool:
        """Whether dockerd sent the request: facaded sends another User-Agent."""
        return self.headers.get("user-agent", "").startswith("docker/")


@frozen
class ProxyResponse:
    """A response through a proxy: status, headers and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def to_bytes(self, for_head: bool) -> bytes:
        """Return the response as sent to a client; for a HEAD, without a body but with the upstream Content-Length."""
        length = self.headers.get("Content-Length", "0") if for_head else str(len(self.body))
        end_to_end = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        lines = [f"{name}: {value}" for name, value in {**end_to_end, "Content-Length": length}.items()]
        head = "\r\n".join([f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}", *lines, "", ""])
        return head.encode("latin-1") + (b"" if for_head else self.body)


def _any_request(_: ProxyRequest) -> bool:
    return True


def _no_request(_: ProxyRequest) -> bool:
    return False


@frozen
class FailureMode:
    """How a proxy fails, for the requests for which `applies_to` is true.

    `refuses_connections` closes the listening socket. `reset_rate` is the share of responses that are replaced by a
    reset; 1 resets every connection when it opens. `delay` is the time before each response in seconds. With
    `expired_certificate`, the proxy serves one. A nonzero `status` replaces the response, with `headers`.
    `corrupts_manifests` changes the body, so that its digest is wrong. `pulls_remaining` is the value of the
    ratelimit-remaining header.
    """

    applies_to: Callable[[ProxyRequest], bool] = _any_request
    refuses_connections: bool = False
    reset_rate: float = 0.0
    delay: float = 0.0
    expired_certificate: bool = False
    status: int = 0
    headers: Mapping[str, str] = field(factory=dict)
    corrupts_manifests: bool = False
    pulls_remaining: int = 76

    @property
    def closes_connections(self) -> bool:
        """Whether the failure resets open connections."""
        return self.refuses_connections or self.expired_certificate or self.reset_rate == 1


WORKING = FailureMode()
HANGING = FailureMode(delay=math.inf)


class ProxyAuthority:
    """A certificate authority for proxies; `file` is the path of its certificate."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority.test")])
        builder = self._builder(name, name, self._key.public_key(), datetime.timedelta(days=1))
        ca = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._certificate = ca.sign(self._key, hashes.SHA256())
        self.file = directory / "authority.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def certify(self, host: str, expired: bool) -> Path:
        """Write a certificate for an address, and its key, to one file; return its path."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        validity = datetime.timedelta(hours=-1 if expired else 24)
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        builder = self._builder(name, self._certificate.subject, key.public_key(), validity)
        certificate = builder.add_extension(address, critical=False).sign(self._key, hashes.SHA256())
        key_pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = self._directory / f"{host}{'-expired' if expired else ''}.pem"
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + key_pem)
        return file

    @staticmethod
    def _builder(
        subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, validity: datetime.timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - datetime.timedelta(days=2)).not_valid_after(now + validity)


class FaultProxy:
    """A reverse proxy that forwards requests to `target` unless `fail` has set a failure mode.

    It has its own address `host`, and runs in a thread. With an `authority`, it speaks TLS. `held_requests` counts the
    requests that it has held. `relocate` changes the Location of a redirect; its arguments are target and Location.
    `bytes_per_second` is how fast it sends; `sent_bytes` is how much it has sent, with the heads of responses.
    """

    def __init__(self, host: str, authority: ProxyAuthority | None = None, name: str = "") -> None:
        self.host, self.port = host, free_port(host)
        self.target = ("", 0)
        self.held_requests = 0
        self.relocate: Callable[[str, str], str] = lambda _, location: location
        self.bytes_per_second, self.sent_bytes = math.inf, 0
        self._holds_answered = False
        self._is_held: Callable[[ProxyRequest], bool] = _no_request
        self._released = asyncio.Event()
        self._name = name or host
        self._failure = WORKING
        self._random = Random(SEED)
        self._loop = asyncio.new_event_loop()
        self._failure_changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._certificates: dict[bool, Path] = {}
        if authority is not None:
            self._certificates = {expired: authority.certify(host, expired) for expired in (False, True)}
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if authority else None

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://{self._name}:{self.port}"

    def start(self) -> "FaultProxy":
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.fail(WORKING)
        return self

    def fail(self, failure: FailureMode) -> None:
        """Set the failure mode, which takes effect at once."""
        self._run(self._set_failure(failure))

    def recover(self) -> None:
        """End the failure."""
        self.fail(WORKING)

    def hold_requests(self, is_held: Callable[[ProxyRequest], bool], *, answered: bool = False) -> None:
        """Hold requests for which `is_held` is true until `release`; a later failure does not apply to them.

        With `answered`, they are forwarded at once, and their responses are held.
        """
        self._released.clear()
        self._holds_answered = answered
        self._is_held = is_held

    def release(self) -> None:
        """Forward the held requests, and hold no more."""
        self._is_held = _no_request
        self._loop.call_soon_threadsafe(self._released.set)

    def stop(self) -> None:
        if self._loop.is_running():
            self._run(self._shut_down())
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(SWITCH_TIMEOUT)

    async def _set_failure(self, failure: FailureMode) -> None:
        self._failure = failure
        self._failure_changed.set()
        self._failure_changed = asyncio.Event()
        if self._tls is not None:
            self._tls.load_cert_chain(self._certificates[failure.expired_certificate])
        if failure.refuses_connections and self._server is not None:
            self._server.close()
            self._server = None
        if failure.closes_connections:
            for writer in list(self._connections):
                self._reset(writer)
        if not failure.refuses_connections and self._server is None:
            self._server = await asyncio.start_server(self._serve_connection, self.host, self.port, ssl=self._tls)

    async def _shut_down(self) -> None:
        await self._set_failure(FailureMode(refuses_connections=True))
        tasks = asyncio.all_tasks() - {task for task in [asyncio.current_task()] if task}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # the client has disconnected
            if self._failure.reset_rate == 1:
                self._reset(writer)
            while not writer.is_closing():
                request = await _read(reader)
                if request is None:
                    writer.write(NO_TLS)
                    break
                response = await self._respond(request)
                if response is None:
                    self._reset(writer)
                else:
                    await self._send(writer, response.to_bytes(request.method == "HEAD"))
        self._connections.discard(writer)
        writer.close()

    async def _send(self, writer: asyncio.StreamWriter, raw_response: bytes) -> None:
        is_throttled = self.bytes_per_second < math.inf
        size = round(self.bytes_per_second * SLICE_TIME) if is_throttled else len(raw_response)
        for start in range(0, len(raw_response), size):
            writer.write(raw_response[start : start + size])
            await writer.drain()
            self.sent_bytes += size
            await asyncio.sleep(SLICE_TIME if is_throttled else 0)

    async def _respond(self, request: ProxyRequest) -> ProxyResponse | None:
        """Return the response, or None for a reset."""
        failure = self._failure if self._failure.applies_to(request) else WORKING
        if not self._holds_answered:
            await self._wait_if_held(request)
        if failure.delay:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._failure_changed.wait(), failure.delay)
        if self._random.random() < failure.reset_rate:
            return None
        if failure.status:
            return ProxyResponse(failure.status, failure.headers, b"" if request.method == "HEAD" else b"{}")
        response = self._alter(request, await self._forward(request), failure)
        if self._holds_answered:
            await self._wait_if_held(request)
        return response

    async def _wait_if_held(self, request: ProxyRequest) -> None:
        if self._is_held(request):
            self.held_requests += 1
            await self._released.wait()

    def _alter(self, request: ProxyRequest, response: ProxyResponse, failure: FailureMode) -> ProxyResponse:
        if "Location" in response.headers:
            location = self.relocate(request.target, response.headers["Location"])
            return ProxyResponse(response.status, {**response.headers, "Location": location}, response.body)
        if not request.is_manifest or response.status != 200:
            return response
        limits = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": f"{self._failure.pulls_remaining};w=21600"}
        body = response.body.replace(b"{", b"{ ", 1) if failure.corrupts_manifests else response.body
        return ProxyResponse(200, {**response.headers, **limits}, body)

    async def _forward(self, request: ProxyRequest) -> ProxyResponse:
        reader, writer = await asyncio.open_connection(*self.target)
        lines = [f"{name}: {value}" for name, value in request.headers.items() if name not in _HOP_BY_HOP]
        length = [f"Content-Length: {len(request.body)}"] if request.body else []
        request_line = f"{request.method} {request.target} HTTP/1.0"  # HTTP/1.0 has no chunked responses
        head = "\r\n".join([request_line, *lines, *length, "", ""])
        writer.write(head.encode("latin-1") + request.body)
        raw_response = await reader.read()
        writer.close()
        response_head, _, body = raw_response.partition(b"\r\n\r\n")
        status, *rest = response_head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in rest)
        return ProxyResponse(int(status.split(" ")[1]), headers, body)

    @staticmethod
    def _reset(writer: asyncio.StreamWriter) -> None:
        """Reset a connection: with a linger time of 0, closing the socket sends RST."""
        connection = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> ProxyRequest | None:
    """Read a request; return None for the first byte of a TLS handshake."""
    first_byte = await reader.readexactly(1)
    if first_byte == TLS_HANDSHAKE:
        return None
    head = first_byte + await reader.readuntil(b"\r\n\r\n")
    request_line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = request_line.split(" ")
    headers: dict[str, str] = {}
    for name, _, value in (line.partition(":") for line in lines):
        earlier_value = headers.get(name.lower())  # dockerd sends several Accept lines
        headers[name.lower()] = f"{earlier_value}, {value.strip()}" if earlier_value else value.strip()
    return ProxyRequest(method, target, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
