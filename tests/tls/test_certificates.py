"""Which certificate is shown to whom, and how it is replaced."""

import os
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from facaded.tls import selfsigned
from facaded.tls.acme.order_status import OrderStatus
from facaded.tls.certificate_files import CertificateFiles
from facaded.tls.certificates import LOOK_INTERVAL, Certificates
from facaded.tls.challenges import Challenges
from facaded.tls.server_certificate import UnusableError, parse
from facaded.tls.watched_files import RETRY_INTERVAL
from tests.tls.authority import DAY, NOW, Authority, Client, handshake, put, rsa_key, trusting

ORDER = ("docker.lab.test",)
HOSTS = ("docker.lab.test", "192.0.2.1")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


class Service:
    """Certificates with a clock that is moved by hand, and threads that are none."""

    def __init__(self, *files: CertificateFiles, hosts: tuple[str, ...] = HOSTS) -> None:
        self.clock = Clock()
        self.challenges = Challenges()
        self.certificates = Certificates(self.challenges, self.clock, self.now, at_once, files, hosts)
        self.certificates.startService()

    def reconfigure(self, *files: CertificateFiles, hosts: tuple[str, ...] = HOSTS) -> None:
        self.certificates.reconfigure(self.certificates.prepare(files, hosts))

    def now(self) -> float:
        return NOW.timestamp() + self.clock.seconds()

    def pass_time(self, looks: int = 1) -> None:
        for _ in range(looks):
            self.clock.advance(LOOK_INTERVAL)

    def client(self, name: str | None = "docker.lab.test", context: ssl.SSLContext | None = None) -> Client:
        return handshake(self.certificates.serverConnectionForTLS(None), context or trusting(), name)

    def shown(self, name: str | None = "docker.lab.test") -> bytes:
        return self.client(name).certificate.tbs_certificate_bytes

    @property
    def errors(self) -> list[str | None]:
        return [each["error"] for each in self.certificates.document()]


def at_once(work: Callable[[], Any]) -> Deferred[Any]:
    return succeed(work())


def test_the_certificate_is_that_of_the_name_asked_for(authority: Authority, tmp_path: Path) -> None:
    service = Service(
        authority.write(tmp_path / "a", "a.lab.test", "b.lab.test"),
        authority.write(tmp_path / "wild", "*.lab.test"),
        authority.write(tmp_path / "c", "c.lab.test", key=rsa_key()),
    )
    for name, shown in {
        "a.lab.test": "a.lab.test",
        "B.Lab.Test": "a.lab.test",
        "other.lab.test": "*.lab.test",
        "c.lab.test": "c.lab.test",
        "two.labels.lab.test": "a.lab.test",
        "lab.test": "a.lab.test",
        "unknown.test": "a.lab.test",
        "192.0.2.1": "a.lab.test",
        None: "a.lab.test",
    }.items():
        assert shown in service.client(name).names, name


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("kind", ["ECDSA", "RSA"])
def test_the_whole_chain_is_sent_and_verifies(
    authority: Authority, tmp_path: Path, version: ssl.TLSVersion, kind: str
) -> None:
    service = Service(authority.write(tmp_path, "docker.lab.test", key=rsa_key() if kind == "RSA" else None))
    client = service.client(context=trusting(authority, versions=(version, version)))
    assert client.tls.version() == version.name.replace("_", ".")
    cipher = client.tls.cipher()
    assert cipher is not None
    assert "GCM" in cipher[0] or "CHACHA20" in cipher[0]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_older_versions_are_refused(authority: Authority, tmp_path: Path, version: ssl.TLSVersion) -> None:
    service = Service(authority.write(tmp_path, "docker.lab.test"))
    context = trusting()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version, context.maximum_version = version, version
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        service.client(context=context)


