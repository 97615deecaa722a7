"""Certificates from files, and their replacement."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent

from facaded.tls.certificate_files import CertificateFiles
from facaded.tls.certificates import POLL_INTERVAL, Certificates
from facaded.tls.challenges import Challenges
from facaded.tls.watched_files import RETRY_INTERVAL
from tests.tls.authority import DAY, NOW, Authority, put, rsa_key, trusting
from tests.tls.served import HOSTS, CertificatesHarness


def rewrite(files: CertificateFiles, pair: tuple[bytes, bytes]) -> None:
    put(files, *pair)


def rename(files: CertificateFiles, pair: tuple[bytes, bytes]) -> None:
    for path, content in zip((files.key, files.chain), reversed(pair), strict=True):
        new = path.with_suffix(".new")
        new.write_bytes(content)
        new.chmod(0o640)
        new.replace(path)


def swap_like_certbot(files: CertificateFiles, pair: tuple[bytes, bytes]) -> None:
    archive = files.chain.parent.parent / "archive"
    archive.mkdir(exist_ok=True)
    new = CertificateFiles(archive / "fullchain2.pem", archive / "privkey2.pem")
    put(new, *pair)
    for link, target in ((files.key, new.key), (files.chain, new.chain)):
        link.unlink()
        link.symlink_to(target)


@pytest.mark.parametrize("replace", [rewrite, rename, swap_like_certbot])
def test_changed_files_are_in_service_after_the_next_check(
    authority: Authority, tmp_path: Path, replace: Callable[[CertificateFiles, tuple[bytes, bytes]], None]
) -> None:
    files = authority.write(tmp_path / "live", "docker.lab.test")
    harness = CertificatesHarness(files)
    before, context = harness.served(), harness.certificates.choose(None).context
    harness.pass_time(3)
    assert harness.served() == before
    assert harness.certificates.choose(None).context is context
    replace(files, authority.issue("docker.lab.test", "more.lab.test"))
    harness.pass_time()
    assert harness.served() != before
    assert harness.client("more.lab.test", trusting(authority)).names == {"docker.lab.test", "more.lab.test"}
    assert harness.certificates.choose(None).context is not context, "a new certificate gets a new Context"
    assert harness.errors == [None]


def test_a_link_that_kubernetes_swaps_is_noticed(authority: Authority, tmp_path: Path) -> None:
    for generation in ("..1", "..2"):
        authority.write(tmp_path / generation, "docker.lab.test")
    data = tmp_path / "..data"
    data.symlink_to("..1")
    files = CertificateFiles(tmp_path / "tls.crt", tmp_path / "tls.key")
    files.chain.symlink_to("..data/fullchain.pem")
    files.key.symlink_to("..data/privkey.pem")
    harness = CertificatesHarness(files)
    before = harness.served()
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").replace(data)
    harness.pass_time()
    assert harness.served() != before
    assert harness.errors == [None]


def test_writing_one_file_before_the_other_is_no_problem(authority: Authority, tmp_path: Path) -> None:
    files = authority.write(tmp_path, "docker.lab.test")
    harness = CertificatesHarness(files)
    before = harness.served()
    chain, key = authority.issue("docker.lab.test")
    files.chain.write_bytes(chain)
    harness.pass_time()
    assert (harness.served(), harness.errors) == (before, [None])
    files.key.write_bytes(key)
    harness.pass_time()
    assert harness.served() != before
    assert harness.errors == [None]


def issue_weak(authority: Authority) -> tuple[bytes, bytes]:
    return authority.issue("docker.lab.test", key=rsa_key(1024))


def remove(name: str) -> Callable[[Authority, CertificateFiles], None]:
    return lambda _, files: getattr(files, name).unlink()


def write(issue: Callable[[Authority], tuple[bytes, bytes]]) -> Callable[[Authority, CertificateFiles], None]:
    return lambda authority, files: put(files, *issue(authority))


def make_directory(_: Authority, files: CertificateFiles) -> None:
    files.key.unlink()
    files.key.mkdir()


def make_pipe(_: Authority, files: CertificateFiles) -> None:
    files.key.unlink()
    os.mkfifo(files.key)


UNUSABLE: dict[str, tuple[Callable[[Authority, CertificateFiles], None], str]] = {
    "no chain": (remove("chain"), "fullchain.pem cannot be read (No such file or directory)"),
    "no key": (remove("key"), "privkey.pem cannot be read (No such file or directory)"),
    "a directory": (make_directory, "cannot be read (Is a directory)"),
    "a pipe": (make_pipe, "is not a regular file: name a PEM file"),
    "too large": (lambda _, files: put(files, b"x" * (1 << 20), b"x"), "is larger than 262144 bytes"),
    "no PEM": (lambda _, files: put(files, b"x", b"x"), "the chain is not a list of certificates in PEM form"),
    "no key in it": (lambda a, files: put(files, a.issue("x")[0], b"x"), "the key is not a private key in PEM form"),
    "another's key": (
        lambda a, files: put(files, a.issue("x")[0], a.issue("x")[1]),
        "the key does not match the first",
    ),
    "expired": (
        write(lambda a: a.issue("x", begins=NOW - 9 * DAY, ends=NOW - DAY)),
        "the certificate expired on ",
    ),
    "not yet valid": (write(lambda a: a.issue("x", begins=NOW + DAY)), "the certificate is not valid before "),
    "weak": (write(issue_weak), "OpenSSL rejects the certificate (ee key too small)"),
    "open to all": (
        lambda _, files: files.key.chmod(0o644),
        "set defaultMode: 0440 in its volume and fsGroup in the Pod's securityContext",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_pair_is_logged_once_and_the_previous_certificate_stays(
    authority: Authority,
    tmp_path: Path,
    logged: list[str],
    spoil: Callable[[Authority, CertificateFiles], None],
    message: str,
) -> None:
    files = authority.write(tmp_path, "docker.lab.test")
    harness = CertificatesHarness(files)
    before = harness.served()
    spoil(authority, files)
    harness.pass_time(5)
    assert harness.served() == before
    assert message in str(harness.errors[0])
    assert [
        line for line in logged if message in line and line.endswith("; the previous certificate stays in service")
    ] == [line for line in logged if message in line]
    assert len([line for line in logged if message in line]) == 1
    harness.reconfigure(files)
    assert harness.served() == before, "also after a reload"
    if files.key.is_dir():
        files.key.rmdir()
    files.key.unlink(missing_ok=True)
    put(files, *authority.issue("docker.lab.test"))
    harness.pass_time()
    assert harness.served() != before
    assert harness.errors == [None]


def test_a_pair_that_is_missing_at_the_start_is_logged_and_served_when_it_appears(
    authority: Authority, tmp_path: Path, logged: list[str]
) -> None:
    files = CertificateFiles(tmp_path / "fullchain.pem", tmp_path / "privkey.pem")
    harness = CertificatesHarness(files)
    assert harness.client().names == {"docker.lab.test"}, "self-signed"
    assert logged == [
        f"{files.chain} cannot be read (No such file or directory): let facaded's user or group read this file; "
        "no certificate from these files is in service"
    ]
    put(files, *authority.issue("docker.lab.test"))
    harness.pass_time()
    harness.client(context=trusting(authority))


def test_a_certificate_that_is_not_valid_yet_is_served_when_it_is(authority: Authority, tmp_path: Path) -> None:
    files = authority.write(tmp_path, "docker.lab.test")
    harness = CertificatesHarness(files)
    before = harness.served()
    put(files, *authority.issue("docker.lab.test", begins=NOW + timedelta(seconds=30)))
    harness.pass_time(3)
    assert harness.served() == before
    harness.pass_time(int(RETRY_INTERVAL / POLL_INTERVAL))
    assert harness.served() != before


def test_a_certificate_that_expires_is_logged_and_another_for_the_name_takes_precedence(
    authority: Authority, tmp_path: Path, no_errors_are_logged: list[LogEvent]
) -> None:
    soon = authority.write(tmp_path / "soon", "docker.lab.test")
    put(soon, *authority.issue("docker.lab.test", ends=NOW + timedelta(seconds=2)))
    harness = CertificatesHarness(soon, authority.write(tmp_path / "later", "*.lab.test", "docker.lab.test"))
    assert harness.client().names == {"docker.lab.test"}
    harness.pass_time(5)
    assert harness.client().names == {"docker.lab.test", "*.lab.test"}
    assert [report["expired"] for report in harness.certificates.document()] == [True, False]
    soon_error, error = no_errors_are_logged
    assert formatEvent(soon_error).endswith(" should have been renewed by now: renew it")
    assert formatEvent(error).endswith(" has expired: renew it")
    no_errors_are_logged.clear()


def test_a_reload_adds_and_removes_pairs(authority: Authority, tmp_path: Path) -> None:
    first, second = (authority.write(tmp_path / name, f"{name}.lab.test") for name in ("a", "b"))
    harness = CertificatesHarness(first)
    context = harness.certificates.choose("a.lab.test").context
    harness.reconfigure(second, first)
    assert harness.client(None).names == {"b.lab.test"}
    assert harness.certificates.choose("a.lab.test").context is context, "an unchanged pair keeps its Context"
    harness.reconfigure(second)
    assert harness.client("a.lab.test").names == {"b.lab.test"}


def test_the_files_are_checked_again_after_a_check_failed(
    authority: Authority, tmp_path: Path, no_errors_are_logged: list[Any]
) -> None:
    files = authority.write(tmp_path, "docker.lab.test")
    clock, failing = Clock(), [True]

    def in_thread(work: Callable[[], Any]) -> Deferred[Any]:
        return fail(OSError("no more threads")) if failing else succeed(work())

    certificates = Certificates(Challenges(), clock, NOW.timestamp, in_thread, [files], HOSTS)
    certificates.startService()
    before = certificates.choose(None)
    put(files, *authority.issue("docker.lab.test"))
    clock.advance(POLL_INTERVAL)
    assert [str(event["log_failure"].value) for event in no_errors_are_logged] == ["no more threads"]
    no_errors_are_logged.clear()
    failing.clear()
    clock.advance(POLL_INTERVAL)
    assert certificates.choose(None) is not before
    certificates.stopService()
    assert clock.getDelayedCalls() == []


def test_preparing_new_settings_changes_nothing(authority: Authority, tmp_path: Path) -> None:
    first, second = (authority.write(tmp_path / name, f"{name}.lab.test") for name in ("a", "b"))
    harness = CertificatesHarness(first)
    before, document = harness.served(), harness.certificates.document()
    put(first, *authority.issue("a.lab.test"))
    prepared = harness.certificates.prepare([second, first], ("other.lab.test",))
    assert (harness.served(), harness.certificates.document()) == (before, document)
    second.chain.unlink()  # it has been read already
    harness.certificates.reconfigure(prepared)
    assert harness.client(None).names == {"b.lab.test"}
    assert harness.client("a.lab.test").names == {"a.lab.test"}
    assert harness.served("a.lab.test") != before


def test_each_time_that_files_become_unusable_counts_once(authority: Authority, tmp_path: Path) -> None:
    files = authority.write(tmp_path / "live", "docker.lab.test")
    harness, good = CertificatesHarness(files), files.chain.read_bytes()
    for times in (1, 2):
        files.chain.write_bytes(b"no certificate")
        harness.pass_time(5)
        assert harness.certificates.problems == times
        files.chain.write_bytes(good)
        harness.pass_time(3)
        assert harness.errors == [None]


def test_a_key_that_facaded_may_not_read_names_the_remedy_of_kubernetes(authority: Authority, tmp_path: Path) -> None:
    files = authority.write(tmp_path, "docker.lab.test")
    files.key.chmod(0)
    own_user = os.geteuid()
    os.seteuid(65534 if own_user == 0 else own_user)  # root may read everything; pytest's directory is closed to others
    try:
        harness = CertificatesHarness(files)
    finally:
        os.seteuid(own_user)
    assert "(Permission denied)" in str(harness.errors[0])
    assert str(harness.errors[0]).endswith(
        "let facaded's user or group read this file, in Kubernetes by the Pod's fsGroup"
    )
