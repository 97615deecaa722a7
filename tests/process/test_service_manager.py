"""What systemd gets from a daemon and gives to it: messages to NOTIFY_SOCKET, and sockets that are already open.

The sockets are passed as systemd passes them (sd_listen_fds(3)), by a shell that the daemon replaces.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, field

from tests.process.daemon import Daemon, Registry
from tests.several_processes import with_workers

FIRST = 3
"""The first descriptor that systemd passes."""

AS_SYSTEMD = 'export LISTEN_PID=$$; exec "$@"'
"""The shell's program: the process that gets the sockets has to be the one in LISTEN_PID."""


@define
class Messages:
    """Datagrams to NOTIFY_SOCKET, in order, and their times in seconds."""

    received: list[str] = field(factory=list)
    times: list[float] = field(factory=list)

    def all(self, start: str) -> list[str]:
        return [message for message in self.received if message.startswith(start)]

    def since(self, seconds: float) -> int:
        """Return how many were received within the last seconds."""
        return sum(received > time.monotonic() - seconds for received in self.times)


@pytest.fixture
def messages(daemon: Daemon) -> Iterator[Messages]:
    """What a daemon sends to NOTIFY_SOCKET."""
    messages, done = Messages(), threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(daemon.directory / "notify"))
        notify.settimeout(0.1)

        def listen() -> None:
            while not done.is_set():
                with contextlib.suppress(TimeoutError):
                    messages.received.append(notify.recv(4096).decode())
                    messages.times.append(time.monotonic())

        listener = threading.Thread(target=listen)
        listener.start()
        daemon.environ["NOTIFY_SOCKET"] = str(daemon.directory / "notify")
        yield messages
        done.set()
        listener.join()


def test_systemd_is_notified_of_every_change(daemon: Daemon, main: Registry, messages: Messages) -> None:
    daemon.start()
    main.mode = "no-token"
    daemon.wait_until(lambda: daemon.backend == "second", "failover")
    daemon.run("reload")
    assert daemon.stop() == 0
    received = messages.received
    daemon_has_stopped = "STOPPING=1"
    deadline = time.monotonic() + 5
    while daemon_has_stopped not in received and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "READY=1\nSTATUS=main is active" in received
    changes = messages.all("STATUS=main has been down since ")
    assert changes[0].endswith(" (token server: answered 500; 5 of 5 confirming requests failed); second is active")
    (reloading,) = messages.all("RELOADING=1\nMONOTONIC_USEC=")
    assert received[received.index(reloading) + 1].startswith(("READY=1", "STATUS="))
    assert received[-1] == daemon_has_stopped
    assert messages.all("WATCHDOG") == [], "no WATCHDOG_USEC"


def test_the_watchdog_hears_of_the_daemon_only_while_its_reactor_turns(daemon: Daemon, messages: Messages) -> None:
    daemon.environ["WATCHDOG_USEC"] = "400000"
    daemon.start()
    daemon.wait_until(lambda: len(messages.all("WATCHDOG=1")) > 5, "one message each 200 ms", 5)
    assert messages.received[0] == "WATCHDOG=1", "during the first probes too"
    assert daemon.process is not None
    os.kill(daemon.process.pid, signal.SIGSTOP)
    time.sleep(1)
    assert messages.since(0.8) == 0
    os.kill(daemon.process.pid, signal.SIGCONT)
    daemon.wait_until(lambda: messages.since(0.3), "it is heard again", 5)
    assert daemon.stop() == 0


def opened(family: socket.AddressFamily, host: str) -> socket.socket:
    listening = socket.socket(family)
    listening.bind((host, 0))
    listening.listen(100)
    return listening


def pass_sockets(daemon: Daemon, sockets: dict[str, list[socket.socket]]) -> None:
    """Let a daemon start with these sockets by their names.

    The shell cannot be given the descriptors by number, so each is redirected to its place.
    """
    names = [name for name, passed in sockets.items() for _ in passed]
    descriptors = [listening.fileno() for passed in sockets.values() for listening in passed]
    places = range(FIRST, FIRST + len(descriptors))
    spare = max((*descriptors, *places)) + 10  # none is overwritten before it has been copied
    copies = " ".join(f"{spare + index}>&{descriptor}" for index, descriptor in enumerate(descriptors))
    moves = " ".join(f"{place}>&{spare + index} {spare + index}>&-" for index, place in enumerate(places))
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    daemon.environ |= {"LISTEN_FDS": str(len(names)), "LISTEN_FDNAMES": ":".join(names)}
    closed = " ".join(f"{descriptor}>&-" for descriptor in descriptors)
    script = f"exec {copies}; exec {closed}; exec {moves}; {AS_SYSTEMD}"
    daemon.arguments = ["bash", "-c", script, "bash", sys.executable, "-m", "facaded", "--config"]


