"""The systemd units pass systemd's own checks, and a real systemd runs them with all their restrictions.

The tests start systemd as the init process of new namespaces, with the machine's file system and a tmpfs for the
service's state. The only units that it finds are facaded's. The program is the one in /opt/facaded, installed as README
describes.
"""

import contextlib
import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
from attrs import define

from facaded.systemd import STOP_TIME
from tests.process.daemon import Registry, running, wait_until
from tests.several_processes import with_workers
from tests.tls.authority import Authority, pem, put

UNIT = Path(__file__).parents[2] / "systemd" / "facaded.service"
SOCKETS = {name: UNIT.with_name(f"facaded-{name}.socket") for name in ("http", "https")}
DROP_IN = UNIT.with_name("sockets.conf")
SYSUSERS = UNIT.with_suffix(".sysusers")
HOOK = Path(__file__).parents[2] / "conf" / "certbot-deploy-hook"
PROGRAM = Path("/opt/facaded/bin/facaded")
CONFIG = Path("/etc/facaded")
HOST = "127.0.0.9"
"""The address of the service, which listens on port 80 there and needs CAP_NET_BIND_SERVICE for it."""

SOCKET_HOST = "127.0.0.19"
"""The address of the .socket units in these tests: the machine's ports 80 and 443 may be in use."""

WATCHDOG = 2
"""Seconds of the watchdog in these tests."""

SETTINGS = """
repositories = ["org/*"]
[listen]
http = "tcp:80:interface={host}"
admin = "tcp:9180:interface={host}"
[health]
interval = "1s"
[[backend]]
name = "main"
url = "{url}"
"""

SOCKET_SETTINGS = """
repositories = ["org/*"]
[listen]
http = "systemd:http"
https = "systemd:https"
admin = []
[tls]
redirect_http = false
[limits]
exempt = ["127.0.0.0/8"]
[[backend]]
name = "main"
url = "{url}"
"""

TARGETS = ("sysinit", "basic", "shutdown", "network-online", "network", "umount")


