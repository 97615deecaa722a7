"""Certificates from files, and how they are replaced."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from facaded.tls.certificate_files import CertificateFiles
from facaded.tls.certificates import LOOK_INTERVAL, Certificates
from facaded.tls.challenges import Challenges
from facaded.tls.watched_files import RETRY_INTERVAL
from tests.tls.authority import DAY, NOW, Authority, put, rsa_key, trusting
from tests.tls.served import HOSTS, Service


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


def test_nothing_changes_while_other_settings_are_prepared(authority: Authority, tmp_path: Path) -> None:
    first, second = (authority.write(tmp_path / name, f"{name}.lab.test") for name in ("a", "b"))
    service = Service(first)
    before, shown = service.shown(), service.certificates.document()
    put(first, *authority.issue("a.lab.test"))
    prepared = service.certificates.prepare([second, first], ("other.lab.test",))
    assert (service.shown(), service.certificates.document()) == (before, shown)
    second.chain.unlink()  # what was read is enough
    service.certificates.reconfigure(prepared)
    assert service.client(None).names == {"b.lab.test"}
    assert service.client("a.lab.test").names == {"a.lab.test"}
    assert service.shown("a.lab.test") != before
