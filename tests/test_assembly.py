"""The daemon assembled in memory: its parts start and stop in order, and a reload changes everything or nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from facaded.admin.commands import ReloadResult
from facaded.answering_parts import make_admission_settings, make_operator_admission, prepare_limits
from facaded.backends.quotas import Quotas
from facaded.backends.reached_limits import ReachedLimits
from facaded.backends.shares import Shares
from facaded.backends.watch import Watch
from facaded.config.cores import usable_cores
from facaded.config.loading import Loaded, load
from facaded.config.sections import Config, StateSettings, TlsSettings
from facaded.config.settings_error import SettingsError
from facaded.listeners import Listeners, StartError, endpoints
from facaded.net.descriptors import CLIENT_CONNECTIONS, available
from facaded.net.resolver import Resolver
from facaded.parts import changed_listeners
from facaded.policy.limits import BURST, Limits
from facaded.reload import Reloader
from facaded.service import Daemon, makeService
from facaded.state import StateStore
from facaded.swaps import Swap
from facaded.tls.termination import Termination
from facaded.web.admission import Admission
from facaded.web.unsent_bytes import UnsentBytes

SETTINGS = """
repositories = ["org/*"]
hosts = ["docker.lab.test"]
{more}
[listen]
http = "tcp:18080:interface=127.0.0.1"
admin = "tcp:19180:interface=127.0.0.1"
control = "unix:{directory}/control.sock"
[state]
directory = "{directory}/state"
[[backend]]
name = "main"
url = "http://127.0.0.2:5000"
"""

TLS = """
[tls]
[[tls.certificate]]
chain = "{directory}/chain.pem"
key = "{directory}/key.pem"
"""


class Reactor(MemoryReactorClock):
    """A reactor in memory with a thread pool that has no threads."""

    def __init__(self) -> None:
        super().__init__()
        self.installNameResolver(Resolver(self, lambda work, *arguments: work(*arguments)))

    def getThreadPool(self) -> ThreadPool:
        return ThreadPool(0, 1)


@define
class Part(Service):
    """Notes its start and its stop, which lasts until `ended`."""

    name: str
    notes: list[str]
    ended: Deferred[None] | None = None

    def privilegedStartService(self) -> None:
        self.notes.append(f"{self.name} listens")

    def startService(self) -> None:
        self.notes.append(f"{self.name} starts")

    def stopService(self) -> Deferred[None] | None:
        self.notes.append(f"{self.name} stops")
        return self.ended


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """The warnings in the log so far."""
    written: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_level"] is LogLevel.warn:
            written.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield written
    globalLogPublisher.removeObserver(observe)


def loaded(directory: Path, more: str = "") -> Loaded:
    path = directory / "facaded.toml"
    tls = TLS.format(directory=directory) if more == "tls" else ""
    path.write_text(SETTINGS.format(directory=directory, more="") + tls)
    return load(path, None, {}, MemoryReactorClock())


def test_parts_start_in_order_and_stop_one_after_the_other_in_reverse_order() -> None:
    notes: list[str] = []
    slow: Deferred[None] = Deferred()
    daemon = Daemon(*(Part(name, notes, slow if name == "b" else None) for name in "abc"))
    daemon.privilegedStartService()
    daemon.startService()
    assert notes == ["a listens", "b listens", "c listens", "a starts", "b starts", "c starts"]
    notes.clear()
    stopped = daemon.stopService()
    assert notes == ["c stops", "b stops"], "a is stopped after b"
    slow.callback(None)
    assert notes == ["c stops", "b stops", "a stops"]
    assert stopped.called


def test_a_part_that_fails_to_stop_is_logged_and_the_others_are_stopped(no_errors_are_logged: list[LogEvent]) -> None:
    notes: list[str] = []
    daemon = Daemon(*(Part(name, notes, fail(ValueError("broken")) if name == "c" else None) for name in "abc"))
    assert daemon.stopService().called
    assert notes == ["c stops", "b stops", "a stops"]
    assert len(no_errors_are_logged) == 1
    no_errors_are_logged.clear()


@pytest.mark.parametrize("tls", ["", "tls"])
def test_a_part_starts_before_those_that_need_it(tmp_path: Path, tls: str) -> None:
    def never() -> Loaded:
        raise AssertionError("not reloaded")

    reactor: Any = Reactor()
    daemon = makeService(loaded(tmp_path, tls), reactor, never, {})
    kinds = [type(child) for child in daemon]
    assert [kind.__name__ for kind in kinds if kind in (StateStore, Termination, Watch, Listeners)] == [
        "StateStore",
        *(["Termination"] if tls else []),
        "Watch",
        "Listeners",
    ]
    assert [kind.__name__ for kind in (*kinds[:2], kinds[-1])] == ["Watchdog", "Announcer", "Supervision"]


def test_a_listener_that_cannot_be_opened_leaves_none_open(tmp_path: Path) -> None:
    reactor: Any = Reactor()
    daemon = makeService(loaded(tmp_path), reactor, lambda: loaded(tmp_path), {})
    opened: list[str] = []

    @define
    class Port:
        name: str

        def stopListening(self) -> None:
            opened.remove(self.name)

    def listen(name: str, error: Exception | None = None) -> Callable[..., Port]:
        def listening(*_: Any, **__: Any) -> Port:
            if error is not None:
                raise error
            opened.append(name)
            return Port(name)

        return listening

    reactor.listenTCP, reactor.listenUNIX = listen("tcp"), listen("unix", OSError(13, "Permission denied"))
    with pytest.raises(StartError, match=r"^listen\.control: unix:.*: not permitted"):
        daemon.privilegedStartService()
    assert opened == []


def test_a_reload_changes_the_limits_of_clients_and_none_of_operators(
    tmp_path: Path, no_errors_are_logged: list[LogEvent]
) -> None:
    reactor: Any = Reactor()
    before, limited = loaded(tmp_path), Limits(new_connections_per_source=1)
    after = evolve(before, config=evolve(before.config, limits=limited))
    reached = ReachedLimits(reactor)
    admission = Admission(reactor, reached, make_admission_settings(before.config))
    operators = make_operator_admission(reactor, after.config, reached)
    shares = Shares(reactor, Limits(), Quotas(reactor), reached)
    prepare_limits(admission, UnsentBytes(Limits(), reached), shares)(after)()
    assert [admission.admits("192.0.2.7") for _ in range(BURST + 1)] == [True] * BURST + [False]
    assert all(operators.admits("192.0.2.7") for _ in range(3 * BURST))


def test_more_connections_than_the_descriptors_allow_are_lowered_with_a_warning(
    tmp_path: Path, warnings: list[str]
) -> None:
    config = loaded(tmp_path).config
    automatic = make_admission_settings(config).connections
    assert warnings == []
    assert make_admission_settings(evolve(config, limits=Limits(connections=1))).connections == 1
    allowed = make_admission_settings(evolve(config, limits=Limits(connections=1 << 30))).connections
    assert automatic <= allowed < available()
    (warning,) = warnings
    assert warning.startswith(f"limits.connections: {1 << 30} is lowered to {allowed}, because this process may open ")


@pytest.mark.skipif(available() < 2 * CLIENT_CONNECTIONS, reason="this process may open too few files")
def test_more_connections_than_the_default_can_be_set(tmp_path: Path, warnings: list[str]) -> None:
    config = loaded(tmp_path).config
    assert make_admission_settings(config).connections == CLIENT_CONNECTIONS
    more = evolve(config, limits=Limits(connections=CLIENT_CONNECTIONS + 1))
    assert make_admission_settings(more).connections == CLIENT_CONNECTIONS + 1
    assert warnings == []


@define
class Settings:
    """A part that applies settings, or refuses them."""

    current: str = "before"
    refuses: bool = False
    swaps: list[str] = field(factory=list)

    def prepare(self, loaded: Loaded) -> Swap:
        if self.refuses:
            raise SettingsError([f"{loaded.source}: state.directory: it cannot be written"])

        def swap() -> None:
            self.current = loaded.source

        return swap


@pytest.mark.parametrize("refusing", [0, 1, 2])
def test_a_part_that_cannot_be_prepared_leaves_all_parts_unchanged(
    tmp_path: Path, refusing: int, no_errors_are_logged: list[LogEvent]
) -> None:
    before = loaded(tmp_path)
    parts = [Settings() for _ in range(3)]
    calls: list[str] = []
    new = evolve(before, source="after")
    reloader = Reloader(
        before,
        lambda: new,
        lambda: calls.append("begin"),
        lambda: calls.append("end"),
        lambda settings: (f"{settings.source} needs a restart",),
    )
    for part in parts:
        reloader.add(part.prepare)
    parts[refusing].refuses = True
    assert reloader.reload() == ReloadResult(("after: state.directory: it cannot be written",))
    assert [part.current for part in parts] == ["before"] * 3
    assert reloader.loaded is before
    assert calls == ["begin", "end"]
    assert len(no_errors_are_logged) == 1
    no_errors_are_logged.clear()
    parts[refusing].refuses = False
    assert reloader.reload() == ReloadResult(warnings=("after needs a restart",))
    assert [part.current for part in parts] == ["after"] * 3
    assert reloader.loaded is new


@pytest.mark.parametrize(
    ("setting", "new", "keys"),
    [
        ("tcp:18080", "tcp:18081", ["listen.http"]),
        ("tcp:19180", "tcp:19181", ["listen.admin"]),
        ("/control.sock", "/other.sock", ["listen.control"]),
        ("[state]", 'admin_hosts = ["monitor.test"]\n[state]', []),
        ('name = "main"', 'name = "other"', []),
    ],
)
def test_a_listener_that_the_new_settings_change_needs_a_restart(
    tmp_path: Path, setting: str, new: str, keys: list[str]
) -> None:
    opened = loaded(tmp_path)
    path = tmp_path / "facaded.toml"
    path.write_text(path.read_text().replace(setting, new))
    changed = changed_listeners(opened.config, tuple(endpoints(opened.config, {})), {})
    assert changed(load(path, None, {}, MemoryReactorClock())) == tuple(
        f"{key} changed: listeners change only at a restart; restart facaded" for key in keys
    )


def test_another_directory_for_certificates_needs_a_restart(tmp_path: Path) -> None:
    opened = evolve(Config(), tls=TlsSettings(), state=StateSettings(tmp_path, tmp_path / "one"))
    settings = Loaded(evolve(opened, state=StateSettings(tmp_path, tmp_path / "two")), "after")
    assert changed_listeners(opened, tuple(endpoints(opened, {})), {})(settings) == (
        "the directory of [tls.acme] changed: it changes only at a restart; restart facaded",
    )


def test_another_number_of_processes_needs_a_restart() -> None:
    opened = Config(workers=usable_cores() + 1)
    changed = changed_listeners(opened, tuple(endpoints(opened, {})), {})
    assert changed(Loaded(opened, "same")) == ()
    assert changed(Loaded(Config(workers=None), "after")) == (
        f"workers changed from {usable_cores() + 1} to {usable_cores()}: their number changes only at a restart; "
        "restart facaded",
    )


def test_a_number_of_processes_that_is_that_of_the_cores_needs_none() -> None:
    changed = changed_listeners(Config(workers=None), tuple(endpoints(Config(), {})), {})
    assert changed(Loaded(Config(workers=usable_cores()), "after")) == ()


def test_a_control_socket_in_another_state_directory_needs_a_restart_too(tmp_path: Path) -> None:
    opened = evolve(Config(), state=StateSettings(tmp_path / "one"))
    settings = Loaded(evolve(opened, state=StateSettings(tmp_path / "two")), "after")
    (warning,) = changed_listeners(opened, tuple(endpoints(opened, {})), {})(settings)
    assert warning.startswith("listen.control changed")