def test_suites_without_forward_secrecy_are_refused(authority: Authority, tmp_path: Path) -> None:
    service = Service(authority.write(tmp_path, "docker.lab.test", key=rsa_key()))
    context = trusting(versions=(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2))
    for suites in ("AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"):
        context.set_ciphers(suites)
        with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure"):
            service.client(context=context)


@pytest.mark.parametrize(
    ("offered", "chosen"), [((), None), (("http/1.1",), "http/1.1"), (("h2", "http/1.1"), "http/1.1")]
)
def test_only_http_1_1_is_spoken(
    authority: Authority, tmp_path: Path, offered: tuple[str, ...], chosen: str | None
) -> None:
    service = Service(authority.write(tmp_path, "docker.lab.test"))
    assert service.client(context=trusting(protocols=offered)).tls.selected_alpn_protocol() == chosen


@pytest.mark.parametrize("offered", ["h2", "acme-tls/1"])
def test_a_client_that_speaks_something_else_alone_is_told_so(
    authority: Authority, tmp_path: Path, offered: str
) -> None:
    service = Service(authority.write(tmp_path, "docker.lab.test"))
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        service.client(context=trusting(protocols=(offered,)))
    assert service.client().names == {"docker.lab.test"}, "the next handshake is none the worse"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_session_is_resumed(authority: Authority, tmp_path: Path, version: ssl.TLSVersion) -> None:
    service = Service(authority.write(tmp_path, "docker.lab.test"))
    context = trusting(versions=(version, version))
    first = service.client(context=context)
    first.server.send(b"x")
    first.incoming.write(first.server.bio_read(1 << 16))
    assert first.tls.read(1) == b"x", "what TLS 1.3 sends of tickets has been read before it"
    server = service.certificates.serverConnectionForTLS(None)
    again = handshake(server, context, "docker.lab.test", session=first.tls.session)
    assert not again.tls.session_reused


def test_200_names_in_200_files_start_quickly_and_each_is_shown_its_own(authority: Authority, tmp_path: Path) -> None:
    files = [authority.write(tmp_path / str(n), f"n{n}.lab.test", key=rsa_key()) for n in range(200)]
    begun = time.monotonic()
    service = Service(*files)
    assert time.monotonic() - begun < 2
    for number in range(200):
        assert service.client(f"n{number}.lab.test").names == {f"n{number}.lab.test"}


def test_a_handshake_among_200_does_what_a_handshake_with_one_does(authority: Authority, tmp_path: Path) -> None:
    files = [authority.write(tmp_path / str(n), f"n{n}.lab.test") for n in range(200)]
    work = []
    for service in (Service(files[-1]), Service(*files)):
        service.client("n199.lab.test")
        with counted() as did:
            service.client("n199.lab.test")
        work.append(did)
    assert work[0] == work[1]
    assert "open" not in work[0]


