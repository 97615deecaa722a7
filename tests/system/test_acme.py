"""Certificates from a real CA: pebble, with its refused nonces and reused authorizations."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import pytest_twisted
from attrs import asdict, define, evolve, field
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from facaded.net.reactor import installed
from facaded.tls.acme import keys, wire
from facaded.tls.acme.acme_client import AcmeClient
from facaded.tls.acme.schedule import DAY
from facaded.tls.acme.settings import AcmeSettings, CertificateAuthority, ChallengeKind
from facaded.tls.acme.store import AcmeStore
from facaded.tls.acme.wire import CaNetwork
from facaded.tls.challenges import rsa_key
from facaded.tls.server_certificate import PrivateKey, ServerCertificate
from tests.system.pebble import EAB, Pebble, Responder

HOST = "127.3.0.1"
NAME = "docker.example.com"
WAIT = 30.0
STRICT = {"PEBBLE_WFE_NONCEREJECT": "20", "PEBBLE_AUTHZREUSE": "0"}

Start = Callable[..., Pebble]


@pytest.fixture
def responder() -> Iterator[Responder]:
    made = Responder(HOST)
    made.start(reactor)
    yield made
    made.stop()


@pytest.fixture
def pebble(needs: Callable[..., None], tmp_path: Path, responder: Responder) -> Iterator[Start]:
    """Starts a CA that validates at the responder."""
    needs("pebble", "pebble-challtestsrv")
    started: list[Pebble] = []

    def start(account_required: bool = False, **environ: str) -> Pebble:
        made = Pebble(
            tmp_path / f"pebble-{len(started)}",
            f"127.3.0.{len(started) + 2}",
            responder.http_port,
            responder.tls_port,
            HOST,
            {**STRICT, **environ},
            account_required,
        )
        started.append(made)
        return made.start()

    yield start
    for each in started:
        each.stop()


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@define
class Running:
    """The service under test, in a directory, with a wall clock that can be put forward."""

    directory: Path
    responder: Responder
    settings: AcmeSettings
    ahead: float = 0.0
    changes: list[int] = field(factory=list)
    acme: AcmeClient = field(init=False)

    def start(self) -> "Running":
        self.acme = AcmeClient(
            CaNetwork(wire.connect(installed()), reactor, lambda: time.time() + self.ahead),
            Random(1),
            self.settings,
            self.directory,
            self.responder,
            lambda: self.changes.append(1),
        )
        self.acme.startService()
        return self

    @property
    def status(self) -> dict[str, Any]:
        return {**asdict(self.acme.status()[0]), "names": list(self.acme.status()[0].names)}

    async def until(self, condition: Callable[[], object]) -> None:
        for _ in range(int(WAIT / 0.05)):
            if condition():
                return
            await deferLater(reactor, 0.05)
        raise AssertionError(f"not within {WAIT} s: {self.status}")

    async def certificate(self) -> ServerCertificate:
        await self.until(self.acme.current)
        return next(iter(self.acme.current().values()))

    async def error(self) -> str:
        await self.until(lambda: self.status["error"])
        return str(self.status["error"])

    def secrets(self) -> set[bytes]:
        """All secrets on the disk, as they would look in a log."""
        texts = [path.read_text() for path in self.directory.rglob("*.pem")]
        return {line.encode() for text in texts for line in text.split("-----END PRIVATE")[0].splitlines()[1:-1]}


@pytest.fixture
def run(tmp_path: Path, responder: Responder, log: list[str]) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(*cas: CertificateAuthority, name: str = "acme", **settings: Any) -> Running:
        wanted = AcmeSettings(**{"domains": ((NAME,),), "cas": cas, **settings})
        started.append(Running(tmp_path / name, responder, wanted).start())
        return started[-1]

    yield start
    for each in started:
        each.acme.stopService()
        for secret in each.secrets():
            assert not [line for line in log if secret.decode() in line]
    assert responder.tokens == {}
    assert responder.certificates == {}


def verified(certificate: ServerCertificate, ca: Pebble, name: str = NAME) -> None:
    """The chain leads to the CA's root, for this name."""
    chain = list(certificate.chain)
    store = Store([x509.load_pem_x509_certificate(ca.root())])
    PolicyBuilder().store(store).build_server_verifier(x509.DNSName(name)).verify(chain[0], chain[1:])


