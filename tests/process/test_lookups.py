"""A daemon on a system whose name servers hang or fail."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.daemon import TWISTD, WAIT, Daemon, Registry, running

SYSTEM = """
import os, socket, time

system = socket.getaddrinfo

def getaddrinfo(host, *rest, **more):
    if host == "main.test":
        how = os.path.exists({how!r}) and open({how!r}).read()
        if how == "hang":
            open({how!r} + ".hangs", "w").close()
            time.sleep(600)
        if how == "fail":
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        host = "127.0.0.2"
    return system(host, *rest, **more)

socket.getaddrinfo = getaddrinfo
"""
"""A sitecustomize.py that resolves main.test, and hangs or fails on demand."""

SETTINGS = """
repositories = ["org/*"]
[health]
interval = "1s"
fast_interval = "500ms"
timeout = "2s"
[[backend]]
name = "main"
url = "http://main.test:{port}"
[[backend]]
name = "second"
url = "{second.url}"
rename = {{}}
"""


class TestDaemon:
    """The daemon in a process."""

    @pytest.fixture
    def main(self) -> Registry:
        return Registry("127.0.0.2").start()

    @pytest.fixture
    def daemon(self, tmp_path: Path, main: Registry) -> Iterator[Daemon]:
        second = Registry("127.0.0.3").start()
        (tmp_path / "sitecustomize.py").write_text(SYSTEM.format(how=str(tmp_path / "how")))
        daemon = Daemon(tmp_path, SETTINGS.format(port=main.port, second=second))
        daemon.environ["PYTHONPATH"] = str(tmp_path)
        with running(daemon, main, second):
            yield daemon
            assert "Traceback" not in daemon.log
            assert "Unhandled" not in daemon.log

    @pytest.mark.parametrize("how", ["hang", "fail"])
    def test_a_backend_stays_active_when_its_name_servers(self, daemon: Daemon, main: Registry, how: str) -> None:
        daemon.start()
        (daemon.directory / "how").write_text(how)
        count = len(main.requests)
        daemon.wait_until(lambda: len(main.requests) >= count + 6, "three more probes of two requests each")
        assert daemon.backend == "main"
        daemon.wait_for_log("main.test does not resolve")
        assert "main.test has not resolved since" in daemon.run("status").stdout
        (daemon.directory / "how").unlink()
        if how == "fail":
            daemon.wait_until(lambda: "main.test resolves again" in daemon.log, "it resolves again")

    @pytest.mark.parametrize("arguments", [None, TWISTD], ids=["serve", "twistd"])
    def test_a_lookup_that_hangs_does_not_delay_the_stop(self, daemon: Daemon, arguments: list[str] | None) -> None:
        daemon.arguments = arguments or daemon.arguments
        (daemon.directory / "how").write_text("hang")
        daemon.start()
        daemon.wait_until((daemon.directory / "how.hangs").exists, "a lookup hangs")
        start = time.monotonic()
        assert daemon.stop() in (0, -signal.SIGTERM), "twistd ends by the signal that it was sent"
        assert time.monotonic() - start < 2

    def test_a_look_up_that_hangs_does_not_hold_up_the_end_of_a_check(self, daemon: Daemon) -> None:
        (daemon.directory / "how").write_text("hang")
        daemon.write_settings()
        start = time.monotonic()
        checked = subprocess.run(
            [sys.executable, "-m", "facaded", "check", "--probe", "--config", str(daemon.config)],
            env=os.environ | daemon.environ,
            capture_output=True,
            text=True,
            timeout=WAIT,
            check=False,
        )
        assert "main: FAILED at GET /v2/: the name does not resolve" in checked.stdout
        assert time.monotonic() - start < 5, "the probe's timeout of 2 s, and the start of Python"