class counted:  # noqa: N801
    """Counts the functions called in its block, and the files opened."""

    def __enter__(self) -> dict[str, int]:
        self.calls: dict[str, int] = {}
        self.audited = True
        sys.addaudithook(self._audit)
        sys.setprofile(self._called)
        return self.calls

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        self.audited = False

    def _called(self, frame: Any, event: str, argument: Any) -> None:
        if event == "call" and "facaded" in frame.f_code.co_filename:
            self._count(frame.f_code.co_name)

    def _audit(self, event: str, _: object) -> None:
        if self.audited and event in ("open", "os.listdir", "os.scandir"):
            self._count("open")

    def _count(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1


def rewritten(files: CertificateFiles, pair: tuple[bytes, bytes]) -> None:
    put(files, *pair)


def renamed(files: CertificateFiles, pair: tuple[bytes, bytes]) -> None:
    for path, content in zip((files.key, files.chain), reversed(pair), strict=True):
        new = path.with_suffix(".new")
        new.write_bytes(content)
        new.chmod(0o640)
        new.replace(path)


def swapped_as_certbot_does(files: CertificateFiles, pair: tuple[bytes, bytes]) -> None:
    archive = files.chain.parent.parent / "archive"
    archive.mkdir(exist_ok=True)
    new = CertificateFiles(archive / "fullchain2.pem", archive / "privkey2.pem")
    put(new, *pair)
    for link, target in ((files.key, new.key), (files.chain, new.chain)):
        link.unlink()
        link.symlink_to(target)


@pytest.mark.parametrize("how", [rewritten, renamed, swapped_as_certbot_does])
def test_files_that_change_are_in_service_after_the_next_look(
    authority: Authority, tmp_path: Path, how: Callable[[CertificateFiles, tuple[bytes, bytes]], None]
) -> None:
    files = authority.write(tmp_path / "live", "docker.lab.test")
    service = Service(files)
    before, context = service.shown(), service.certificates.chosen(None).context
    service.pass_time(3)
    assert service.shown() == before
    assert service.certificates.chosen(None).context is context
    how(files, authority.issue("docker.lab.test", "more.lab.test"))
    service.pass_time()
    assert service.shown() != before
    assert service.client("more.lab.test", trusting(authority)).names == {"docker.lab.test", "more.lab.test"}
    assert service.certificates.chosen(None).context is not context, "a Context is never changed"
    assert service.errors == [None]


def test_a_directory_that_is_swapped_as_kubernetes_does_is_noticed(authority: Authority, tmp_path: Path) -> None:
    for generation in ("..1", "..2"):
        authority.write(tmp_path / generation, "docker.lab.test")
    data = tmp_path / "..data"
    data.symlink_to("..1")
    files = CertificateFiles(tmp_path / "tls.crt", tmp_path / "tls.key")
    files.chain.symlink_to("..data/fullchain.pem")
    files.key.symlink_to("..data/privkey.pem")
    service = Service(files)
    before = service.shown()
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").replace(data)
    service.pass_time()
    assert service.shown() != before
    assert service.errors == [None]


def test_two_files_that_do_not_change_at_the_same_instant_are_no_problem(authority: Authority, tmp_path: Path) -> None:
    files = authority.write(tmp_path, "docker.lab.test")
    service = Service(files)
    before = service.shown()
    chain, key = authority.issue("docker.lab.test")
    files.chain.write_bytes(chain)
    service.pass_time()
    assert (service.shown(), service.errors) == (before, [None])
    files.key.write_bytes(key)
    service.pass_time()
    assert service.shown() != before
    assert service.errors == [None]


def weak(authority: Authority) -> tuple[bytes, bytes]:
    return authority.issue("docker.lab.test", key=rsa_key(1024))


def without(which: str) -> Callable[[Authority, CertificateFiles], None]:
    return lambda _, files: getattr(files, which).unlink()


def with_pair(make: Callable[[Authority], tuple[bytes, bytes]]) -> Callable[[Authority, CertificateFiles], None]:
    return lambda authority, files: put(files, *make(authority))


def a_directory(_: Authority, files: CertificateFiles) -> None:
    files.key.unlink()
    files.key.mkdir()


def a_pipe(_: Authority, files: CertificateFiles) -> None:
    files.key.unlink()
    os.mkfifo(files.key)


BAD: dict[str, tuple[Callable[[Authority, CertificateFiles], None], str]] = {
    "no chain": (without("chain"), "fullchain.pem cannot be read (No such file or directory)"),
    "no key": (without("key"), "privkey.pem cannot be read (No such file or directory)"),
    "a directory": (a_directory, "cannot be read (Is a directory)"),
    "a pipe": (a_pipe, "is not a file: name one"),
    "too large": (lambda _, files: put(files, b"x" * (1 << 20), b"x"), "is larger than 262144 bytes"),
    "no PEM": (lambda _, files: put(files, b"x", b"x"), "the chain is not a list of certificates in PEM form"),
    "no key in it": (lambda a, files: put(files, a.issue("x")[0], b"x"), "the key is not a private key in PEM form"),
    "another's key": (
        lambda a, files: put(files, a.issue("x")[0], a.issue("x")[1]),
        "the key is not that of the first",
    ),
    "expired": (
        with_pair(lambda a: a.issue("x", begins=NOW - 9 * DAY, ends=NOW - DAY)),
        "the certificate expired on ",
    ),
    "not yet valid": (with_pair(lambda a: a.issue("x", begins=NOW + DAY)), "the certificate is valid from "),
    "weak": (with_pair(weak), "OpenSSL does not accept the certificate (ee key too small)"),
    "open to all": (lambda _, files: files.key.chmod(0o644), "privkey.pem can be read by others: chmod o= "),
}


@pytest.mark.parametrize(("spoil", "said"), BAD.values(), ids=BAD)
def test_a_pair_that_cannot_be_used_keeps_the_one_before_and_is_said_once(
    authority: Authority,
    tmp_path: Path,
    logged: list[str],
    spoil: Callable[[Authority, CertificateFiles], None],
    said: str,
) -> None:
    files = authority.write(tmp_path, "docker.lab.test")
    service = Service(files)
    before = service.shown()
    spoil(authority, files)
    service.pass_time(5)
    assert service.shown() == before
    assert said in str(service.errors[0])
    assert [line for line in logged if said in line and line.endswith("; the one before stays in service")] == [
        line for line in logged if said in line
    ]
    assert len([line for line in logged if said in line]) == 1
    service.reconfigure(files)
    assert service.shown() == before, "after a reload of the settings too"
    if files.key.is_dir():
        files.key.rmdir()
    files.key.unlink(missing_ok=True)
    put(files, *authority.issue("docker.lab.test"))
    service.pass_time()
    assert service.shown() != before
    assert service.errors == [None]


def test_what_cannot_be_used_at_the_start_is_said_and_taken_when_it_can(
    authority: Authority, tmp_path: Path, logged: list[str]
) -> None:
    files = CertificateFiles(tmp_path / "fullchain.pem", tmp_path / "privkey.pem")
    service = Service(files)
    assert service.client().names == {"docker.lab.test"}, "self-signed"
    assert logged == [
        f"{files.chain} cannot be read (No such file or directory): facaded's user or group needs to; "
        "there is none in service from there"
    ]
    put(files, *authority.issue("docker.lab.test"))
    service.pass_time()
    service.client(context=trusting(authority))


def test_a_certificate_that_is_not_valid_yet_is_taken_when_it_is(authority: Authority, tmp_path: Path) -> None:
    files = authority.write(tmp_path, "docker.lab.test")
    service = Service(files)
    before = service.shown()
    put(files, *authority.issue("docker.lab.test", begins=NOW + timedelta(seconds=30)))
    service.pass_time(3)
    assert service.shown() == before
    service.pass_time(int(RETRY_INTERVAL / LOOK_INTERVAL))
    assert service.shown() != before


def test_one_that_expires_in_service_is_said_and_another_for_the_name_goes_before_it(
    authority: Authority, tmp_path: Path, logged: list[str]
) -> None:
    soon = authority.write(tmp_path / "soon", "docker.lab.test")
    put(soon, *authority.issue("docker.lab.test", ends=NOW + timedelta(seconds=2)))
    service = Service(soon, authority.write(tmp_path / "later", "*.lab.test", "docker.lab.test"))
    assert service.client().names == {"docker.lab.test"}
    service.pass_time(5)
    assert service.client().names == {"docker.lab.test", "*.lab.test"}
    assert [each["expired"] for each in service.certificates.document()] == [True, False]
    assert len([line for line in logged if line.startswith("expired")]) == 1


def test_a_reload_takes_and_leaves_pairs(authority: Authority, tmp_path: Path) -> None:
    first, second = (authority.write(tmp_path / name, f"{name}.lab.test") for name in ("a", "b"))
    service = Service(first)
    context = service.certificates.chosen("a.lab.test").context
    service.reconfigure(second, first)
    assert service.client(None).names == {"b.lab.test"}
    assert service.certificates.chosen("a.lab.test").context is context, "what has not changed stays"
    service.reconfigure(second)
    assert service.client("a.lab.test").names == {"b.lab.test"}


def test_a_self_signed_one_answers_until_there_is_another(authority: Authority) -> None:
    service = Service()
    client = service.client()
    assert client.certificate.issuer.rfc4514_string().endswith(selfsigned.NAME.replace(",", "\\,"))
    shown = client.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in shown] == list(HOSTS)
    assert [each["from"] for each in service.certificates.document()] == ["self-signed"]
    assert service.certificates.replace_obtained({ORDER: authority.certificate("docker.lab.test")}) == ()
    service.client(context=trusting(authority))
    assert [each["from"] for each in service.certificates.document()] == ["ACME"]
    assert service.client(None).names == {"docker.lab.test"}


