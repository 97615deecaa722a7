"""A directory that cannot be written or read temporarily."""

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from facaded.tls.acme.private_files import PrivateFiles, StoreError
from facaded.tls.acme.schedule import HOUR, MINUTE
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.acme.store import AcmeStore
from tests.tls.acme.memory import CLOSED, NAME, CreateHarness


def test_with_an_unwritable_directory_nothing_is_ordered_and_it_is_logged_once(
    create: CreateHarness, log: list[str]
) -> None:
    harness = create()
    harness.directory.parent.joinpath("acme").write_text("not a directory")
    harness.start(5 * MINUTE)
    assert "certificates cannot be stored, so none is ordered" in harness.error
    assert harness.ca.requests == []
    assert sum("cannot be stored" in line for line in log) == 1
    harness.directory.unlink()
    harness.network.pass_time(2 * MINUTE)
    assert harness.certificate is not None
    assert harness.status["error"] is None


def test_a_certificate_stays_in_service_while_its_file_cannot_be_read(create: CreateHarness, log: list[str]) -> None:
    harness = create().start()
    old = harness.certificate
    path = next(harness.directory.rglob("certificate.pem"))
    text = path.read_bytes()
    path.unlink()
    path.mkdir()  # not even root can read a directory as a file
    harness.reconfigure(evolve(harness.settings, email="new@example.com"))
    harness.network.pass_time(5 * MINUTE)
    assert harness.certificate == old
    assert "Is a directory" in harness.error
    assert sum("Is a directory" in line for line in log) == 1
    assert len(harness.ca.issued) == 1
    path.rmdir()
    path.write_bytes(text)
    harness.network.pass_time(2 * MINUTE)
    assert (harness.certificate, harness.status["error"]) == (old, None)


@contextlib.contextmanager
def full(path: Path) -> Iterator[None]:
    """Make writing a file at this path fail, by a directory in its place: that stops even root."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.mkdir()
    yield
    new.rmdir()


def test_a_certificate_that_cannot_be_written_is_served_and_written_when_there_is_space(
    create: CreateHarness, log: list[str]
) -> None:
    harness = create()
    path = harness.directory / "certificates" / NAME / "certificate.pem"
    with full(path):
        harness.start(5 * MINUTE)
        first = harness.certificate
        assert first is not None
        assert "cannot be stored" in harness.error
        harness.reconfigure(evolve(harness.settings, email="new@example.com"))
        assert harness.certificate == first, "a reload keeps it"
        harness.network.pass_time(HOUR)
        assert len(harness.ca.issued) == 1
        assert sum("cannot be stored" in line for line in log) == 1
    harness.network.pass_time(2 * MINUTE)
    assert AcmeStore(harness.directory, print).certificate([NAME]) == first
    (book,) = AcmeStore(harness.directory, print).ledgers()
    assert book.history([NAME]).obtained is not None
    assert not list(harness.directory.rglob("order_*")), "its order is finished"
    assert harness.status["error"] is None


def test_a_failure_that_cannot_be_written_is_kept_in_memory(create: CreateHarness) -> None:
    harness = create(challenges=(ChallengeKind.HTTP,))
    harness.ca.refusal = CLOSED
    disk_full = contextlib.ExitStack()

    def fill(_: object) -> None:
        (path,) = harness.directory.rglob("ledger.json")
        disk_full.enter_context(full(path))

    harness.ca.lies["challenge"] = fill  # while the order is in progress
    harness.start(10 * MINUTE)
    assert (harness.status["attempts"], len(harness.ca.failed)) == (1, 1)
    assert "cannot be stored" in harness.error
    disk_full.close()
    harness.ca.lies.clear()
    harness.network.pass_time(2 * MINUTE)
    (book,) = AcmeStore(harness.directory, print).ledgers()
    assert book.history([NAME]).refused >= 1


def test_a_client_cannot_start_on_a_path_that_is_not_a_directory(create: CreateHarness, tmp_path: Path) -> None:
    tmp_path.joinpath("acme").write_text("")
    with pytest.raises(StoreError, match="cannot be stored"):
        create()


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "No space left on device: certificates cannot be stored, so none is ordered; free some space"),
        (errno.EROFS, "mount this file system writable"),
        (errno.EMFILE, "raise LimitNOFILE"),
        (errno.EACCES, "make the directory writable for facaded only"),
    ],
)
def test_each_reason_has_its_remedy(tmp_path: Path, number: int, remedy: str) -> None:
    with pytest.raises(StoreError, match=remedy), PrivateFiles(tmp_path, print).usable():
        raise OSError(number, os.strerror(number), str(tmp_path))


def test_the_status_is_json(create: CreateHarness) -> None:
    assert json.loads(json.dumps(create().start().status))["names"] == [NAME]
