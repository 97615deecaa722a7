"""AcmeClient obtains certificates from a real CA: pebble, which rejects nonces and reuses authorizations."""

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

from facaded.net.reactor import installed
from facaded.tls.acme import keys, wire
from facaded.tls.acme.acme_client import AcmeClient
from facaded.tls.acme.schedule import DAY
from facaded.tls.acme.settings import AcmeSettings, CertificateAuthority, ChallengeKind
from facaded.tls.acme.store import AcmeStore
from facaded.tls.acme.wire import CaNetwork
from facaded.tls.challenges import rsa_key
from facaded.tls.server_certificate import PrivateKey, ServerCertificate
from tests.log_lines import log_lines
from tests.system.pebble import ACCOUNT_SECRETS, Pebble, Responder

HOST = "127.3.0.1"
NAME = "docker.example.com"
TIME_LIMIT = 30.0
PEBBLE_ENVIRON = {"PEBBLE_WFE_NONCEREJECT": "20", "PEBBLE_AUTHZREUSE": "0"}
"""pebble rejects 20 % of the nonces and reuses no authorization."""

StartPebble = Callable[..., Pebble]


@pytest.fixture
def responder() -> Iterator[Responder]:
    responder = Responder(HOST)
    responder.start(reactor)
    yield responder
    responder.stop()


@pytest.fixture
def start_pebble(needs: Callable[..., None], tmp_path: Path, responder: Responder) -> Iterator[StartPebble]:
    """A function that starts a CA which validates challenges at the responder."""
    needs("pebble", "pebble-challtestsrv")
    started: list[Pebble] = []

    def start(account_required: bool = False, **environ: str) -> Pebble:
        pebble = Pebble(
            tmp_path / f"pebble-{len(started)}",
            f"127.3.0.{len(started) + 2}",
            responder.http_port,
            responder.tls_port,
            HOST,
            {**PEBBLE_ENVIRON, **environ},
            account_required,
        )
        started.append(pebble)
        return pebble.start()

    yield start
    for pebble in started:
        pebble.stop()


@pytest.fixture
def log() -> Iterator[list[str]]:
    with log_lines() as lines:
        yield lines