def test_a_host_without_a_certificate_of_its_own_has_the_self_signed_one(authority: Authority, tmp_path: Path) -> None:
    service = Service(authority.write(tmp_path, "a.lab.test"), hosts=("a.lab.test", "b.lab.test"))
    assert service.client("a.lab.test").names == {"a.lab.test"}
    assert service.client("b.lab.test").names == {"a.lab.test", "b.lab.test"}
    assert service.client("c.lab.test").names == {"a.lab.test"}


def test_without_hosts_the_self_signed_one_answers_too() -> None:
    assert Service(hosts=()).client().certificate.issuer == Service(hosts=()).client().certificate.subject


def test_obtained_ones_stand_beside_those_from_files_which_go_first(authority: Authority, tmp_path: Path) -> None:
    service = Service(authority.write(tmp_path, "a.lab.test"))
    names = ("a.lab.test", "b.lab.test")
    first = authority.certificate(*names)
    service.certificates.replace_obtained({names: first})
    context = service.certificates.chosen("b.lab.test").context
    assert service.client("a.lab.test").names == {"a.lab.test"}
    assert service.client("b.lab.test").names == {"a.lab.test", "b.lab.test"}
    service.certificates.replace_obtained({names: first, ("c.lab.test",): authority.certificate("c.lab.test")})
    assert service.certificates.chosen("b.lab.test").context is context
    assert service.client("c.lab.test").names == {"c.lab.test"}


