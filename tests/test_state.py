"""The state file: written whole, read back, set aside when it cannot be read."""

import json
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facaded.backends.watch import Standing
from facaded.policy.failover import Charge
from facaded.policy.health import Health, Purpose, Result, State, Step, Verdict
from facaded.state import FILE, SET_ASIDE, Clocks, read, write

URLS = {"hub": "https://hub.test", "ghcr": "https://ghcr.test"}
THEN = Clocks(wall=1_800_000_000.0, monotonic=500.0)
LATER = Clocks(wall=1_800_000_060.0, monotonic=7.0)
FAILED = Result(Verdict.BAD, Step.TOKEN, "time-out", 0.0)
STANDING = Standing(
    {"hub": Health(State.DOWN, 400.0, failed=FAILED, failed_at=490.0), "ghcr": Health(State.UP, 100.0)},
    {(("hub", "ghcr"), Purpose.REDIRECT): Charge("ghcr", 410.0)},
    410.0,
)


def test_what_is_written_is_read_back_by_another_boot_s_clock(tmp_path: Path) -> None:
    write(tmp_path, STANDING, URLS, THEN)
    kept = read(tmp_path, URLS, LATER)
    assert kept.warning is None
    assert kept.standing is not None
    assert kept.standing.healths["hub"] == Health(State.DOWN, -153.0, failed=FAILED, failed_at=-63.0)
    assert kept.standing.healths["ghcr"] == Health(State.UNKNOWN, -453.0)
    assert kept.standing.charges == {(("hub", "ghcr"), Purpose.REDIRECT): Charge("ghcr", -143.0)}
    assert kept.standing.changed == -143.0


def test_a_clock_that_was_wrong_makes_no_time_lie_in_the_future(tmp_path: Path) -> None:
    write(tmp_path, STANDING, URLS, evolve(THEN, wall=4e9))
    kept = read(tmp_path, URLS, LATER)
    assert kept.standing is not None
    assert kept.standing.healths["hub"].since == LATER.monotonic


def test_a_backend_at_another_url_is_another_backend(tmp_path: Path) -> None:
    write(tmp_path, STANDING, URLS, THEN)
    kept = read(tmp_path, {**URLS, "hub": "https://other.test"}, THEN)
    assert kept.standing is not None
    assert set(kept.standing.healths) == {"ghcr"}
    kept = read(tmp_path, {"hub": URLS["hub"]}, THEN)
    assert kept.standing is not None
    assert kept.standing.charges == {}


def test_no_file_is_no_state(tmp_path: Path) -> None:
    assert read(tmp_path, URLS, THEN).warning is None


WHOLE = json.dumps({"version": 1, "charges": [], "changed": 1, "backends": {}})
GARBAGE = [
    b"",
    b"\x00\xff\xfe",
    b"{",
    b"[]",
    b"null",
    b"5",
    b'"text"',
    b"[" * 100_000,
    b'{"version": 2}',
    WHOLE.replace('"changed": 1', '"changed": NaN').encode(),
    WHOLE.replace("[]", '[{"route": 5}]').encode(),
    b'{"version": 1, "charges": [], "changed": null, "backends": {"hub": ODD}}'.replace(
        b"ODD", b'{"url": "https://hub.test", "state": "odd"}'
    ),
    b'{"version": 1, "backends": {"hub": ODD}}'.replace(
        b"ODD", b'{"url": "https://hub.test", "state": "up", "since": Infinity, "failed": null}'
    ),
    b'{"version": 1, "charges": 5, "backends": {}}',
    b'{"version": 1, "charges": [], "changed": null, "backends": {"hub": ODD}}'.replace(
        b"ODD", b'{"url": "https://hub.test", "state": "down", "since": -7e10, "failed": null}'
    ),
    b"x" * (2 << 20),
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_set_aside_and_not_overwritten(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / FILE).write_bytes(garbage)
    kept = read(tmp_path, URLS, THEN)
    assert kept.standing is None
    assert kept.writable
    assert kept.warning is not None
    assert "set aside" in kept.warning
    write(tmp_path, STANDING, URLS, THEN)
    aside = [path for path in tmp_path.iterdir() if "unreadable" in path.name]
    assert [path.read_bytes() for path in aside] == [garbage]
    assert read(tmp_path, URLS, THEN).standing is not None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary()
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["version", "charges", "backends", "hub", "state"]), inner)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_file_stops_the_start(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    assert read(tmp_path, URLS, THEN).warning
    for path in tmp_path.iterdir():
        path.unlink()


def test_a_file_that_cannot_be_set_aside_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    for _ in range(200):
        kept = read(tmp_path, URLS, THEN)
        if not kept.writable:
            break
        (tmp_path / FILE).mkdir()
    assert not kept.writable
    assert kept.warning is not None
    assert "cannot be set aside" in kept.warning
    assert len(list(tmp_path.iterdir())) == SET_ASIDE + 1
    assert (tmp_path / FILE).exists()


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    write(tmp_path, STANDING, URLS, THEN)
    before = (tmp_path / FILE).read_bytes()
    (tmp_path / "state.new").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        write(tmp_path, STANDING, URLS, LATER)
    assert (tmp_path / FILE).read_bytes() == before


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    write(tmp_path / "made", STANDING, URLS, THEN)
    assert (tmp_path / "made" / FILE).stat().st_mode & 0o077 == 0
    assert (tmp_path / "made").stat().st_mode & 0o077 == 0