@pytest.mark.parametrize("site_key", [rsa_key(), keys.new()], ids=["RSA", "ECDSA"])
@pytest.mark.parametrize("newest", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["TLS 1.2", "TLS 1.3"])
@pytest_twisted.ensureDeferred
async def test_a_certificate_is_got_by_tls_alpn_01(
    pebble: Start, responder: Responder, run: Callable[..., Running], newest: int, site_key: PrivateKey
) -> None:
    responder.newest, responder.site_key = newest, site_key
    ca = pebble()
    running = run(ca.ca)
    verified(await running.certificate(), ca)
    assert responder.seen == {"tls-alpn-01"}
    status = running.status
    assert (status["names"], status["error"], status["attempts"]) == ([NAME], None, 0)
    assert status["issuer"].startswith("Pebble")
    assert running.changes == [1]


@pytest_twisted.ensureDeferred
async def test_a_certificate_is_got_by_http_01(
    pebble: Start, responder: Responder, run: Callable[..., Running]
) -> None:
    ca = pebble()
    verified(await run(ca.ca, challenges=(ChallengeKind.HTTP,)).certificate(), ca)
    assert responder.seen == {"http-01"}


@pytest_twisted.ensureDeferred
async def test_several_names_are_in_one_certificate_or_each_has_its_own(
    pebble: Start, run: Callable[..., Running]
) -> None:
    ca = pebble()
    domains = (("a.example.com", "b.example.com"), ("c.example.com",))
    running = run(ca.ca, domains=domains)
    await running.until(lambda: len(running.acme.current()) == 2)
    for names, certificate in running.acme.current().items():
        for name in names:
            verified(certificate, ca, name)
    assert set(running.acme.current()) == set(domains)


@pytest_twisted.ensureDeferred
async def test_a_certificate_outlives_a_restart_and_is_renewed_when_it_is_due(
    pebble: Start, run: Callable[..., Running]
) -> None:
    ca = pebble()
    running = run(ca.ca)
    first = await running.certificate()
    await running.acme.stopService()
    orders = ca.log.count("Added order")
    again = run(ca.ca)
    assert again.acme.current() == {(NAME,): first}, "at once"
    await deferLater(reactor, 0.3)
    assert ca.log.count("Added order") == orders
    again.ahead = (first.validity.end - first.validity.start) * 0.7
    again.acme.stopService()
    again.acme.startService()
    await again.until(lambda: again.acme.current()[NAME,] != first or again.status["error"])
    # pebble's clock has not gone forward with ours: it makes a certificate that ends too late, and is valid
    second = again.acme.current()[NAME,]
    assert second.key_pem != first.key_pem, again.status


@pytest_twisted.ensureDeferred
async def test_an_operator_renews_at_once(pebble: Start, run: Callable[..., Running]) -> None:
    ca = pebble()
    running = run(ca.ca)
    first = await running.certificate()
    await running.until(lambda: running.status["next_renewal"] > first.validity.start + DAY)
    assert running.acme.renew() == ()
    await running.until(lambda: running.acme.current()[NAME,] != first)
    verified(running.acme.current()[NAME,], ca)


@pytest_twisted.ensureDeferred
async def test_an_account_of_the_operator_s_is_bound(
    pebble: Start, run: Callable[..., Running], tmp_path: Path, log: list[str]
) -> None:
    ca = pebble(account_required=True)
    assert "eab_hmac_key_file" in await run(ca.ca, name="without").error()
    secret = tmp_path / "eab"
    (key_id, value), *_ = EAB.items()
    secret.write_text(f"{value}\n")
    running = run(evolve(ca.ca, eab_key_id=key_id, eab_hmac_key_file=secret))
    verified(await running.certificate(), ca)
    assert not [line for line in log if value in line]


@pytest_twisted.ensureDeferred
async def test_a_wrong_secret_of_that_account_is_said(
    pebble: Start, run: Callable[..., Running], tmp_path: Path
) -> None:
    ca = pebble(account_required=True)
    secret = tmp_path / "eab"
    secret.write_text("d3Jvbmc")
    error = await run(evolve(ca.ca, eab_key_id="kid-1", eab_hmac_key_file=secret)).error()
    assert "the CA" in error
    assert "d3Jvbmc" not in error


@pytest_twisted.ensureDeferred
async def test_a_ca_that_has_forgotten_the_account_gets_a_new_one(
    pebble: Start, run: Callable[..., Running], log: list[str]
) -> None:
    ca = pebble()
    running = run(ca.ca)
    first = await running.certificate()
    ca.stop_pebble()
    ca.start_pebble()  # it knows nobody any more
    running.acme.renew()
    await running.until(lambda: running.acme.current()[NAME,] != first)
    verified(running.acme.current()[NAME,], ca)
    assert [line for line in log if "registering a new one" in line]
    assert list(running.directory.rglob("account.pem.retired-*"))


