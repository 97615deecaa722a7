"""Fronts: what stands before a registry, its token server or its CDN, and can be told to fail.

A failure takes effect at once, on kept connections as on new ones, and ends as soon.
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

SWITCHING = 10.0
"""Seconds within which a front must have taken up a failure; it takes a few milliseconds."""

SEED = 7
"""For the answers that are reset: the same ones in each run."""

_HOP_BY_HOP = ("connection", "content-length", "transfer-encoding", "keep-alive")


@frozen
class ProxyRequest:
    """A request."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def is_manifest(self) -> bool:
        return "/manifests/" in self.target

    @property
    def by_docker(self) -> bool:
        """Whether a dockerd asks: facaded does not."""
        return self.headers.get("user-agent", "").startswith("docker/")


@frozen
class ProxyResponse:
    """Status, headers and body. To a HEAD there is no body, and the length is the one that was said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def written(self, to_head: bool) -> bytes:
        length = self.headers.get("Content-Length", "0") if to_head else str(len(self.body))
        kept = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        lines = [f"{name}: {value}" for name, value in {**kept, "Content-Length": length}.items()]
        head = "\r\n".join([f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}", *lines, "", ""])
        return head.encode("latin-1") + (b"" if to_head else self.body)


def _everything(_: ProxyRequest) -> bool:
    return True


def _nothing(_: ProxyRequest) -> bool:
    return False


@frozen
class FailureMode:
    """How a front fails, for the requests that it `concerns`.

    `refuses` connections; `resets` that part of its answers, or with 1 connections as they come; `waits` so many
    seconds before each answer; shows an `expired` certificate; answers with `status` and `headers`, if there is one;
    `spoils` manifests, so that their digest is wrong; says that so many pulls are `remaining`.
    """

    concerns: Callable[[ProxyRequest], bool] = _everything
    refuses: bool = False
    resets: float = 0.0
    waits: float = 0.0
    expired: bool = False
    status: int = 0
    headers: Mapping[str, str] = field(factory=dict)
    spoils: bool = False
    remaining: int = 76

    @property
    def breaks(self) -> bool:
        """Whether connections that are open do not outlive it."""
        return self.refuses or self.expired or self.resets == 1


WORKING = FailureMode()
HANGS = FailureMode(waits=math.inf)


class FrontAuthority:
    """A certificate authority of ours; `file` holds its certificate."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority.test")])
        built = self._builder(name, name, self._key.public_key(), datetime.timedelta(days=1))
        ca = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._certificate = ca.sign(self._key, hashes.SHA256())
        self.file = directory / "authority.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def certify(self, host: str, expired: bool) -> Path:
        """A file with a certificate for an address, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        life = datetime.timedelta(hours=-1 if expired else 24)
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        built = self._builder(name, self._certificate.subject, key.public_key(), life)
        certificate = built.add_extension(address, critical=False).sign(self._key, hashes.SHA256())
        written = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = self._directory / f"{host}{'-expired' if expired else ''}.pem"
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + written)
        return file

    @staticmethod
    def _builder(
        subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: datetime.timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - datetime.timedelta(days=2)).not_valid_after(now + life)


class Front:
    """Passes on what it is asked to `target`, on an address of its own, unless it is told to fail.

    It runs in a thread; with an `authority` it speaks TLS. `held` counts the requests that it has made wait.
    """

    def __init__(self, host: str, authority: FrontAuthority | None = None, name: str = "") -> None:
        self.host, self.port = host, free_port(host)
        self.target = ("", 0)
        self.held = 0
        self._holds: Callable[[ProxyRequest], bool] = _nothing
        self._released = asyncio.Event()
        self._name = name or host
        self._failure = WORKING
        self._random = Random(SEED)
        self._loop = asyncio.new_event_loop()
        self._switched = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._certificates = {ill: authority.certify(host, ill) for ill in (False, True)} if authority else {}
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if authority else None

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://{self._name}:{self.port}"

    def start(self) -> "Front":
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.fail(WORKING)
        return self

    def fail(self, failure: FailureMode) -> None:
        """Fail like that from now on."""
        self._run(self._switch(failure))

    def mend(self) -> None:
        """Do not fail any more."""
        self.fail(WORKING)

    def hold(self, which: Callable[[ProxyRequest], bool]) -> None:
        """From now on let such requests wait before they are passed on; a failure that comes later spares them."""
        self._released.clear()
        self._holds = which

    def release(self) -> None:
        """Let what waits go on, and hold nothing any more."""
        self._holds = _nothing
        self._loop.call_soon_threadsafe(self._released.set)

    def stop(self) -> None:
        if self._loop.is_running():
            self._run(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(SWITCHING)

    async def _switch(self, failure: FailureMode) -> None:
        self._failure = failure
        self._switched.set()
        self._switched = asyncio.Event()
        if self._tls is not None:
            self._tls.load_cert_chain(self._certificates[failure.expired])
        if failure.refuses and self._server is not None:
            self._server.close()
            self._server = None
        if failure.breaks:
            for writer in list(self._open):
                self._reset(writer)
        if not failure.refuses and self._server is None:
            self._server = await asyncio.start_server(self._converse, self.host, self.port, ssl=self._tls)

    async def _end(self) -> None:
        await self._switch(FailureMode(refuses=True))
        conversations = asyncio.all_tasks() - {task for task in [asyncio.current_task()] if task}
        for conversation in conversations:
            conversation.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # whoever asked has gone
            if self._failure.resets == 1:
                self._reset(writer)
            while not writer.is_closing():
                asked = await _read(reader)
                answer = await self._answer(asked)
                if answer is None:
                    self._reset(writer)
                else:
                    writer.write(answer.written(asked.method == "HEAD"))
                    await writer.drain()
        self._open.discard(writer)
        writer.close()

    async def _answer(self, asked: ProxyRequest) -> ProxyResponse | None:
        """The answer, or None for a reset."""
        failure = self._failure if self._failure.concerns(asked) else WORKING
        await self._hold(asked)
        if failure.waits:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._switched.wait(), failure.waits)
        if self._random.random() < failure.resets:
            return None
        if failure.status:
            return ProxyResponse(failure.status, failure.headers, b"" if asked.method == "HEAD" else b"{}")
        return self._altered(asked, await self._ask(asked), failure)

    async def _hold(self, asked: ProxyRequest) -> None:
        if self._holds(asked):
            self.held += 1
            await self._released.wait()

    def _altered(self, asked: ProxyRequest, answer: ProxyResponse, failure: FailureMode) -> ProxyResponse:
        if not asked.is_manifest or answer.status != 200:
            return answer
        limits = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": f"{self._failure.remaining};w=21600"}
        body = answer.body.replace(b"{", b"{ ", 1) if failure.spoils else answer.body
        return ProxyResponse(200, {**answer.headers, **limits}, body)

    async def _ask(self, asked: ProxyRequest) -> ProxyResponse:
        reader, writer = await asyncio.open_connection(*self.target)
        lines = [f"{name}: {value}" for name, value in asked.headers.items() if name not in _HOP_BY_HOP]
        length = [f"Content-Length: {len(asked.body)}"] if asked.body else []
        head = "\r\n".join([f"{asked.method} {asked.target} HTTP/1.0", *lines, *length, "", ""])  # 1.0: never in chunks
        writer.write(head.encode("latin-1") + asked.body)
        said = await reader.read()
        writer.close()
        top, _, body = said.partition(b"\r\n\r\n")
        status, *rest = top.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in rest)
        return ProxyResponse(int(status.split(" ")[1]), headers, body)

    @staticmethod
    def _reset(writer: asyncio.StreamWriter) -> None:
        """Close a connection with RST: an end that lingers for no time is one."""
        connection = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> ProxyRequest:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers: dict[str, str] = {}
    for name, _, value in (line.partition(":") for line in lines):
        given = headers.get(name.lower())  # dockerd sends many lines of Accept
        headers[name.lower()] = f"{given}, {value.strip()}" if given else value.strip()
    return ProxyRequest(method, target, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