@define
class Init:
    """A systemd that runs no service but facaded."""

    process: subprocess.Popen[bytes]
    pid: int

    def __call__(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the namespaces of this systemd."""
        nsenter = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--ipc", "--uts", "--cgroup"]
        return subprocess.run([*nsenter, *command], capture_output=True, text=True, timeout=60, check=False)

    def show(self, name: str) -> str:
        """Return a property of facaded.service."""
        return self("systemctl", "show", "--value", f"--property={name}", "facaded.service").stdout.strip()


def boot(directory: Path, files: Mapping[str, str], setup_command: str = "true") -> Init:
    """Start systemd with these units and drop-ins, and wait until it is up.

    `setup_command` runs before it, with a private copy of /etc.
    """
    units = directory / "units"
    for name, text in files.items():
        (units / name).parent.mkdir(parents=True, exist_ok=True)
        (units / name).write_text(text)
    for target in TARGETS:
        (units / f"{target}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    started = " ".join(name for name in files if "/" not in name)
    wants = f"Wants={started} network-online.target\nAfter={started}\n"
    (units / "boot.target").write_text(f"[Unit]\nDefaultDependencies=no\n{wants}")
    script = f"""
        cp -a /etc {directory}/own-etc && mount --bind {directory}/own-etc /etc && {setup_command} &&
        mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib && mkdir /run/units &&
        cp -r {units}/* /run/units/ && mount --bind {directory}/etc {CONFIG} &&
        exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH=/run/units \
            /lib/systemd/systemd --system --unit=boot.target --show-status=no --log-target=null
    """
    namespaces = ["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--uts", "--ipc", "--cgroup"]
    process = subprocess.Popen(["unshare", *namespaces, "bash", "-c", script])
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_until(lambda: children.read_text().strip(), "systemd starts")
    init = Init(process, int(children.read_text().split()[0]))
    wait_until(lambda: init("systemctl", "is-active", "boot.target").returncode == 0, "systemd is up", 30)
    return init


@pytest.fixture
def registry() -> Iterator[Registry]:
    registry = Registry("127.0.0.2").start()
    with running(registry):
        yield registry


@pytest.fixture
def init(needs: Callable[..., None], tmp_path: Path, registry: Registry) -> Iterator[Init]:
    with booted_systemd(needs, tmp_path, SETTINGS.format(host=HOST, url=registry.url)) as init:
        yield init


@pytest.fixture
def init_with_sockets(needs: Callable[..., None], tmp_path: Path, registry: Registry) -> Iterator[Init]:
    """A systemd that opens the ports, and watches facaded closely."""
    files = {
        "facaded.service.d/sockets.conf": DROP_IN.read_text(),
        "facaded.service.d/test.conf": f"[Service]\nWatchdogSec={WATCHDOG}\nStandardError=append:/run/facaded.log\n",
    }
    for name, port in (("http", 80), ("https", 443)):
        files[SOCKETS[name].name] = SOCKETS[name].read_text()
        address = f"[Socket]\nListenStream=\nListenStream={SOCKET_HOST}:{port}\n"
        files[f"{SOCKETS[name].name}.d/test.conf"] = address
    with booted_systemd(needs, tmp_path, SOCKET_SETTINGS.format(url=registry.url), files) as init:
        yield init


@contextlib.contextmanager
def booted_systemd(
    needs: Callable[..., None],
    tmp_path: Path,
    settings: str,
    files: Mapping[str, str] | None = None,
    setup_command: str = "true",
) -> Iterator[Init]:
    """Run a systemd with the unit of facaded, and with more units and drop-ins in `files`."""
    needs("/lib/systemd/systemd", "systemctl", "unshare", "nsenter", str(PROGRAM), root=True)
    (tmp_path / "etc").mkdir()
    tmp_path.chmod(0o755)
    (tmp_path / "etc" / "facaded.toml").write_text(with_workers(settings))
    created_config = not CONFIG.exists()
    CONFIG.mkdir(exist_ok=True)
    init = boot(tmp_path, {UNIT.name: UNIT.read_text(), **(files or {})}, setup_command)
    try:
        yield init
    finally:
        init.process.kill()
        init.process.wait()
        if created_config:
            CONFIG.rmdir()


def ping(url: str = f"http://{HOST}") -> dict[str, str]:
    """Request /v2/ as containerd does; return the headers of the response."""
    response = subprocess.run(
        ["curl", "-ksi", "-A", "containerd/2.1.9", f"{url}/v2/"], capture_output=True, text=True, check=True
    ).stdout
    return dict(re.findall(r"^([A-Za-z-]+): (.*?)\r?$", response, re.MULTILINE))


def test_the_unit_runs_under_all_its_restrictions(init: Init, registry: Registry) -> None:
    assert (init.show("ActiveState"), init.show("StatusText")) == ("active", "main is active")
    assert ping()["Location"] == f"{registry.url}/v2/"
    user = init("ps", "-o", "user=", "-p", init.show("MainPID")).stdout.strip()
    assert user == "facaded", "the dynamic user"
    process_status = init("cat", f"/proc/{init.show('MainPID')}/status").stdout
    assert re.search(r"^CapEff:\s+0000000000000400$", process_status, re.MULTILINE), "only CAP_NET_BIND_SERVICE"
    assert re.search(r"^NoNewPrivs:\s+1$", process_status, re.MULTILINE)
    assert re.search(r"^Seccomp:\s+2$", process_status, re.MULTILINE)
    metrics = subprocess.run(
        ["curl", "-s", f"http://{HOST}:9180/metrics"], capture_output=True, text=True, check=True
    ).stdout
    assert "process_resident_memory_bytes" in metrics, "although ProcSubset=pid hides /proc/stat"


def test_systemd_reloads_and_stops_it_and_shows_its_status(init: Init, registry: Registry, tmp_path: Path) -> None:
    registry.mode = "no-token"
    wait_until(lambda: "(token server: answered 500" in init.show("StatusText"), "STATUS=")
    settings = tmp_path / "etc" / "facaded.toml"
    valid_settings = settings.read_text()
    settings.write_text("bogus = 1")
    assert init("systemctl", "reload", "facaded.service").returncode != 0
    assert ping()["X-Facaded-Backend"] == "main"
    settings.write_text(valid_settings.replace('name = "main"', 'name = "renamed"'))
    assert init("systemctl", "reload", "facaded.service").returncode == 0
    assert ping()["X-Facaded-Backend"] == "renamed"
    status = init(str(PROGRAM), "status")
    assert status.stdout.splitlines()[3].startswith("renamed ")
    assert init("systemctl", "stop", "facaded.service").returncode == 0
    assert (init.show("Result"), init.show("ExecMainStatus")) == ("success", "0")
    assert '"renamed"' in init("cat", "/var/lib/facaded/state.json").stdout


def test_systemd_restarts_it_after_a_crash_but_not_with_invalid_settings(init: Init, tmp_path: Path) -> None:
    first_pid = init.show("MainPID")
    init("kill", "-9", first_pid)
    wait_until(
        lambda: init.show("MainPID") not in ("0", first_pid) and init.show("ActiveState") == "active", "restarted"
    )
    (tmp_path / "etc" / "facaded.toml").write_text("bogus = 1")
    init("systemctl", "restart", "facaded.service")
    wait_until(lambda: init.show("ActiveState") == "failed", "failed")
    assert (init.show("ExecMainStatus"), init.show("NRestarts")) == ("2", "0")


def test_its_group_can_read_the_key_that_the_deploy_hook_installs_and_renews(
    needs: Callable[..., None], tmp_path: Path, registry: Registry
) -> None:
    needs("systemd-sysusers", "curl")
    authority, name = Authority(), "docker.lab.test"
    (tmp_path / "root.pem").write_bytes(pem(authority.root))
    lineage = authority.write(tmp_path / "live" / name, name)
    https = f"""
        hosts = ["{name}"]
        [[tls.certificate]]
        chain = "/etc/facaded/tls/{name}/fullchain.pem"
        key = "/etc/facaded/tls/{name}/privkey.pem"
        [listen]
        https = "tcp:443:interface={HOST}"
    """
    settings = SETTINGS.format(host=HOST, url=registry.url).replace("[listen]", https)
    install = f"RENEWED_LINEAGE={tmp_path}/live/{name} RENEWED_DOMAINS={name} sh {HOOK}"
    with booted_systemd(needs, tmp_path, settings, setup_command=f"systemd-sysusers {SYSUSERS}") as init:
        assert init.show("ActiveState") == "active"
        init("sh", "-c", install)
        key = init("stat", "-c", "%A %U %G", f"/etc/facaded/tls/{name}/privkey.pem").stdout.strip()
        assert key == "-rw-r----- root facaded"
        curl_options = ["--resolve", f"{name}:443:{HOST}", "--cacert", f"{tmp_path}/root.pem"]

        def served_certificates() -> str:
            command = ["curl", "-sw", "%{certs}", *curl_options, f"https://{name}/v2/"]
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout

        wait_until(served_certificates, "the first certificate")
        first_certificates = served_certificates()
        put(lineage, *authority.issue(name))
        assert init("sh", "-c", install).returncode == 0
        wait_until(lambda: served_certificates() not in ("", first_certificates), "the renewed certificate", 5)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_with_socket_units_it_answers_without_any_privilege(
    init_with_sockets: Init, registry: Registry, scheme: str
) -> None:
    init = init_with_sockets
    assert ping(f"{scheme}://{SOCKET_HOST}")["Location"] == f"{registry.url}/v2/"
    process_status = init("cat", f"/proc/{init.show('MainPID')}/status").stdout
    assert re.search(r"^CapBnd:\s+0000000000000000$", process_status, re.MULTILINE), "no capability"
    users = init("cat", f"/proc/{init.show('MainPID')}/uid_map").stdout.splitlines()
    assert [line.split()[2] for line in users] == ["1", "1"], "it sees root and its own user"
    assert "no listener uses it" not in init("cat", "/run/facaded.log").stdout
    assert "notified" not in init("cat", "/run/facaded.log").stdout


REQUEST = b"GET /v2/ HTTP/1.1\r\nHost: h.test\r\nUser-Agent: containerd/2.1.9\r\nConnection: close\r\n\r\n"


def answer(delay: float = 0.0) -> str:
    """Return the status line that a new connection gets, or the error; it sends its request after `delay` seconds."""
    try:
        with socket.create_connection((SOCKET_HOST, 80), timeout=20) as connection:
            time.sleep(delay)
            connection.sendall(REQUEST)
            return connection.makefile("rb").readline().decode().strip()
    except OSError as error:
        return type(error).__name__


def has_more_than(answers: Sequence[str], number: int) -> bool:
    return len(answers) > number


def test_with_socket_units_no_connection_is_refused_during_restarts(init_with_sockets: Init) -> None:
    """Clients connect again and again, and are answered each time, those on a slow network too."""
    init, answers, done = init_with_sockets, list[str](), threading.Event()

    def connect(delay: float) -> None:
        while not done.is_set():
            answers.append(answer(delay))

    clients = [threading.Thread(target=connect, args=(delay,)) for delay in (0, 0, 0.05, 0.05, 0.05)]
    for client in clients:
        client.start()
    try:
        pids = [init.show("MainPID")]
        for _ in range(3):
            assert init("systemctl", "restart", "facaded.service").returncode == 0
            pids.append(init.show("MainPID"))
            answered = len(answers)
            wait_until(partial(has_more_than, answers, answered + 10), "they are answered after the restart")
    finally:
        done.set()
        for client in clients:
            client.join()
    assert len({*pids}) == 4
    assert {*answers} == {"HTTP/1.1 307 Temporary Redirect"}, f"{len(answers)} answers"


def test_systemd_restarts_it_if_its_reactor_does_not_turn(init_with_sockets: Init) -> None:
    init = init_with_sockets
    pid = init.show("MainPID")
    assert (init.show("ActiveState"), init.show("NRestarts")) == ("active", "0")
    init("kill", "-STOP", pid)
    wait_until(lambda: init.show("Result") == "watchdog", "the watchdog ends it", 3 * WATCHDOG)
    assert answer() == "HTTP/1.1 307 Temporary Redirect", "the connection waits for the restart"
    assert init.show("MainPID") not in ("0", pid)
    wait_until(lambda: init.show("ActiveState") == "active", "restarted")
    assert init.show("NRestarts") == "1"
    log = init("cat", "/run/facaded.log").stdout
    assert re.search(r'Fatal Python error: Aborted(.*\n)+  File "\S+/internet/base.py", line', log), "where it was"


def test_a_turning_reactor_is_not_restarted(init_with_sockets: Init) -> None:
    init = init_with_sockets
    pid = init.show("MainPID")
    first = init.show("WatchdogTimestampMonotonic")
    wait_until(lambda: int(init.show("WatchdogTimestampMonotonic")) > int(first) + WATCHDOG * 2_000_000, "two times")
    assert (init.show("MainPID"), init.show("NRestarts")) == (pid, "0")


def processes(init: Init) -> list[str]:
    """Return the processes of the service."""
    return init("ps", "-u", "facaded", "-o", "pid=").stdout.split()


def workers_that_answer(init: Init) -> int:
    """Return how many processes answer clients, by the status."""
    status = init(str(PROGRAM), "status", "--json")
    return sum(worker["state"] == "up" for worker in json.loads(status.stdout)["workers"]) if status.stdout else 0


@pytest.fixture
def init_with_workers(needs: Callable[..., None], tmp_path: Path, registry: Registry) -> Iterator[Init]:
    """A systemd whose facaded has two processes."""
    settings = f"workers = 2\n{SETTINGS.format(host=HOST, url=registry.url)}"
    with booted_systemd(needs, tmp_path, settings) as init:
        wait_until(lambda: workers_that_answer(init) == 2, "both processes answer")
        yield init


def test_the_service_stays_active_when_its_first_process_is_killed_and_then_reloads_and_stops(
    init_with_workers: Init, registry: Registry, tmp_path: Path
) -> None:
    init = init_with_workers
    first_pid = init.show("MainPID")
    init("kill", "-9", first_pid)
    states = set[str]()

    def replaced() -> bool:
        states.add(init.show("ActiveState"))
        return init.show("MainPID") not in ("0", first_pid) and workers_that_answer(init) == 2

    wait_until(replaced, "another first process")
    assert states == {"active"}
    assert init.show("NRestarts") == "0"
    assert ping()["Location"] == f"{registry.url}/v2/"
    settings = tmp_path / "etc" / "facaded.toml"
    settings.write_text(settings.read_text().replace('name = "main"', 'name = "renamed"'))
    new_pid = init.show("MainPID")
    assert init("systemctl", "reload", "facaded.service").returncode == 0
    wait_until(lambda: ping()["X-Facaded-Backend"] == "renamed", "reloaded")
    assert (init.show("ActiveState"), init.show("MainPID"), init.show("NRestarts")) == ("active", new_pid, "0")
    began = time.monotonic()
    assert init("systemctl", "stop", "facaded.service").returncode == 0
    assert time.monotonic() - began < STOP_TIME, "systemd had to kill nothing"
    assert (init.show("ActiveState"), init.show("Result"), processes(init)) == ("inactive", "success", [])


def test_the_service_restarts_when_all_of_its_processes_are_killed(init_with_workers: Init) -> None:
    init = init_with_workers
    killed = processes(init)
    init("kill", "-9", *killed)
    wait_until(
        lambda: init.show("ActiveState") == "active" and len({*processes(init)} - {*killed}) == 2, "started again"
    )
    assert init.show("NRestarts") == "1"


UNITS = [UNIT, *SOCKETS.values()]


def copied(directory: Path, *, with_drop_in: bool = False) -> list[Path]:
    """Copy the units to a directory, with a program that exists on every machine."""
    copies = [directory / unit.name for unit in UNITS]
    for unit, copy in zip(UNITS, copies, strict=True):
        copy.write_text(unit.read_text().replace(str(PROGRAM), "/bin/true"))
    if with_drop_in:
        (directory / "facaded.service.d").mkdir()
        (directory / "facaded.service.d" / DROP_IN.name).write_text(DROP_IN.read_text())
    return copies


@pytest.mark.parametrize("with_drop_in", [False, True])
def test_systemd_analyze_finds_no_fault_in_the_units(
    needs: Callable[..., None], tmp_path: Path, with_drop_in: bool
) -> None:
    needs("systemd-analyze")
    command = ["systemd-analyze", "verify", *map(str, copied(tmp_path, with_drop_in=with_drop_in))]
    verification = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (verification.returncode, verification.stdout + verification.stderr) == (0, "")


@pytest.mark.parametrize(("with_drop_in", "most"), [(False, 1.6), (True, 1.3)])
def test_systemd_analyze_rates_the_exposure_of_the_unit_as_low(
    needs: Callable[..., None], tmp_path: Path, with_drop_in: bool, most: float
) -> None:
    needs("systemd-analyze")
    unit, *_ = copied(tmp_path, with_drop_in=with_drop_in)
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(unit)]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    exposure = re.search(r"Overall exposure level for facaded.service: ([\d.]+)", report)
    assert exposure is not None
    assert float(exposure[1]) <= most