@define
class RunningAcmeClient:
    """The AcmeClient under test, with its files in `directory` and a wall clock `clock_offset` seconds ahead."""

    directory: Path
    responder: Responder
    settings: AcmeSettings
    clock_offset: float = 0.0
    changes: list[int] = field(factory=list)
    acme: AcmeClient = field(init=False)

    def start(self) -> "RunningAcmeClient":
        self.acme = AcmeClient(
            CaNetwork(wire.connect(installed()), reactor, lambda: time.time() + self.clock_offset),
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

    async def wait_until(self, condition: Callable[[], object]) -> None:
        for _ in range(int(TIME_LIMIT / 0.05)):
            if condition():
                return
            await deferLater(reactor, 0.05)
        raise AssertionError(f"not within {TIME_LIMIT} s: {self.status}")

    async def certificate(self) -> ServerCertificate:
        await self.wait_until(self.acme.current)
        return next(iter(self.acme.current().values()))

    async def error(self) -> str:
        await self.wait_until(lambda: self.status["error"])
        return str(self.status["error"])

    def secrets(self) -> set[bytes]:
        """Return all secrets on the disk, line by line, as they would appear in a log."""
        texts = [path.read_text() for path in self.directory.rglob("*.pem")]
        return {line.encode() for text in texts for line in text.split("-----END PRIVATE")[0].splitlines()[1:-1]}


StartClient = Callable[..., RunningAcmeClient]


@pytest.fixture
def start_client(tmp_path: Path, responder: Responder, log: list[str]) -> Iterator[StartClient]:
    started: list[RunningAcmeClient] = []

    def start(*cas: CertificateAuthority, name: str = "acme", **settings: Any) -> RunningAcmeClient:
        acme_settings = AcmeSettings(**{"domains": ((NAME,),), "cas": cas, **settings})
        started.append(RunningAcmeClient(tmp_path / name, responder, acme_settings).start())
        return started[-1]

    yield start
    for client in started:
        client.acme.stopService()
        for secret in client.secrets():
            assert not [line for line in log if secret.decode() in line]
    assert responder.tokens == {}
    assert responder.certificates == {}


def verify(certificate: ServerCertificate, pebble: Pebble, name: str = NAME) -> None:
    """Verify that the chain leads to the CA's root and is valid for the name."""
    chain = list(certificate.chain)
    store = Store([x509.load_pem_x509_certificate(pebble.fetch_root())])
    PolicyBuilder().store(store).build_server_verifier(x509.DNSName(name)).verify(chain[0], chain[1:])


@pytest.mark.parametrize("site_key", [rsa_key(), keys.new()], ids=["RSA", "ECDSA"])
@pytest.mark.parametrize("max_tls_version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["TLS 1.2", "TLS 1.3"])
@pytest_twisted.ensureDeferred
async def test_a_certificate_is_obtained_with_tls_alpn_01(
    start_pebble: StartPebble,
    responder: Responder,
    start_client: StartClient,
    max_tls_version: int,
    site_key: PrivateKey,
) -> None:
    responder.max_tls_version, responder.site_key = max_tls_version, site_key
    pebble = start_pebble()
    client = start_client(pebble.authority)
    verify(await client.certificate(), pebble)
    assert responder.challenge_kinds == {"tls-alpn-01"}
    status = client.status
    assert (status["names"], status["error"], status["attempts"]) == ([NAME], None, 0)
    assert status["issuer"].startswith("Pebble")
    assert client.changes == [1]


@pytest_twisted.ensureDeferred
async def test_a_certificate_is_obtained_with_http_01(
    start_pebble: StartPebble, responder: Responder, start_client: StartClient
) -> None:
    pebble = start_pebble()
    verify(await start_client(pebble.authority, challenges=(ChallengeKind.HTTP,)).certificate(), pebble)
    assert responder.challenge_kinds == {"http-01"}


@pytest_twisted.ensureDeferred
async def test_names_share_a_certificate_or_have_their_own_as_configured(
    start_pebble: StartPebble, start_client: StartClient
) -> None:
    pebble = start_pebble()
    domains = (("a.example.com", "b.example.com"), ("c.example.com",))
    client = start_client(pebble.authority, domains=domains)
    await client.wait_until(lambda: len(client.acme.current()) == 2)
    for names, certificate in client.acme.current().items():
        for name in names:
            verify(certificate, pebble, name)
    assert set(client.acme.current()) == set(domains)


@pytest_twisted.ensureDeferred
async def test_a_certificate_survives_a_restart_and_is_renewed_when_due(
    start_pebble: StartPebble, start_client: StartClient
) -> None:
    pebble = start_pebble()
    client = start_client(pebble.authority)
    first = await client.certificate()
    await client.acme.stopService()
    orders = pebble.log.count("Added order")
    restarted_client = start_client(pebble.authority)
    assert restarted_client.acme.current() == {(NAME,): first}, "at once"
    await deferLater(reactor, 0.3)
    assert pebble.log.count("Added order") == orders
    restarted_client.clock_offset = (first.validity.end - first.validity.start) * 0.7
    restarted_client.acme.stopService()
    restarted_client.acme.startService()
    await restarted_client.wait_until(
        lambda: restarted_client.acme.current()[NAME,] != first or restarted_client.status["error"]
    )
    # pebble's clock did not move with the client's: the dates of the new certificate are off, but it is valid now
    second = restarted_client.acme.current()[NAME,]
    assert second.key_pem != first.key_pem, restarted_client.status


@pytest_twisted.ensureDeferred
async def test_renew_orders_a_certificate_at_once(start_pebble: StartPebble, start_client: StartClient) -> None:
    pebble = start_pebble()
    client = start_client(pebble.authority)
    first = await client.certificate()
    await client.wait_until(lambda: client.status["next_renewal"] > first.validity.start + DAY)
    assert client.acme.renew().refusals == ()
    await client.wait_until(lambda: client.acme.current()[NAME,] != first)
    verify(client.acme.current()[NAME,], pebble)


@pytest_twisted.ensureDeferred
async def test_an_external_account_is_bound(
    start_pebble: StartPebble, start_client: StartClient, tmp_path: Path, log: list[str]
) -> None:
    pebble = start_pebble(account_required=True)
    assert "eab_hmac_key_file" in await start_client(pebble.authority, name="without").error()
    secret = tmp_path / "eab"
    (key_id, mac_key), *_ = ACCOUNT_SECRETS.items()
    secret.write_text(f"{mac_key}\n")
    client = start_client(evolve(pebble.authority, eab_key_id=key_id, eab_hmac_key_file=secret))
    verify(await client.certificate(), pebble)
    assert not [line for line in log if mac_key in line]


@pytest_twisted.ensureDeferred
async def test_a_wrong_key_of_an_external_account_is_reported(
    start_pebble: StartPebble, start_client: StartClient, tmp_path: Path
) -> None:
    pebble = start_pebble(account_required=True)
    secret = tmp_path / "eab"
    secret.write_text("d3Jvbmc")
    error = await start_client(evolve(pebble.authority, eab_key_id="kid-1", eab_hmac_key_file=secret)).error()
    assert "the CA" in error
    assert "d3Jvbmc" not in error


@pytest_twisted.ensureDeferred
async def test_a_new_account_is_registered_if_the_ca_no_longer_knows_it(
    start_pebble: StartPebble, start_client: StartClient, log: list[str]
) -> None:
    pebble = start_pebble()
    client = start_client(pebble.authority)
    first = await client.certificate()
    pebble.stop_pebble()
    pebble.start_pebble()  # its accounts are gone
    client.acme.renew()
    await client.wait_until(lambda: client.acme.current()[NAME,] != first)
    verify(client.acme.current()[NAME,], pebble)
    assert [line for line in log if "registering a new one" in line]
    assert list(client.directory.rglob("account.pem.retired-*"))


@pytest_twisted.ensureDeferred
async def test_a_deactivated_account_is_replaced(
    start_pebble: StartPebble, start_client: StartClient, log: list[str]
) -> None:
    pebble = start_pebble()
    client = start_client(pebble.authority)
    first = await client.certificate()
    account = AcmeStore(client.directory, log.append).account(pebble.authority.directory)
    assert account is not None
    assert account.url is not None
    acme_wire = wire.Wire(
        pebble.authority.directory, wire.connect(installed())(pebble.authority), reactor, reactor.seconds
    )
    await acme_wire.post(wire.Signer(account.key, account.url), account.url, {"status": "deactivated"})
    client.acme.renew()
    await client.wait_until(lambda: client.acme.current()[NAME,] != first)
    verify(client.acme.current()[NAME,], pebble)
    assert [line for line in log if "registering a new one" in line]


@pytest.mark.parametrize(
    ("challenge_kind", "message"),
    [
        (
            ChallengeKind.TLS_ALPN,
            f"{NAME}: the CA did not get facaded's answer on port 443: route that port",
        ),
        (ChallengeKind.HTTP, f"{NAME}: the CA could not reach port 80: open it, or use tls-alpn-01"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_error_names_a_closed_port(
    start_pebble: StartPebble,
    responder: Responder,
    start_client: StartClient,
    challenge_kind: ChallengeKind,
    message: str,
) -> None:
    pebble = start_pebble()
    await responder.stop()
    client = start_client(pebble.authority, challenges=(challenge_kind,))
    assert (await client.error()).startswith(message)
    status = client.status
    assert status["attempts"] == 1
    assert 590 < status["next_renewal"] - status["error_at"] < 670


@pytest_twisted.ensureDeferred
async def test_a_name_without_an_address_is_reported(start_pebble: StartPebble, start_client: StartClient) -> None:
    pebble = start_pebble()
    pebble.set_addresses(NAME)
    error = await start_client(pebble.authority, challenges=(ChallengeKind.HTTP,)).error()
    assert NAME in error
    assert "the CA" in error


@pytest_twisted.ensureDeferred
async def test_a_wrong_response_to_a_challenge_is_reported(
    start_pebble: StartPebble, responder: Responder, start_client: StartClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    pebble = start_pebble()
    monkeypatch.setattr(responder, "add_http", lambda token, _: responder.tokens.update({token: "hello"}))
    error = await start_client(pebble.authority, challenges=(ChallengeKind.HTTP,)).error()
    assert error.startswith(f"{NAME}: the CA did not get facaded's answer on port 80")


@pytest_twisted.ensureDeferred
async def test_the_next_ca_is_used_if_the_first_is_down(start_pebble: StartPebble, start_client: StartClient) -> None:
    stopped_ca, working_ca = start_pebble(), start_pebble()
    stopped_ca.stop_pebble()
    client = start_client(stopped_ca.authority, working_ca.authority)
    verify(await client.certificate(), working_ca)
    assert client.status["ca"] == working_ca.authority.directory


@pytest_twisted.ensureDeferred
async def test_a_ca_that_is_down_is_retried_after_a_minute(
    start_pebble: StartPebble, start_client: StartClient
) -> None:
    pebble = start_pebble()
    pebble.stop_pebble()
    client = start_client(pebble.authority)
    assert "connection refused" in await client.error()
    status = client.status
    assert 55 < status["next_renewal"] - status["error_at"] < 70


@pytest_twisted.ensureDeferred
async def test_a_ca_whose_own_certificate_is_not_trusted_is_not_used(
    start_pebble: StartPebble, start_client: StartClient
) -> None:
    pebble = start_pebble()
    assert "certificate verify failed" in await start_client(evolve(pebble.authority, ca_file=None)).error()


@pytest_twisted.ensureDeferred
async def test_two_clients_that_share_a_directory_place_one_order(
    start_pebble: StartPebble, start_client: StartClient
) -> None:
    pebble = start_pebble()
    first_client, second_client = start_client(pebble.authority), start_client(pebble.authority)
    first = await first_client.certificate()
    await second_client.wait_until(lambda: second_client.acme.current() or second_client.status["error"])
    assert pebble.log.count("Added order") == 1, pebble.log
    second_client.acme.stopService()
    second_client.acme.startService()  # saves the wait: it looks again within a minute
    await second_client.wait_until(second_client.acme.current)
    assert second_client.acme.current()[NAME,] == first
    assert pebble.log.count("Added order") == 1


@pytest_twisted.ensureDeferred
async def test_a_certificate_is_obtained_in_spite_of_random_delays_and_many_rejected_nonces(
    start_pebble: StartPebble, start_client: StartClient
) -> None:
    pebble = start_pebble(
        PEBBLE_VA_NOSLEEP="0", PEBBLE_VA_SLEEPTIME="2", PEBBLE_WFE_NONCEREJECT="35", PEBBLE_AUTHZREUSE="100"
    )
    client = start_client(pebble.authority)
    first = await client.certificate()
    client.acme.renew()
    await client.wait_until(lambda: client.acme.current()[NAME,] != first)
    assert json.dumps(client.status)