def test_an_obtained_one_that_cannot_be_used_leaves_the_one_before(authority: Authority) -> None:
    service = Service()
    service.certificates.replace_obtained({ORDER: authority.certificate("docker.lab.test")})
    before = service.shown()
    bad = evolve(authority.certificate("docker.lab.test"), key=authority.certificate("docker.lab.test").key)
    other = authority.certificate("c.lab.test")
    said = service.certificates.replace_obtained({ORDER: bad, ("c.lab.test",): other})
    assert len(said) == 1
    assert said[0].startswith("docker.lab.test: OpenSSL does not accept the certificate (key values mismatch)")
    assert service.shown() == before
    assert service.client("c.lab.test").names == {"c.lab.test"}


def test_what_is_known_of_orders_is_shown_with_what_they_got(authority: Authority) -> None:
    service = Service()
    service.certificates.replace_obtained({ORDER: authority.certificate("docker.lab.test")})
    more = OrderStatus(ORDER, next_renewal=5.0), OrderStatus(("new.lab.test",), error="the CA is down")
    first, second = service.certificates.document(more)[:2]
    assert (first["names"], first["next_renewal"], first["error"]) == (["docker.lab.test"], 5.0, None)
    assert (second["names"], second["until"], second["error"]) == (["new.lab.test"], None, "the CA is down")


