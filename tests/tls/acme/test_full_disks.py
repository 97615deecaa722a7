"""A directory that cannot be written or read for a while."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from facaded.tls.acme.schedule import HOUR, MINUTE
from facaded.tls.acme.store import AcmeStore, StoreError
from tests.tls.acme.memory import CLOSED, NAME, Begin


def test_a_directory_that_cannot_be_written_orders_nothing_and_is_said_once(begin: Begin, log: list[str]) -> None:
    serving = begin()
    serving.directory.parent.joinpath("acme").write_text("not a directory")
    serving.start(5 * MINUTE)
    assert "certificates cannot be kept, so none is ordered" in serving.error
    assert serving.ca.asked == []
    assert sum("cannot be kept" in line for line in log) == 1
    (serving.directory).unlink()
    serving.network.pass_time(2 * MINUTE)
    assert serving.certificate is not None
    assert serving.status["error"] is None


def test_a_certificate_whose_file_cannot_be_read_for_a_while_stays_in_service(begin: Begin, log: list[str]) -> None:
    serving = begin().start()
    old = serving.certificate
    place = next(serving.directory.rglob("certificate.pem"))
    text = place.read_bytes()
    place.unlink()
    place.mkdir()  # even root cannot read that
    serving.reconfigure(evolve(serving.settings, email="new@example.com"))
    serving.network.pass_time(5 * MINUTE)
    assert serving.certificate == old
    assert "Is a directory" in serving.error
    assert sum("Is a directory" in line for line in log) == 1
    assert len(serving.ca.made) == 1
    place.rmdir()
    place.write_bytes(text)
    serving.network.pass_time(2 * MINUTE)
    assert (serving.certificate, serving.status["error"]) == (old, None)


@contextlib.contextmanager
def full(place: Path) -> Iterator[None]:
    """A file cannot be written in this place: not even root can write where a directory is."""
    place.parent.mkdir(parents=True, exist_ok=True)
    new = place.with_name(f"{place.name}.new")
    new.mkdir()
    yield
    new.rmdir()


def test_a_certificate_that_cannot_be_written_is_in_service_and_written_as_soon_as_there_is_room(
    begin: Begin, log: list[str]
) -> None:
    serving = begin()
    place = serving.directory / "certificates" / NAME / "certificate.pem"
    with full(place):
        serving.start(5 * MINUTE)
        first = serving.certificate
        assert first is not None
        assert "cannot be kept" in serving.error
        serving.reconfigure(evolve(serving.settings, email="new@example.com"))
        assert serving.certificate == first, "a reload does not lose it"
        serving.network.pass_time(HOUR)
        assert len(serving.ca.made) == 1
        assert sum("cannot be kept" in line for line in log) == 1
    serving.network.pass_time(2 * MINUTE)
    assert AcmeStore(serving.directory, print).certificate([NAME]) == first
    assert AcmeStore(serving.directory, print).progress([NAME]).ca == serving.ca.ca.directory
    assert serving.status["error"] is None


def test_a_failure_that_cannot_be_written_is_not_forgotten(begin: Begin) -> None:
    serving = begin()
    place = serving.directory / "certificates" / NAME / "progress.json"
    serving.ca.refuse = CLOSED
    room = contextlib.ExitStack()
    serving.ca.lies["challenge"] = lambda _: room.enter_context(full(place))  # from when the order is under way
    serving.start(10 * MINUTE)
    assert (serving.status["attempts"], len(serving.ca.refused)) == (1, 1)
    room.close()
    serving.ca.lies.clear()
    serving.network.pass_time(2 * MINUTE)
    assert AcmeStore(serving.directory, print).progress([NAME]).slow >= 1


def test_a_daemon_cannot_begin_over_a_directory_that_is_none(begin: Begin, tmp_path: Path) -> None:
    tmp_path.joinpath("acme").write_text("")
    with pytest.raises(StoreError, match="cannot be kept"):
        begin()


def test_the_status_is_json(begin: Begin) -> None:
    assert json.loads(json.dumps(begin().start().status))["names"] == [NAME]