def start_with_sockets(daemon: Daemon, listen: str, sockets: dict[str, list[socket.socket]]) -> subprocess.Popen[bytes]:
    """Start a daemon with these lines of [listen] and these sockets; return its process."""
    pass_sockets(daemon, sockets)
    daemon.config.write_text(
        f"""{with_workers(daemon.settings)}
        [listen]
        {listen}
        control = "unix:{daemon.directory}/control.sock"
        [state]
        directory = "{daemon.directory}/state"
        """
    )
    descriptors = [listening.fileno() for passed in sockets.values() for listening in passed]
    with (daemon.directory / "log").open("ab") as log:
        daemon.process = subprocess.Popen(
            [*daemon.arguments, str(daemon.config)],
            stdout=log,
            stderr=log,
            env=os.environ | daemon.environ,
            pass_fds=descriptors,
            process_group=0,
        )
    return daemon.process


def answers(daemon: Daemon, listening: socket.socket) -> bool:
    host, port = listening.getsockname()[:2]
    return daemon.get("/v2/", port=port, host=host, headers={"User-Agent": "containerd/2.1.9"})[0] == 307


def open_files(pid: int) -> set[str]:
    """Return what the descriptors of a process lead to (proc(5)), without those that it closes meanwhile."""
    targets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            targets.add(os.readlink(descriptor))
    return targets


def test_it_answers_on_all_sockets_of_a_name(daemon: Daemon) -> None:
    with opened(socket.AF_INET, "127.0.0.1") as ipv4, opened(socket.AF_INET6, "::1") as ipv6:
        start_with_sockets(daemon, 'http = "systemd:http"\nadmin = []', {"http": [ipv4, ipv6]})
        assert answers(daemon, ipv4), "the connection waits for the daemon"
        assert answers(daemon, ipv6)
        assert daemon.stop() == 0


def test_sockets_have_the_limits_of_own_ones_and_outlive_the_daemon(daemon: Daemon) -> None:
    with opened(socket.AF_INET, "127.0.0.1") as http, opened(socket.AF_INET, "127.0.0.1") as admin:
        listen = 'http = "systemd:domain=INET:name=http"\nadmin = "systemd:admin"'
        start_with_sockets(daemon, listen, {"http": [http], "admin": [admin]})
        assert answers(daemon, http)
        unsent = http.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
        assert unsent == 32 << 10, "connections inherit it"
        assert daemon.stop() == 0
        with socket.create_connection(http.getsockname()) as waiting:
            waiting.sendall(b"GET /v2/ HTTP/1.1\r\nHost: h.test\r\nUser-Agent: containerd/2.1.9\r\n\r\n")
            start_with_sockets(daemon, listen, {"http": [http], "admin": [admin]})
            waiting.settimeout(15)
            assert waiting.recv(100).startswith(b"HTTP/1.1 307 ")
        assert daemon.get("/livez", port=admin.getsockname()[1])[0] == 200
        assert daemon.stop() == 0


def test_a_socket_that_no_setting_names_is_closed_with_a_warning(daemon: Daemon) -> None:
    with opened(socket.AF_INET, "127.0.0.1") as http, opened(socket.AF_INET, "127.0.0.1") as other:
        start_with_sockets(daemon, 'http = "systemd:http"\nadmin = []', {"http": [http], "other": [other]})
        assert answers(daemon, http)
        daemon.wait_for_log('the socket "other" of systemd is not answered, because no listener uses it: write')
        assert daemon.process is not None
        inode = os.fstat(other.fileno()).st_ino
        assert f"socket:[{inode}]" not in open_files(daemon.process.pid)
        assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("listen", "sentence"),
    [
        ('http = "systemd:web"', "facaded: listen.http: systemd:web: systemd passed no such socket (passed: http):"),
        ('http = "systemd:index=0"', "listen.http: 'systemd:index=0' names no socket of systemd"),
        (
            'http = "systemd:http"\nadmin = "systemd:domain=INET:index=0"',
            "facaded: listen.admin: systemd:index=0: another listener uses this socket: name each socket once",
        ),
    ],
)
def test_a_socket_that_is_missing_ends_it_with_a_sentence(daemon: Daemon, listen: str, sentence: str) -> None:
    with opened(socket.AF_INET, "127.0.0.1") as http:
        assert start_with_sockets(daemon, listen, {"http": [http]}).wait(15) == 2
        daemon.process = None
        assert sentence in daemon.log


def test_a_socket_that_does_not_listen_ends_it_with_a_sentence(daemon: Daemon) -> None:
    with socket.socket(socket.AF_UNIX) as http:
        http.bind(str(daemon.directory / "http.sock"))
        http.listen()
        assert start_with_sockets(daemon, 'http = "systemd:http"', {"http": [http]}).wait(15) == 2
        daemon.process = None
        assert "facaded: listen.http: systemd:http: it is no TCP socket: write ListenStream=" in daemon.log