def test_a_look_that_fails_is_not_the_last(
    authority: Authority, tmp_path: Path, no_errors_are_logged: list[Any]
) -> None:
    files = authority.write(tmp_path, "docker.lab.test")
    clock, broken = Clock(), [True]

    def in_thread(work: Callable[[], Any]) -> Deferred[Any]:
        return fail(OSError("no more threads")) if broken else succeed(work())

    certificates = Certificates(Challenges(), clock, NOW.timestamp, in_thread, [files], HOSTS)
    certificates.startService()
    before = certificates.chosen(None)
    put(files, *authority.issue("docker.lab.test"))
    clock.advance(LOOK_INTERVAL)
    assert [str(event["log_failure"].value) for event in no_errors_are_logged] == ["no more threads"]
    no_errors_are_logged.clear()
    broken.clear()
    clock.advance(LOOK_INTERVAL)
    assert certificates.chosen(None) is not before
    certificates.stopService()
    assert clock.getDelayedCalls() == []


IDENTIFIER = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"), b"\x04\x20" + bytes(32))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("site", ["RSA", "ECDSA", "self-signed"])
def test_a_validator_is_shown_the_pending_challenge_and_nobody_else(
    authority: Authority, tmp_path: Path, version: ssl.TLSVersion, site: str
) -> None:
    key = rsa_key() if site == "RSA" else ec.generate_private_key(ec.SECP256R1())
    files = [] if site == "self-signed" else [authority.write(tmp_path, "docker.lab.test", key=key)]
    service = Service(*files)
    for challenge_key in (rsa_key(), ec.generate_private_key(ec.SECP256R1())):
        chain, _ = authority.issue("docker.lab.test", key=challenge_key, extension=IDENTIFIER)
        service.challenges.add_alpn("docker.lab.test", chain, challenge_key)
    validator = trusting(protocols=("acme-tls/1",), versions=(version, version))
    client = service.client(context=validator)
    assert client.tls.selected_alpn_protocol() == "acme-tls/1"
    assert client.certificate.extensions.get_extension_for_oid(IDENTIFIER.oid).critical
    ordinary = service.client(context=trusting(protocols=("http/1.1",), versions=(version, version)))
    assert IDENTIFIER.oid not in [extension.oid for extension in ordinary.certificate.extensions]
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        service.client("other.lab.test", context=validator)
    service.challenges.remove_alpn("docker.lab.test")
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        service.client(context=validator)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What facaded warns of."""
    from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
    from zope.interface import implementer

    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_level") is LogLevel.warn:
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def test_a_chain_that_openssl_would_refuse_in_a_handshake_is_not_taken(authority: Authority) -> None:
    """The certificate itself is good; OpenSSL looks at the others of a chain only when it sends them."""
    service = Service()
    service.certificates.replace_obtained({ORDER: authority.certificate("docker.lab.test")})
    before = service.client().certificate
    leaf, key = authority.issue("docker.lab.test")
    weak, _ = Authority().issue("weak.lab.test", key=rsa_key(1024))
    first = leaf.partition(b"-----END CERTIFICATE-----\n")
    said = service.certificates.replace_obtained({ORDER: parse(b"".join(first[:2]) + weak, key)})
    assert len(said) == 1
    assert "OpenSSL does not accept the certificate" in said[0]
    assert service.client().certificate == before
    shown = next(each for each in service.certificates.document() if each["names"] == list(ORDER))
    assert "OpenSSL does not accept" in shown["error"]


def test_a_key_that_many_clients_cannot_use_is_refused(authority: Authority) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(UnusableError, match="make an ECDSA or an RSA key"):
        parse(authority.issue("docker.lab.test")[0], key_pem)


def test_an_obtained_certificate_that_expires_gives_way_to_another_for_its_name(authority: Authority) -> None:
    service = Service()
    short = authority.certificate("docker.lab.test", ends=NOW + timedelta(seconds=5))
    names = ("docker.lab.test", "b.lab.test")
    service.certificates.replace_obtained({ORDER: short, names: authority.certificate(*names)})
    assert service.client().names == {"docker.lab.test"}
    service.pass_time(8)
    assert service.client().names == {"docker.lab.test", "b.lab.test"}