@pytest_twisted.ensureDeferred
async def test_a_deactivated_account_is_replaced(pebble: Start, run: Callable[..., Running], log: list[str]) -> None:
    ca = pebble()
    running = run(ca.ca)
    first = await running.certificate()
    account = AcmeStore(running.directory, log.append).account(ca.ca.directory)
    assert account is not None
    assert account.url is not None
    asking = wire.Wire(ca.ca.directory, wire.connect(installed())(ca.ca), reactor, reactor.seconds)
    await asking.post(wire.Signer(account.key, account.url), account.url, {"status": "deactivated"})
    running.acme.renew()
    await running.until(lambda: running.acme.current()[NAME,] != first)
    verified(running.acme.current()[NAME,], ca)
    assert [line for line in log if "registering a new one" in line]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            ChallengeKind.TLS_ALPN,
            f"{NAME}: the CA did not get facaded's answer on port 443: route that port",
        ),
        (ChallengeKind.HTTP, f"{NAME}: the CA could not reach port 80: open it, or use tls-alpn-01"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_port_that_is_closed_is_named(
    pebble: Start, responder: Responder, run: Callable[..., Running], kind: ChallengeKind, said: str
) -> None:
    ca = pebble()
    await responder.stop()
    running = run(ca.ca, challenges=(kind,))
    assert (await running.error()).startswith(said)
    status = running.status
    assert status["attempts"] == 1
    assert 290 < status["next_renewal"] - status["error_at"] < 340


@pytest_twisted.ensureDeferred
async def test_a_name_without_an_address_is_said(pebble: Start, run: Callable[..., Running]) -> None:
    ca = pebble()
    ca.set_addresses(NAME)
    error = await run(ca.ca, challenges=(ChallengeKind.HTTP,)).error()
    assert NAME in error
    assert "the CA" in error


@pytest_twisted.ensureDeferred
async def test_an_answer_of_somebody_else_s_is_said(
    pebble: Start, responder: Responder, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = pebble()
    monkeypatch.setattr(responder, "add_http", lambda token, _: responder.tokens.update({token: "hello"}))
    error = await run(ca.ca, challenges=(ChallengeKind.HTTP,)).error()
    assert error.startswith(f"{NAME}: the CA did not get facaded's answer on port 80")


@pytest_twisted.ensureDeferred
async def test_a_ca_that_is_down_leaves_the_work_to_the_next_one(pebble: Start, run: Callable[..., Running]) -> None:
    down, up = pebble(), pebble()
    down.stop_pebble()
    running = run(down.ca, up.ca)
    verified(await running.certificate(), up)
    assert running.status["ca"] == up.ca.directory


@pytest_twisted.ensureDeferred
async def test_a_ca_that_is_down_is_tried_again_after_a_minute(pebble: Start, run: Callable[..., Running]) -> None:
    ca = pebble()
    ca.stop_pebble()
    running = run(ca.ca)
    assert "connection refused" in await running.error()
    status = running.status
    assert 55 < status["next_renewal"] - status["error_at"] < 70


@pytest_twisted.ensureDeferred
async def test_a_ca_whose_own_certificate_is_not_trusted_is_not_asked(
    pebble: Start, run: Callable[..., Running]
) -> None:
    ca = pebble()
    assert "certificate verify failed" in await run(evolve(ca.ca, ca_file=None)).error()


@pytest_twisted.ensureDeferred
async def test_two_daemons_on_one_directory_order_once(pebble: Start, run: Callable[..., Running]) -> None:
    ca = pebble()
    one, other = run(ca.ca), run(ca.ca)
    first = await one.certificate()
    await other.until(lambda: other.acme.current() or other.status["error"])
    assert ca.log.count("Added order") == 1, ca.log
    other.acme.stopService()
    other.acme.startService()  # it would look again within a minute
    await other.until(other.acme.current)
    assert other.acme.current()[NAME,] == first
    assert ca.log.count("Added order") == 1


@pytest_twisted.ensureDeferred
async def test_a_ca_with_random_delays_and_many_refused_nonces_still_gives_a_certificate(
    pebble: Start, run: Callable[..., Running]
) -> None:
    ca = pebble(PEBBLE_VA_NOSLEEP="0", PEBBLE_VA_SLEEPTIME="2", PEBBLE_WFE_NONCEREJECT="35", PEBBLE_AUTHZREUSE="100")
    running = run(ca.ca)
    first = await running.certificate()
    running.acme.renew()
    await running.until(lambda: running.acme.current()[NAME,] != first)
    assert json.dumps(running.status)
