"""CAs in memory, which verify every request strictly, and can fail or send wrong answers; and the client under test,
with a clock that only the test advances.
"""

import email.utils
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from attrs import asdict, define, evolve, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from josepy.jwa import ES256
from josepy.jwk import JWKEC
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from facaded.net.client import BoundedClient
from facaded.net.connections import trust_policy
from facaded.tls.acme import keys
from facaded.tls.acme.acme_client import AcmeClient
from facaded.tls.acme.schedule import DAY
from facaded.tls.acme.settings import AcmeSettings, CertificateAuthority
from facaded.tls.acme.wire import CaNetwork
from facaded.tls.server_certificate import PrivateKey, ServerCertificate

EPOCH = 1_800_000_000.0
NAME = "docker.example.com"
SLEEP, AWAKE = 6 * 3600.0, 61.0
ERROR = "urn:ietf:params:acme:error:"

CLOSED = {"type": f"{ERROR}connection", "detail": "connection refused", "status": 400}

Documented = tuple[int, dict[str, str], Any]
"""The status, headers and document of a response; bytes are sent unchanged."""


@define
class MemoryCa:
    """A CA at https://NAME.test/directory.

    `faults` maps a kind of request (directory, nonce, account, order, look, authorization, challenge, finalize,
    certificate, info) to the response that is sent instead; `lies` maps it to a function that alters the document.
    `refusal` is the problem with which authorizations fail, by the challenges of `refused_kinds`. An order is
    processed for `slow_issuance` seconds. `issuers` ends each chain. Answers to the kinds of request for which
    `loses` is true are lost.
    `window` is the suggested renewal window, in seconds from
    now. `replaces_status` is the status with which it refuses `replaces`. While it `stalls`, authorizations stay
    pending. `requests` has the kinds of all requests, `failed` and `issued` the times of failed authorizations and of
    certificates.
    """

    name: str
    now: Callable[[], float]
    validity: float = 90 * DAY
    faults: dict[str, Documented] = field(factory=dict)
    lies: dict[str, Callable[[dict[str, Any]], object]] = field(factory=dict)
    refusal: dict[str, Any] | None = None
    kinds: tuple[str, ...] = ("tls-alpn-01", "http-01", "dns-01")
    refused_kinds: tuple[str, ...] = kinds
    slow_issuance: float = 0.0
    issuers: bytes = b""
    loses: Callable[[str], bool] = lambda _: False
    meta: dict[str, Any] = field(factory=dict)
    window: tuple[float, float] | None = None
    down: bool = False
    hangs: bool = False
    invalid: bool = False
    stalls: bool = False
    replaces_status: int = 0
    requests: list[str] = field(factory=list)
    payloads: list[tuple[str, Any]] = field(factory=list)
    failed: list[float] = field(factory=list)
    issued: list[float] = field(factory=list)
    _nonces: set[str] = field(factory=set)
    _count: int = 0
    _accounts: dict[str, JWKEC] = field(factory=dict)
    _orders: dict[str, dict[str, Any]] = field(factory=dict)
    _chains: dict[str, bytes] = field(factory=dict)
    _key: ec.EllipticCurvePrivateKey = field(factory=keys.new)

    @property
    def settings(self) -> CertificateAuthority:
        return CertificateAuthority(directory=f"{self.base}/directory")

    @property
    def base(self) -> str:
        return f"https://{self.name}.test"

    def last(self, kind: str) -> Any:
        """Return the payload of the last request of this kind."""
        return next(payload for name, payload in reversed(self.payloads) if name == kind)

    def render(self, request: Request) -> Any:
        if self.hangs:
            return NOT_DONE_YET
        _, kind, *rest = request.path.decode().split("/")
        self.requests.append(kind)
        status, headers, document = self._answer(request, kind, rest[0] if rest else "")
        if kind in self.lies and isinstance(document, dict):
            self.lies[kind](document)
        self._count += 1
        nonce = keys.encode(f"nonce {self._count}".encode())
        self._nonces.add(nonce)
        request.setResponseCode(status)
        date = email.utils.formatdate(self.now(), usegmt=True)
        for name, value in {"Replay-Nonce": nonce, "Date": date, **headers}.items():
            request.setHeader(name, value)
        body: bytes = document if isinstance(document, bytes) else json.dumps(document).encode()
        return b"" if request.method == b"HEAD" else body

    def _answer(self, request: Request, kind: str, number: str) -> Documented:
        payload = None
        if request.method == b"POST":
            problem, payload = self._verify(request, kind)
            if problem:
                return self._problem(400, problem)
            self.payloads.append((kind, payload))
        if kind in self.faults:
            return self.faults[kind]
        match kind:
            case "directory":
                return self._directory()
            case "account":
                return 201, {"Location": f"{self.base}/account/{len(self._accounts)}"}, {"status": "valid"}
            case "order" if self.replaces_status and payload and "replaces" in payload:
                return self._problem(
                    self.replaces_status, "alreadyReplaced" if self.replaces_status == 409 else "unauthorized"
                )
            case "order":
                return self._order(payload)
            case "look":
                return 200, {}, self._look(number)
            case "authorization" | "challenge":
                return self._authorization(kind, number)
            case "finalize":
                return self._finalize(number, payload)
            case "certificate":
                return 200, {"Content-Type": "application/pem-certificate-chain"}, self._chains[number]
            case "info":
                return self._info()
        return 200, {}, {}

    def _verify(self, request: Request, kind: str) -> tuple[str, Any]:
        """Return the problem with a signed request, empty if there is none, and its payload."""
        assert request.content is not None
        signed = json.loads(request.content.read())
        header = json.loads(keys.decode(signed["protected"]))
        if header["nonce"] not in self._nonces:
            return "badNonce", None
        self._nonces.remove(header["nonce"])
        assert header["url"] == self.base + request.path.decode()
        assert header["alg"] == "ES256"
        assert request.getHeader("Content-Type") == "application/jose+json"
        assert ("jwk" in header) == (request.path == b"/account"), (
            "only a request for a new account is signed by its key"
        )
        if "jwk" in header:
            key = JWKEC.fields_from_json(header["jwk"])
            self._accounts[f"{self.base}/account/{len(self._accounts) + 1}"] = key
        elif header["kid"] in self._accounts:
            key = self._accounts[header["kid"]]
        else:
            return "accountDoesNotExist", None
        text = f"{signed['protected']}.{signed['payload']}".encode()
        assert ES256.verify(key.key, text, keys.decode(signed["signature"]))
        return "", json.loads(keys.decode(signed["payload"])) if signed["payload"] else None

    def forget_accounts(self) -> None:
        self._accounts.clear()

    def forget_nonces(self) -> None:
        self._nonces.clear()

    @staticmethod
    def _problem(status: int, kind: str) -> Documented:
        return status, {}, {"type": ERROR + kind, "detail": "because"}

    def _directory(self) -> Documented:
        paths = {"newNonce": "nonce", "newAccount": "account", "newOrder": "order"}
        if self.window:
            paths["renewalInfo"] = "info"
        return 200, {}, {**{key: f"{self.base}/{path}" for key, path in paths.items()}, "meta": self.meta}

    def _order(self, payload: Any) -> Documented:
        number = str(len(self._orders) + 1)
        names = [identifier["value"] for identifier in payload["identifiers"]]
        self._orders[number] = {
            "status": "pending",
            "authorizations": [f"{self.base}/authorization/{number}-{index}" for index in range(len(names))],
            "finalize": f"{self.base}/finalize/{number}",
            "identifiers": payload["identifiers"],
        }
        return 201, {"Location": f"{self.base}/look/{number}"}, self._orders[number]

    def _authorization(self, kind: str, number: str) -> Documented:
        number, _, asked = number.partition(".")
        order, _, index = number.partition("-")
        document = self._orders[order]
        if kind == "challenge" and self.stalls:
            document["validating"] = True
        elif kind == "challenge" and document["status"] == "pending":
            is_refused = self.refusal is not None and asked in self.refused_kinds
            if is_refused:
                self.failed.append(self.now())
            document["status"] = "invalid" if is_refused else "ready"
        status = {"pending": "pending", "invalid": "invalid"}.get(document["status"], "valid")
        challenges = [
            {
                "type": challenge,
                "url": f"{self.base}/challenge/{number}.{challenge}",
                "token": f"token-{order}-{challenge}",
                "status": "processing" if status == "pending" and document.get("validating") else status,
                **({"error": self.refusal} if status == "invalid" else {}),
            }
            for challenge in self.kinds
        ]
        return 200, {}, {"status": status, "identifier": document["identifiers"][int(index)], "challenges": challenges}

    def _finalize(self, number: str, payload: Any) -> Documented:
        order = self._orders[number]
        request = x509.load_der_x509_csr(keys.decode(payload["csr"]))
        if self.invalid:
            order["status"] = "invalid"
        else:
            self.issued.append(self.now())
            self._chains[number] = self.issue(request) + self.issuers
            order |= {"status": "processing", "until": self.now() + self.slow_issuance}
        return 200, {}, self._look(number)

    def _look(self, number: str) -> dict[str, Any]:
        """Return an order, after it has become valid if it is time."""
        order = self._orders[number]
        if order["status"] == "processing" and order["until"] <= self.now():
            order |= {"status": "valid", "certificate": f"{self.base}/certificate/{number}"}
        return order

    def issue(self, request: x509.CertificateSigningRequest) -> bytes:
        now = datetime.fromtimestamp(self.now(), UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{self.name} CA")]))
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(seconds=self.validity))
            .add_extension(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value, False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(Encoding.PEM)

    def _info(self) -> Documented:
        assert self.window is not None
        start, end = (datetime.fromtimestamp(self.now() + seconds, UTC).isoformat() for seconds in self.window)
        document = {"suggestedWindow": {"start": start, "end": end}, "explanationURL": "https://example.com/why"}
        return 200, {"Retry-After": "21600"}, document


@implementer(IAgent)
class MemoryNetwork(Resource):
    """The CAs, and an agent that connects to those that are not down."""

    isLeaf = True

    def __init__(self, *names: str) -> None:
        Resource.__init__(self)
        self.clock = Clock()
        self.request_count = 0
        self._slept = 0.0
        self._settled = -1
        self.cas = {name: MemoryCa(name, self.now) for name in names}
        self.agent = RequestTraversalAgent(self)

    def now(self) -> float:
        return EPOCH + self._slept + self.clock.seconds()

    def connect(self, ca: CertificateAuthority) -> BoundedClient:
        trust_policy(ca.ca_file)
        return BoundedClient(ca.directory, self)

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        self.request_count += 1
        if self._ca(uri.split(b"/")[2]).down:
            return fail(ConnectionRefusedError())
        response: Deferred[IResponse] = self.agent.request(method, uri, headers, bodyProducer)
        if self._ca(uri.split(b"/")[2]).loses(uri.split(b"/")[3].decode()):
            response.addCallback(lambda _: Failure(ConnectionLost()))
        return response

    def render(self, request: Request) -> Any:
        return self._ca(request.getHeader(b"Host") or b"").render(request)

    def _ca(self, host: bytes) -> MemoryCa:
        return self.cas[host.decode().removesuffix(".test")]

    def settle(self) -> None:
        """Process everything that does not wait for the clock."""
        quiet = 0
        while quiet < 6:
            quiet = quiet + 1 if self.request_count == self._settled else 0
            self._settled = self.request_count
            self.agent.flush()

    def pass_time(self, seconds: float) -> None:
        """Advance the clock, from one delayed call to the next."""
        end = self.clock.seconds() + seconds
        self.settle()
        while calls := [call.getTime() for call in self.clock.getDelayedCalls() if call.getTime() <= end]:
            self.clock.advance(max(min(calls) - self.clock.seconds(), 0))
            if self.request_count != self._settled:
                self.settle()
        self.clock.advance(end - self.clock.seconds())
        self.settle()

    def sleep(self, seconds: float) -> None:
        """Let time pass as on a suspended machine that wakes up for a minute every six hours."""
        for _ in range(int(seconds / SLEEP)):
            self._slept += SLEEP - AWAKE
            self.pass_time(AWAKE)


@define
class RecordingResponder:
    """A responder that records what it was given."""

    http: dict[str, str] = field(factory=dict)
    alpn: dict[str, list[bytes]] = field(factory=dict)
    history: list[str] = field(factory=list)
    broken: bool = False

    def add_http(self, token: str, key_authorization: str) -> None:
        self.http[token] = key_authorization
        self.history.append("http-01")

    def remove_http(self, token: str) -> None:
        self.http.pop(token, None)

    def add_alpn(self, name: str, chain_pem: bytes, key: PrivateKey) -> None:
        if self.broken:
            raise RuntimeError("the challenge cannot be answered")
        self.alpn.setdefault(name, []).append(chain_pem)
        if len(self.alpn[name]) == 1:
            self.history.append("tls-alpn-01")

    def remove_alpn(self, name: str) -> None:
        self.alpn.pop(name, None)


@define
class AcmeHarness:
    """The ACME client with CAs in memory; its clock is `skew` seconds ahead of theirs."""

    directory: Path
    network: MemoryNetwork
    settings: AcmeSettings
    skew: float = 0.0
    shared: bool = False
    responder: RecordingResponder = field(factory=RecordingResponder)
    changes: list[float] = field(factory=list)
    acme: AcmeClient = field(init=False)

    @classmethod
    def create(cls, directory: Path, *names: str, **settings: Any) -> "AcmeHarness":
        network = MemoryNetwork(*(names or ("ca",)))
        cas = tuple(ca.settings for ca in network.cas.values())
        harness = cls(directory / "acme", network, AcmeSettings(**{"domains": ((NAME,),), "cas": cas, **settings}))
        harness.restart()
        return harness

    def restart(self) -> None:
        """Create a new client on the same directory, without starting it."""
        network = self.network
        self.acme = AcmeClient(
            CaNetwork(network.connect, network.clock, lambda: network.now() + self.skew),
            Random(7),
            self.settings,
            self.directory,
            self.responder,
            lambda: self.changes.append(network.now()),
            *((True,) if self.shared else ()),
        )

    def start(self, seconds: float = 30) -> "AcmeHarness":
        self.acme.startService()
        self.network.pass_time(seconds)
        return self

    def change_ca(self, **changes: Any) -> None:
        """Change the settings of the first CA."""
        first, *others = self.settings.cas
        self.settings = evolve(self.settings, cas=(evolve(first, **changes), *others))
        self.reconfigure(self.settings)
        self.network.pass_time(30)

    def reconfigure(self, settings: AcmeSettings) -> None:
        """Apply new settings."""
        self.acme.reconfigure(self.acme.prepare(settings))

    @property
    def ca(self) -> MemoryCa:
        return next(iter(self.network.cas.values()))

    @property
    def certificate(self) -> ServerCertificate | None:
        return self.acme.current().get((NAME,))

    @property
    def status(self) -> dict[str, Any]:
        return asdict(self.acme.status()[0])

    @property
    def error(self) -> str:
        return str(self.status["error"])


CreateHarness = Callable[..., AcmeHarness]
"""Creates a harness with CAs of these names; see the fixture `create`."""


def problem(status: int, kind: str, **fields: Any) -> Documented:
    headers = {"Retry-After": str(fields.pop("retry_after"))} if "retry_after" in fields else {}
    return status, headers, {"type": ERROR + kind, "detail": "because", **fields}


def repair(harness: AcmeHarness) -> None:
    for ca in harness.network.cas.values():
        ca.down = ca.hangs = ca.invalid = False
        ca.refusal = None
        ca.faults.clear()
