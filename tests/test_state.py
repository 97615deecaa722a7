"""The state file: written whole, read back, set aside when it cannot be read."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from facaded.files import SET_ASIDE
from facaded.policy.failover import ActiveBackend
from facaded.policy.health import Health, Purpose, Result, State, Step, Verdict
from facaded.policy.overrides import LONGEST, Override, Overrides
from facaded.policy.watch_state import FORGOTTEN, WatchState
from facaded.state import FILE, Clocks, Identity, StateError, StateStore, read, write
from tests.watching import BAD, GOOD, Watching

URLS = {"hub": Identity("https://hub.test", "org/app:latest"), "ghcr": Identity("https://ghcr.test")}
THEN = Clocks(wall=1_800_000_000.0, monotonic=500.0)
LATER = Clocks(wall=1_800_000_060.0, monotonic=7.0)
FAILED = Result(Verdict.BAD, Step.TOKEN, "time-out", 0.0)
DOWN = Health(
    State.DOWN,
    400.0,
    failed=FAILED,
    failed_at=490.0,
    deepest_failed_step=Step.BLOB,
    canary_seen=True,
    back_at=300.0,
    relapses=2,
)
STANDING = WatchState(
    {"hub": DOWN, "ghcr": Health(State.UP, 100.0)},
    {(("hub", "ghcr"), Purpose.REDIRECT): ActiveBackend("ghcr", 410.0)},
    Overrides(pins={"ghcr": Override(450.0, 7650.0)}, drains={"hub": Override(420.0)}),
    last_ping_target="https://ghcr.test/v2/",
    ping_target_changed_at=410.0,
)


def test_what_is_written_is_read_back_by_another_boot_s_clock(tmp_path: Path) -> None:
    write(tmp_path, STANDING, URLS, THEN)
    kept = read(tmp_path, URLS, LATER)
    assert kept.warning is None
    assert kept.watch_state is not None
    assert kept.watch_state.healths["hub"] == evolve(DOWN, since=-153.0, failed_at=-63.0, back_at=-253.0)
    assert kept.watch_state.healths["ghcr"] == Health(State.UNKNOWN, -453.0)
    assert kept.watch_state.overrides == Overrides({"ghcr": Override(-103.0, 7097.0)}, {"hub": Override(-133.0)})
    assert kept.watch_state.last_ping_target == "https://ghcr.test/v2/"
    assert kept.watch_state.active == {(("hub", "ghcr"), Purpose.REDIRECT): ActiveBackend("ghcr", -143.0)}
    assert kept.watch_state.ping_target_changed_at == -143.0


WRITTEN_BEFORE = """{
 "version": 2,
 "written": 1800000000.0,
 "pinged": "https://ghcr.test/v2/",
 "changed": 1799999910.0,
 "pins": {"ghcr": {"since": 1799999950.0, "until": 1800007150.0}},
 "drains": {"hub": {"since": 1799999920.0, "until": null}},
 "charges": [
  {"route": ["hub", "ghcr"], "purpose": "redirect", "backend": "ghcr", "since": 1799999910.0}
 ],
 "backends": {
  "hub": {
   "url": "https://hub.test",
   "canary": "org/app:latest",
   "state": "down",
   "since": 1799999900.0,
   "back": 1799999800.0,
   "relapses": 2,
   "proven": true,
   "hurdle": "blob",
   "failed": {"verdict": "bad", "step": "token server", "words": "time-out", "at": 1799999990.0}
  },
  "ghcr": {
   "url": "https://ghcr.test",
   "canary": "",
   "state": "up",
   "since": 1799999600.0,
   "back": null,
   "relapses": 0,
   "proven": false,
   "hurdle": null,
   "failed": null
  }
 }
}
"""
"""What an earlier version wrote of `STANDING` at `THEN`."""


def test_a_state_file_that_an_earlier_version_wrote_is_read_and_written_in_the_same_way(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(WRITTEN_BEFORE)
    kept = read(tmp_path, URLS, THEN)
    assert kept.warning is None
    healths = {"hub": DOWN, "ghcr": Health(State.UNKNOWN, 100.0)}
    assert kept.watch_state == evolve(STANDING, healths=healths)
    write(tmp_path, STANDING, URLS, THEN)
    written = (tmp_path / FILE).read_text()
    assert json.loads(written) == json.loads(WRITTEN_BEFORE)
    assert written == f"{json.dumps(json.loads(WRITTEN_BEFORE), indent=1)}\n"


def test_a_clock_that_was_wrong_makes_no_time_lie_in_the_future(tmp_path: Path) -> None:
    write(tmp_path, STANDING, URLS, evolve(THEN, wall=4e9))
    kept = read(tmp_path, URLS, LATER)
    assert kept.watch_state is not None
    assert kept.watch_state.healths["hub"].since == LATER.monotonic


def test_a_backend_at_another_url_is_another_backend(tmp_path: Path) -> None:
    write(tmp_path, STANDING, URLS, THEN)
    kept = read(tmp_path, {**URLS, "hub": Identity("https://other.test", "org/app:latest")}, THEN)
    assert kept.watch_state is not None
    assert set(kept.watch_state.healths) == {"ghcr"}
    kept = read(tmp_path, {"hub": URLS["hub"]}, THEN)
    assert kept.watch_state is not None
    assert kept.watch_state.active == {}


def test_another_canary_is_one_that_the_backend_has_not_proven_to_have(tmp_path: Path) -> None:
    write(tmp_path, STANDING, URLS, THEN)
    kept = read(tmp_path, {**URLS, "hub": Identity("https://hub.test", "org/typo:latest")}, THEN)
    assert kept.watch_state is not None
    assert not kept.watch_state.healths["hub"].canary_seen


def test_an_override_ends_by_the_wall_clock_though_the_daemon_was_away(tmp_path: Path) -> None:
    write(tmp_path, STANDING, URLS, THEN)
    kept = read(tmp_path, URLS, Clocks(THEN.wall + 7200, monotonic=0.0))
    assert kept.watch_state is not None
    assert kept.watch_state.overrides.in_force(URLS, now=0.0) == Overrides({}, {"hub": Override(-7280.0)})


def test_a_clock_that_was_wrong_does_not_make_an_override_last_for_ever(tmp_path: Path) -> None:
    write(tmp_path, STANDING, URLS, evolve(THEN, wall=4e9))
    kept = read(tmp_path, URLS, LATER)
    assert kept.watch_state is not None
    assert kept.watch_state.overrides.pins["ghcr"].until == LATER.monotonic + 7200
    (tmp_path / FILE).write_text(json.dumps({**EMPTY, "pins": {"hub": {"since": 1, "until": 4e9}}}))
    kept = read(tmp_path, URLS, LATER)
    assert kept.watch_state is not None
    assert kept.watch_state.overrides.pins["hub"].until == LATER.monotonic + LONGEST


def test_a_clock_that_is_wrong_at_the_writing_leaves_a_state_that_can_be_read(tmp_path: Path) -> None:
    write(tmp_path, STANDING, URLS, evolve(THEN, wall=0.0))
    assert read(tmp_path, URLS, LATER).warning is None


def test_no_file_is_no_state(tmp_path: Path) -> None:
    assert read(tmp_path, URLS, THEN).warning is None


EMPTY = {"version": 2, "charges": [], "pinged": None, "changed": 1, "pins": {}, "drains": {}, "backends": {}}
WHOLE = json.dumps(EMPTY)
BACKEND = {
    "url": "https://hub.test",
    "canary": "org/app:latest",
    "state": "down",
    "since": 1,
    "back": None,
    "relapses": 0,
    "proven": True,
    "hurdle": "blob",
    "failed": None,
}
OVERRIDE = {"since": 1, "until": 2}


def odd_backend(**changes: object) -> bytes:
    return json.dumps({**EMPTY, "backends": {"hub": {**BACKEND, **changes}}}).encode()


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
    WHOLE.replace('"version": 2', '"version": 1').encode(),
    WHOLE.replace('"changed": 1', '"changed": NaN').encode(),
    WHOLE.replace("[]", '[{"route": 5}]').encode(),
    WHOLE.replace("[]", "5").encode(),
    WHOLE.replace('"pinged": null', '"pinged": 5').encode(),
    odd_backend(state="odd"),
    odd_backend(since=float("inf")),
    odd_backend(since=-7e10),
    odd_backend(back="yesterday"),
    odd_backend(relapses=10**9),
    odd_backend(relapses=True),
    odd_backend(hurdle="odd"),
    json.dumps({**EMPTY, "pins": {"hub": OVERRIDE, "ghcr": OVERRIDE}}).encode(),
    json.dumps({**EMPTY, "pins": {"hub": OVERRIDE}, "drains": {"hub": OVERRIDE}}).encode(),
    json.dumps({**EMPTY, "drains": {"hub": {"since": 1}}}).encode(),
    json.dumps({**EMPTY, "drains": {"hub": {"since": 1, "until": float("nan")}}}).encode(),
    json.dumps({**EMPTY, "drains": ["hub"]}).encode(),
    b"x" * (2 << 20),
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_set_aside_and_not_overwritten(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / FILE).write_bytes(garbage)
    kept = read(tmp_path, URLS, THEN)
    assert kept.watch_state == WatchState({}, {}, last_ping_target=FORGOTTEN)
    assert kept.writable
    assert kept.warning is not None
    assert "set aside" in kept.warning
    write(tmp_path, STANDING, URLS, THEN)
    aside = [path for path in tmp_path.iterdir() if "unreadable" in path.name]
    assert [path.read_bytes() for path in aside] == [garbage]
    kept = read(tmp_path, URLS, THEN)
    assert kept.watch_state is not None
    assert kept.watch_state.healths["hub"] == DOWN


def test_the_state_that_the_garbage_is_made_of_is_a_good_one(tmp_path: Path) -> None:
    for whole in (WHOLE.encode(), odd_backend()):
        (tmp_path / FILE).write_bytes(whole)
        assert read(tmp_path, URLS, THEN).warning is None


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
    (tmp_path / f"{FILE}.new").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        write(tmp_path, STANDING, URLS, LATER)
    assert (tmp_path / FILE).read_bytes() == before


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    write(tmp_path / "made", STANDING, URLS, THEN)
    assert (tmp_path / "made" / FILE).stat().st_mode & 0o077 == 0
    assert (tmp_path / "made").stat().st_mode & 0o077 == 0


IDENTITIES = {"hub": Identity("https://hub.test"), "ghcr": Identity("https://ghcr.test")}


def keeping(directory: Path, watching: Watching) -> StateStore:
    """A store that has read what there was, and now follows a watch."""
    store = StateStore(watching.clock, watching.clock.seconds, directory, IDENTITIES)
    store.read()
    store.follow(watching.watch)
    store.startService()
    return store


def written(directory: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((directory / FILE).read_text())
    return document


def test_the_state_is_written_when_something_changes_and_when_the_first_round_is_over(tmp_path: Path) -> None:
    watching = Watching.begin("hub", "ghcr")
    store = keeping(tmp_path / "made", watching)
    assert list((tmp_path / "made").iterdir()) == []
    watching.backends.answer("hub", BAD)
    assert written(tmp_path / "made")["backends"]["hub"]["state"] == "down"
    assert written(tmp_path / "made")["pinged"] is None
    watching.backends.answer("ghcr", BAD)
    assert written(tmp_path / "made")["pinged"] == "hub"
    watching.watch.pin("ghcr", None)
    assert list(written(tmp_path / "made")["pins"]) == ["ghcr"]
    assert store.kept


def test_the_last_standing_is_written_at_the_stop(tmp_path: Path) -> None:
    watching = Watching.begin("hub")
    store = keeping(tmp_path, watching)
    watching.backends.answer("hub", BAD)
    watching.advance(30)
    watching.backends.answer("hub", evolve(BAD, reason="connection reset"))  # still down: no change
    assert written(tmp_path)["backends"]["hub"]["failed"]["words"] == "connection refused"
    watching.watch.stopService()
    store.stopService()
    assert written(tmp_path)["backends"]["hub"]["failed"]["words"] == "connection reset"


def test_a_new_plan_is_written_to_the_place_and_by_the_backends_that_are_new_too(tmp_path: Path) -> None:
    watching = Watching.begin("hub")
    store = keeping(tmp_path / "old", watching)
    watching.backends.answer("hub", GOOD)
    store.reconfigure(tmp_path / "new", {"hub": IDENTITIES["hub"], "quay": Identity("https://quay.test")})
    watching.watch.reconfigure(watching.backends.plan("hub", "quay"))
    assert list(written(tmp_path / "old")["backends"]) == ["hub"]
    assert written(tmp_path / "new")["backends"]["quay"]["url"] == "https://quay.test"


def test_a_plan_that_changes_nothing_is_written_too(tmp_path: Path) -> None:
    watching = Watching.begin("hub")
    store = keeping(tmp_path, watching)
    watching.backends.answer("hub", GOOD)
    store.reconfigure(tmp_path, {"hub": Identity("https://elsewhere.test")})
    watching.watch.reconfigure(watching.backends.plan("hub"))
    assert written(tmp_path)["backends"]["hub"]["url"] == "https://elsewhere.test"


def test_a_state_that_cannot_be_written_is_said_not_to_be_kept_until_it_is_again(tmp_path: Path) -> None:
    watching = Watching.begin("hub")
    store = keeping(tmp_path, watching)
    (tmp_path / f"{FILE}.new").mkdir()
    watching.backends.answer("hub", GOOD)
    assert not store.kept
    (tmp_path / f"{FILE}.new").rmdir()
    watching.watch.drain("hub", None)
    assert store.kept
    assert list(written(tmp_path)["drains"]) == ["hub"]


def test_a_state_file_that_can_neither_be_read_nor_set_aside_is_never_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FILE).write_text("{")
    monkeypatch.setattr(Path, "rename", refuse)
    watching = Watching.begin("hub")
    store = keeping(tmp_path, watching)
    assert not store.kept
    watching.backends.answer("hub", GOOD)
    watching.watch.stopService()
    store.stopService()
    assert not store.kept
    assert (tmp_path / FILE).read_text() == "{"


def refuse(path: Path, target: Path) -> Path:
    raise PermissionError(errno.EACCES, "Permission denied", str(path))


def test_a_directory_that_cannot_be_made_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = StateStore(Clock(), lambda: 0.0, tmp_path / "file" / "state", {})
    with pytest.raises(StateError, match=r"state.directory: .* cannot be made \(Not a directory\): name another"):
        store.read()
