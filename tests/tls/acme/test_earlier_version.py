"""A directory that version 0.1.0 wrote is read, and what it recorded of attempts moves to the ledgers."""

import json
from pathlib import Path

import pytest

from facaded.tls.acme.earlier_progress import EarlierProgress
from facaded.tls.acme.ledger import NameHistory, Pause
from facaded.tls.acme.store import AcmeStore
from tests.tls.acme.memory import EPOCH, NAME, CreateHarness

CA = "https://ca.test/directory"
NAMES = ("b.example.com", "a.example.com")

ACCOUNT_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQggiZfBb24lcTBhmk8
W/iaOjJWRsLQqzK/sYPaoolvfSGhRANCAATnUkxuJ2fZ8cODMHR9Ck+8GRHFJiu0
S3lYygM3U84bKOI/1zVuCGGOQ1tZx3n2vjHPGPCikBseJ30quI81w2I1
-----END PRIVATE KEY-----
"""
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg41+N09aUIhbMVtpk
KHfKQDeIlfG1Cv+AMfDIyg0Q6hKhRANCAAT2QNGLOcJABFuh5I07FOESnuktDmUq
XhL8pmflSLk4kDiUDCfKTallzQOdKe7j1KpmDAqaOwYk0ntIzKWjxAxf
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBUzCB+qADAgECAhR5CV6GxjvTREyBPTk04+FuuRoeUDAKBggqhkjOPQQDAjAQ
MQ4wDAYDVQQDDAVjYSBDQTAeFw0yNzAxMTUwODAwMDBaFw0yNzA0MTUwODAwMDBa
MAAwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAT2QNGLOcJABFuh5I07FOESnukt
DmUqXhL8pmflSLk4kDiUDCfKTallzQOdKe7j1KpmDAqaOwYk0ntIzKWjxAxfo0Iw
QDAdBgNVHREEFjAUghJkb2NrZXIuZXhhbXBsZS5jb20wHwYDVR0jBBgwFoAUz6hh
lcrDYC48v/8de8Nl/+nEUlowCgYIKoZIzj0EAwIDSAAwRQIhAJByZicIIxpnYijk
4xfxZECv7ei1upkpqmvrRXFe6d27AiBtlF1gMS8EWwdVyZvjb34XHC9aSPUXjSvd
9aQMZxMEFQ==
-----END CERTIFICATE-----
"""
CERTIFICATE_OF_NAMES = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgX4A529+A+Jv26XBn
g8pMx95bG0b5dytdgY3EPOkP9s6hRANCAAS/84bgw6FgtlVpkB5S/0YHO1EIqLUq
k3cpuKVG9Gfqrxlq3rJBqEsqM9S2yVU4MBCdh9FYJyvkDymysgbUd11B
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBXzCCAQSgAwIBAgIUAgKql2rgIWehTFmXNXs0Sa2xXawwCgYIKoZIzj0EAwIw
EDEOMAwGA1UEAwwFY2EgQ0EwHhcNMjcwMTE1MDgwMDAwWhcNMjcwNDE1MDgwMDAw
WjAAMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEv/OG4MOhYLZVaZAeUv9GBztR
CKi1KpN3KbilRvRn6q8Zat6yQahLKjPUtslVODAQnYfRWCcr5A8psrIG1HddQaNM
MEowJwYDVR0RBCAwHoINYi5leGFtcGxlLmNvbYINYS5leGFtcGxlLmNvbTAfBgNV
HSMEGDAWgBTPqGGVysNgLjy//x17w2X/6cRSWjAKBggqhkjOPQQDAgNJADBGAiEA
9lh+pr+MldOtBK11CJdPd983nLeiB/+PTwWD0Y5ORV0CIQDKQoJvtxzTYm1ABjFg
OdxzBFiyNqJqH7uV6XEOLCV4Vg==
-----END CERTIFICATE-----
"""
ACCOUNT = """\
{
 "directory": "https://ca.test/directory",
 "url": "https://ca.test/account/1",
 "contact": "mailto:ops@example.com"
}
"""
PROGRESS = """\
{
 "slow": 1,
 "early": 0,
 "authorized": 1,
 "not_before": 1800000346.0764601,
 "error": "docker.example.com: the CA could not reach port 443: open it, or use http-01 (the CA says: refused)",
 "error_at": 1800000030.0,
 "obtained": 1800000000.0,
 "ca": "https://ca.test/directory",
 "by_hand": false,
 "closed": {
  "https://ca.test/directory": 1800000400.0
 },
 "failed": {
  "https://ca.test/directory": [
   1800000030.0
  ]
 },
 "extras": {
  "https://ca.test/directory": [
   1799990000.0
  ]
 }
}
"""

FILES = {
    "accounts/ca.test_b37908d4ca9f/account.pem": ACCOUNT_KEY,
    "accounts/ca.test_b37908d4ca9f/account.json": ACCOUNT,
    f"certificates/{NAME}/certificate.pem": CERTIFICATE,
    f"certificates/{NAME}/progress.json": PROGRESS,
    "certificates/a.example.com_420d2cb8b3c3/certificate.pem": CERTIFICATE_OF_NAMES,
    "lock": "",
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "acme"
    for name, text in FILES.items():
        path = directory / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
    return directory


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def store(directory: Path, warnings: list[str]) -> AcmeStore:
    return AcmeStore(directory, warnings.append)


def test_its_account_is_read(store: AcmeStore) -> None:
    account = store.account(CA)
    assert account is not None
    assert (account.url, account.contact) == ("https://ca.test/account/1", "mailto:ops@example.com")
    assert account.key.pem().decode() == ACCOUNT_KEY


def test_its_certificates_are_read(store: AcmeStore) -> None:
    single, multiple = store.certificate([NAME]), store.certificate(NAMES)
    assert single is not None
    assert multiple is not None
    assert (single.names, single.issuer, single.validity.start) == ((NAME,), "ca CA", EPOCH)
    assert single.identifier == "z6hhlcrDYC48v_8de8Nl_-nEUlo.eQlehsY700RMgT05NOPhbrkaHlA"
    assert multiple.names == NAMES
    assert (single.key_pem + single.chain_pem).decode() == CERTIFICATE


def test_its_progress_is_read(store: AcmeStore) -> None:
    assert store.earlier_progress([NAME]) == EarlierProgress(
        slow=1,
        early=0,
        authorized=1,
        not_before=1800000346.0764601,
        error="docker.example.com: the CA could not reach port 443: open it, or use http-01 (the CA says: refused)",
        error_at=1800000030.0,
        obtained=1800000000.0,
        ca=CA,
        closed={CA: 1800000400.0},
        failed={CA: (1800000030.0,)},
        extras={CA: (1799990000.0,)},
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("slow", True),
        ("slow", -1),
        ("not_before", "soon"),
        ("not_before", 1e300),
        ("error", 7),
        ("closed", []),
        ("failed", {CA: [-5]}),
        ("extras", {CA: "x"}),
    ],
)
def test_its_invalid_progress_is_set_aside(
    directory: Path, store: AcmeStore, warnings: list[str], field: str, value: object
) -> None:
    path = directory / f"certificates/{NAME}/progress.json"
    path.write_text(json.dumps({**json.loads(PROGRESS), field: value}))
    assert store.earlier_progress([NAME]) is None
    assert len(warnings) == 1


def test_its_account_and_certificates_are_written_in_a_form_that_it_reads(
    directory: Path, store: AcmeStore, warnings: list[str]
) -> None:
    account, single = store.account(CA), store.certificate([NAME])
    assert account is not None
    assert single is not None
    store.save_account(CA, account)
    store.save_certificate([NAME], single)
    written = json.loads((directory / "accounts/ca.test_b37908d4ca9f/account.json").read_text())
    assert written == {**json.loads(ACCOUNT), "refused_contact": None, "binding": None}
    assert (directory / f"certificates/{NAME}/certificate.pem").read_text() == CERTIFICATE
    assert warnings == []


def test_its_progress_is_entered_in_the_ledgers_once(create: CreateHarness, directory: Path) -> None:
    client = create(domains=((NAME,), NAMES), email="ops@example.com")
    assert [(status.names, status.issuer, status.attempts, status.ca) for status in client.acme.status()] == [
        ((NAME,), "ca CA", 1, CA),
        (NAMES, "ca CA", 0, None),
    ]
    client.start()
    assert client.ca.issued == [], "nothing is due"
    assert client.ca.requests == ["directory"], "for renewal information"
    assert not (directory / f"certificates/{NAME}/progress.json").exists()
    (book,) = AcmeStore(directory, print).ledgers()
    assert book.names == {NAME: NameHistory((1800000030.0,), (1799990000.0,))}
    history = book.history([NAME])
    assert (history.turn, history.obtained, history.retry.until) == (1, 1800000000.0, 1800000346.0764601)
    assert book.busy == Pause(EPOCH, 1800000400.0)
    client.acme.stopService()
    client.restart()
    assert client.acme.status()[0].attempts == 1
