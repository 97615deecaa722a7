"""The state file: written atomically, read back, and set aside if it cannot be read."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from facaded.files import SET_ASIDE
from facaded.policy.failover import ActiveBackend
from facaded.policy.health import (
    LONGEST_RETRY_AFTER,
    NO_SAMPLES,
    Damping,
    Degradation,
    Health,
    Purpose,
    Rank,
    Result,
    State,
    Step,
    Verdict,
)
from facaded.policy.overrides import LONGEST, Override, Overrides
from facaded.policy.plan import Identity
from facaded.policy.samples import Count
from facaded.policy.watch_state import FORGOTTEN, WatchState
from facaded.state import FILE, Clocks, StateError, StateStore, read, write
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
    damping=Damping(300.0, 2),
    limit_damping=Damping(200.0, 1),
)
WATCH_STATE = WatchState(
    {"hub": DOWN, "ghcr": Health(State.UP, 100.0)},
    {(("hub", "ghcr"), Purpose.REDIRECT): ActiveBackend("ghcr", 410.0)},
    Overrides(pins={"ghcr": Override(450.0, 7650.0)}, drains={"hub": Override(420.0)}),
    last_ping_target="https://ghcr.test/v2/",
    ping_target_changed_at=410.0,
)


def test_the_state_is_read_back_with_the_clock_of_another_boot(tmp_path: Path) -> None:
    write(tmp_path, WATCH_STATE, URLS, THEN)
    saved = read(tmp_path, URLS, LATER)
    assert saved.warning is None
    assert saved.watch_state is not None
    assert saved.watch_state.healths["hub"] == evolve(
        DOWN, since=-153.0, failed_at=-63.0, damping=Damping(-253.0, 2), limit_damping=Damping(-353.0, 1)
    )
    assert saved.watch_state.healths["ghcr"] == Health(State.UNKNOWN, -453.0)
    assert saved.watch_state.overrides == Overrides({"ghcr": Override(-103.0, 7097.0)}, {"hub": Override(-133.0)})
    assert saved.watch_state.last_ping_target == "https://ghcr.test/v2/"
    assert saved.watch_state.active == {(("hub", "ghcr"), Purpose.REDIRECT): ActiveBackend("ghcr", -143.0)}
    assert saved.watch_state.ping_target_changed_at == -143.0


def test_a_brown_out_a_retry_after_and_the_last_fetch_of_the_manifest_are_read_back(tmp_path: Path) -> None:
    degraded = Degradation(450.0, Step.CDN, Count(8, 6, 600.0))
    samples = NO_SAMPLES.add(Step.CDN, 450.0, 8, 6)
    health = Health(State.UP, 100.0, degraded=degraded, samples=samples, retry_at=800.0, body_at=300.0)
    write(tmp_path, evolve(WATCH_STATE, healths={"hub": health}), URLS, THEN)
    saved = read(tmp_path, URLS, LATER).watch_state
    assert saved is not None
    assert saved.healths["hub"] == Health(
        State.UNKNOWN, -453.0, degraded=evolve(degraded, since=-103.0), retry_at=247.0, body_at=-253.0
    )
    assert saved.healths["hub"].rank is Rank.UNKNOWN


@pytest.mark.parametrize(("retry_at", "rest"), [(800.0, 240.0), (400.0, 0.0), (1e6, LONGEST_RETRY_AFTER)])
def test_a_backend_rests_no_longer_than_it_asked_to(tmp_path: Path, retry_at: float, rest: float) -> None:
    write(tmp_path, evolve(WATCH_STATE, healths={"hub": Health(State.UP, 100.0, retry_at=retry_at)}), URLS, THEN)
    saved = read(tmp_path, URLS, LATER).watch_state
    assert saved is not None
    health = saved.healths["hub"]
    assert health.is_resting(LATER.monotonic) is (rest > 0)
    assert health.retry_at is not None
    assert max(health.retry_at - LATER.monotonic, 0.0) == rest


NEW_KEYS = ("limit_back", "limit_relapses", "degraded", "body", "retry")
"""Keys that the earlier version did not write, and does not read."""

EARLIER_FILE = """{
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
"""The file that an earlier version wrote for `WATCH_STATE` at `THEN`."""


def test_the_state_file_of_an_earlier_version_is_read_and_written_unchanged(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(EARLIER_FILE)
    saved = read(tmp_path, URLS, THEN)
    assert saved.warning is None
    healths = {"hub": evolve(DOWN, limit_damping=Damping()), "ghcr": Health(State.UNKNOWN, 100.0)}
    assert saved.watch_state == evolve(WATCH_STATE, healths=healths)
    write(tmp_path, WATCH_STATE, URLS, THEN)
    written = (tmp_path / FILE).read_text()
    document = json.loads(written)
    for backend in document["backends"].values():
        for key in NEW_KEYS:
            del backend[key]
    assert document == json.loads(EARLIER_FILE), "an earlier version reads what it wrote"


def test_a_wrong_clock_makes_no_time_lie_in_the_future(tmp_path: Path) -> None:
    write(tmp_path, WATCH_STATE, URLS, evolve(THEN, wall=4e9))
    saved = read(tmp_path, URLS, LATER)
    assert saved.watch_state is not None
    assert saved.watch_state.healths["hub"].since == LATER.monotonic


def test_a_backend_with_a_new_url_starts_without_a_state(tmp_path: Path) -> None:
    write(tmp_path, WATCH_STATE, URLS, THEN)
    saved = read(tmp_path, {**URLS, "hub": Identity("https://other.test", "org/app:latest")}, THEN)
    assert saved.watch_state is not None
    assert set(saved.watch_state.healths) == {"ghcr"}
    saved = read(tmp_path, {"hub": URLS["hub"]}, THEN)
    assert saved.watch_state is not None
    assert saved.watch_state.active == {}


def test_a_new_canary_counts_as_not_seen(tmp_path: Path) -> None:
    write(tmp_path, WATCH_STATE, URLS, THEN)
    saved = read(tmp_path, {**URLS, "hub": Identity("https://hub.test", "org/typo:latest")}, THEN)
    assert saved.watch_state is not None
    health = saved.watch_state.healths["hub"]
    assert (health.state, health.canary_seen, health.deepest_failed_step) == (State.DOWN, False, None)


RENAMED = {"main": URLS["hub"], "second": URLS["ghcr"]}
SWAPPED = {"ghcr": URLS["hub"], "hub": URLS["ghcr"]}


@pytest.mark.parametrize(("backends", "hub", "ghcr"), [(RENAMED, "main", "second"), (SWAPPED, "ghcr", "hub")])
def test_the_state_follows_a_backend_that_was_renamed_before_the_restart(
    tmp_path: Path, backends: dict[str, Identity], hub: str, ghcr: str
) -> None:
    write(tmp_path, WATCH_STATE, URLS, THEN)
    saved = read(tmp_path, backends, THEN)
    assert saved.watch_state == WatchState(
        {hub: DOWN, ghcr: Health(State.UNKNOWN, 100.0)},
        {((hub, ghcr), Purpose.REDIRECT): ActiveBackend(ghcr, 410.0)},
        Overrides(pins={ghcr: Override(450.0, 7650.0)}, drains={hub: Override(420.0)}),
        last_ping_target="https://ghcr.test/v2/",
        ping_target_changed_at=410.0,
    )


def test_no_override_passes_to_another_url_under_the_same_name(tmp_path: Path) -> None:
    write(tmp_path, WATCH_STATE, URLS, THEN)
    saved = read(tmp_path, {"hub": URLS["ghcr"], "ghcr": Identity("https://other.test")}, THEN)
    assert saved.watch_state is not None
    assert saved.watch_state.overrides == Overrides(pins={"hub": Override(450.0, 7650.0)})


def test_an_override_ends_in_time_although_the_daemon_was_stopped(tmp_path: Path) -> None:
    write(tmp_path, WATCH_STATE, URLS, THEN)
    saved = read(tmp_path, URLS, Clocks(THEN.wall + 7200, monotonic=0.0))
    assert saved.watch_state is not None
    assert saved.watch_state.overrides.in_force(URLS, now=0.0) == Overrides({}, {"hub": Override(-7280.0)})


def test_a_wrong_clock_does_not_lengthen_an_override(tmp_path: Path) -> None:
    write(tmp_path, WATCH_STATE, URLS, evolve(THEN, wall=4e9))
    saved = read(tmp_path, URLS, LATER)
    assert saved.watch_state is not None
    assert saved.watch_state.overrides.pins["ghcr"].until == LATER.monotonic + 7200
    (tmp_path / FILE).write_text(
        json.dumps({**EMPTY, "pins": {"hub": {"since": 1, "until": 4e9}}, "backends": {"hub": BACKEND}})
    )
    saved = read(tmp_path, URLS, LATER)
    assert saved.watch_state is not None
    assert saved.watch_state.overrides.pins["hub"].until == LATER.monotonic + LONGEST


def test_the_reason_of_an_override_is_read_back_without_what_is_not_printable(tmp_path: Path) -> None:
    pinned = evolve(WATCH_STATE, overrides=Overrides({"ghcr": Override(450.0, reason="ticket 4711")}))
    write(tmp_path, pinned, URLS, THEN)
    document = read_document(tmp_path)
    assert document["pins"]["ghcr"]["reason"] == "ticket 4711"
    for stored, expected in ((document["pins"]["ghcr"]["reason"], "ticket 4711"), ("\x1b[2J" + "a" * 300, "?[2J")):
        document["pins"]["ghcr"]["reason"] = stored
        (tmp_path / FILE).write_text(json.dumps(document))
        saved = read(tmp_path, URLS, THEN)
        assert saved.watch_state is not None
        reason = saved.watch_state.overrides.pins["ghcr"].reason
        assert reason.startswith(expected)
        assert len(reason) <= 200


def test_a_state_written_with_a_wrong_clock_can_be_read(tmp_path: Path) -> None:
    write(tmp_path, WATCH_STATE, URLS, evolve(THEN, wall=0.0))
    assert read(tmp_path, URLS, LATER).warning is None


def test_without_a_file_there_is_no_warning(tmp_path: Path) -> None:
    assert read(tmp_path, URLS, THEN).warning is None


EMPTY = {"version": 2, "charges": [], "pinged": None, "changed": 1, "pins": {}, "drains": {}, "backends": {}}
VALID = json.dumps(EMPTY)
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
DEGRADED = {"since": 1, "step": "blob", "sent": 8, "failed": 6, "window": 60.0}


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
    VALID.replace('"version": 2', '"version": 1').encode(),
    VALID.replace('"changed": 1', '"changed": NaN').encode(),
    VALID.replace("[]", '[{"route": 5}]').encode(),
    VALID.replace("[]", "5").encode(),
    VALID.replace('"pinged": null', '"pinged": 5').encode(),
    odd_backend(state="odd"),
    odd_backend(since=float("inf")),
    odd_backend(since=-7e10),
    odd_backend(back="yesterday"),
    odd_backend(relapses=10**9),
    odd_backend(relapses=True),
    odd_backend(hurdle="odd"),
    odd_backend(limit_relapses=-1),
    odd_backend(limit_back="yesterday"),
    odd_backend(retry=float("nan")),
    odd_backend(body=float("inf")),
    *(
        odd_backend(degraded={**DEGRADED, **odd})
        for odd in ({"since": None}, {"step": "odd"}, {"sent": -1}, {"failed": True}, {"window": float("inf")})
    ),
    odd_backend(degraded={"since": 1}),
    odd_backend(degraded=5),
    json.dumps({**EMPTY, "pins": {"hub": OVERRIDE, "ghcr": OVERRIDE}}).encode(),
    json.dumps({**EMPTY, "pins": {"hub": OVERRIDE}, "drains": {"hub": OVERRIDE}}).encode(),
    json.dumps({**EMPTY, "drains": {"hub": {"since": 1}}}).encode(),
    json.dumps({**EMPTY, "drains": {"hub": {"since": 1, "until": float("nan")}}}).encode(),
    json.dumps({**EMPTY, "drains": ["hub"]}).encode(),
    b"x" * (2 << 20),
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_set_aside_and_not_overread_document(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / FILE).write_bytes(garbage)
    saved = read(tmp_path, URLS, THEN)
    assert saved.watch_state == WatchState({}, {}, last_ping_target=FORGOTTEN)
    assert saved.writable
    assert saved.warning is not None
    assert "set aside" in saved.warning
    write(tmp_path, WATCH_STATE, URLS, THEN)
    aside = [path for path in tmp_path.iterdir() if "unreadable" in path.name]
    assert [path.read_bytes() for path in aside] == [garbage]
    saved = read(tmp_path, URLS, THEN)
    assert saved.watch_state is not None
    assert saved.watch_state.healths["hub"] == DOWN


def test_the_state_that_the_garbage_is_derived_from_is_valid(tmp_path: Path) -> None:
    for valid in (VALID.encode(), odd_backend()):
        (tmp_path / FILE).write_bytes(valid)
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
def test_no_content_of_the_file_raises(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    assert read(tmp_path, URLS, THEN).warning
    for path in tmp_path.iterdir():
        path.unlink()


def test_a_file_that_cannot_be_set_aside_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    for _ in range(SET_ASIDE):
        assert read(tmp_path, URLS, THEN).writable
        (tmp_path / FILE).mkdir()
    saved = read(tmp_path, URLS, THEN)
    assert not saved.writable
    assert saved.warning is not None
    assert "it cannot be set aside" in saved.warning
    assert len(list(tmp_path.iterdir())) > SET_ASIDE
    assert (tmp_path / FILE).exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_regular_file_is_set_aside_without_waiting(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / FILE)
    saved = read(tmp_path, URLS, THEN)
    assert saved.writable
    assert saved.warning is not None
    assert saved.warning.partition("cannot be read ")[2].startswith(
        ("(not a regular file): set", "(Is a directory): set")
    )
    write(tmp_path, WATCH_STATE, URLS, THEN)
    assert read(tmp_path, URLS, THEN).warning is None


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    write(tmp_path, WATCH_STATE, URLS, THEN)
    before = (tmp_path / FILE).read_bytes()
    (tmp_path / f"{FILE}.new").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        write(tmp_path, WATCH_STATE, URLS, LATER)
    assert (tmp_path / FILE).read_bytes() == before


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    write(tmp_path / "new", WATCH_STATE, URLS, THEN)
    assert (tmp_path / "new" / FILE).stat().st_mode & 0o077 == 0
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0


IDENTITIES = {"hub": Identity("https://hub.test"), "ghcr": Identity("https://ghcr.test")}


def started_store(directory: Path, watching: Watching) -> StateStore:
    """Return a store that has read the directory and follows a watch."""
    store = StateStore(watching.clock, watching.clock.seconds, directory, IDENTITIES)
    store.read()
    store.follow(watching.watch)
    store.startService()
    return store


def read_document(directory: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((directory / FILE).read_text())
    return document


def test_the_state_is_written_after_every_change_and_after_the_first_round(tmp_path: Path) -> None:
    watching = Watching.begin("hub", "ghcr")
    store = started_store(tmp_path / "new", watching)
    assert list((tmp_path / "new").iterdir()) == []
    watching.backends.answer("hub", BAD)
    assert read_document(tmp_path / "new")["backends"]["hub"]["state"] == "down"
    assert read_document(tmp_path / "new")["pinged"] is None
    watching.backends.answer("ghcr", BAD)
    assert read_document(tmp_path / "new")["pinged"] == "hub"
    watching.watch.pin("ghcr", None)
    assert list(read_document(tmp_path / "new")["pins"]) == ["ghcr"]
    assert store.saved


def test_the_latest_state_is_written_when_the_store_stops(tmp_path: Path) -> None:
    watching = Watching.begin("hub")
    store = started_store(tmp_path, watching)
    watching.backends.answer("hub", BAD)
    watching.advance(30)
    watching.backends.answer("hub", evolve(BAD, reason="connection reset"))  # still down: no change
    assert read_document(tmp_path)["backends"]["hub"]["failed"]["words"] == "connection refused"
    watching.watch.stopService()
    store.stopService()
    assert read_document(tmp_path)["backends"]["hub"]["failed"]["words"] == "connection reset"


def test_a_new_plan_is_written_to_the_new_directory_with_the_new_backends(tmp_path: Path) -> None:
    watching = Watching.begin("hub")
    store = started_store(tmp_path / "old", watching)
    watching.backends.answer("hub", GOOD)
    store.reconfigure(tmp_path / "new", {"hub": IDENTITIES["hub"], "quay": Identity("https://quay.test")})
    watching.watch.reconfigure(watching.backends.plan("hub", "quay"))
    assert list(read_document(tmp_path / "old")["backends"]) == ["hub"]
    assert read_document(tmp_path / "new")["backends"]["quay"]["url"] == "https://quay.test"


def test_a_plan_that_changes_no_state_is_written_too(tmp_path: Path) -> None:
    watching = Watching.begin("hub")
    store = started_store(tmp_path, watching)
    watching.backends.answer("hub", GOOD)
    store.reconfigure(tmp_path, {"hub": Identity("https://elsewhere.test")})
    watching.watch.reconfigure(watching.backends.plan("hub"))
    assert read_document(tmp_path)["backends"]["hub"]["url"] == "https://elsewhere.test"


def test_kept_is_false_until_the_state_can_be_written_again(tmp_path: Path) -> None:
    watching = Watching.begin("hub")
    store = started_store(tmp_path, watching)
    (tmp_path / f"{FILE}.new").mkdir()
    watching.backends.answer("hub", GOOD)
    assert not store.saved
    (tmp_path / f"{FILE}.new").rmdir()
    watching.watch.drain("hub", None)
    assert store.saved
    assert list(read_document(tmp_path)["drains"]) == ["hub"]


def test_a_state_file_that_can_neither_be_read_nor_set_aside_is_never_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FILE).write_text("{")
    monkeypatch.setattr(Path, "rename", fail_to_rename)
    watching = Watching.begin("hub")
    store = started_store(tmp_path, watching)
    assert not store.saved
    watching.backends.answer("hub", GOOD)
    watching.watch.stopService()
    store.stopService()
    assert not store.saved
    assert (tmp_path / FILE).read_text() == "{"


def fail_to_rename(path: Path, target: Path) -> Path:
    raise PermissionError(errno.EACCES, "Permission denied", str(path))


def test_a_directory_that_cannot_be_created_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = StateStore(Clock(), lambda: 0.0, tmp_path / "file" / "state", {})
    with pytest.raises(StateError, match=r"state.directory: .* cannot be created \(Not a directory\): choose"):
        store.read()
