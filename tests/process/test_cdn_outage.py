"""The CDN of the first registry fails, and clients that are served get their blobs from the second registry's."""

import http.client
import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from attrs import define, field

from tests.process.daemon import FAST, Daemon, Registry, fail, running
from tests.several_processes import workers_of_tests

DIGESTS = [f"sha256:{letter * 64}" for letter in "abcdef"]

FAULTS = ("refuse", "hang")

CLIENT_PATIENCE = 1.0
"""Seconds after which the client of this test gives up a CDN that hangs."""


class WithCdn(Registry):
    """A registry that redirects blobs to its CDN."""

    def __init__(self, host: str, cdn: Registry) -> None:
        Registry.__init__(self, host)
        self.cdn = cdn

    def _respond(self, mode: str, path: str) -> tuple[int, bytes, dict[str, str]]:
        if "/blobs/" in path:
            return 307, b"", {"Location": f"{self.cdn.url}/data/{path[-10:]}?sig=1"}
        return Registry._respond(self, mode, path)


@define
class Lab:
    """A daemon, and two registries with a CDN each."""

    daemon: Daemon
    main: WithCdn
    second: WithCdn
    clients: Iterator[int] = field(factory=itertools.count)

    def get_blob(self, digest: str) -> bool:
        """Get a blob as a client does, once, and return whether that worked.

        Each client is another one: if one asks for a blob again after a second, another backend is tried for a minute.
        """
        agent = f"podman/5.0.{next(self.clients)}"
        status, headers, _ = self.daemon.get(f"/v2/org/app/blobs/{digest}", headers={"User-Agent": agent})
        if status != 307:
            return False
        target = urlsplit(headers["Location"])
        connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=CLIENT_PATIENCE)
        try:
            connection.request("GET", f"{target.path}?{target.query}")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def pull_for(self, seconds: float) -> list[tuple[float, bool]]:
        """Get blobs for some seconds. Return when each request began, in seconds from now, and whether it worked."""
        outcomes, start = list[tuple[float, bool]](), time.monotonic()
        while (begun := time.monotonic() - start) < seconds:
            outcomes.append((begun, self.get_blob(DIGESTS[len(outcomes) % len(DIGESTS)])))
            time.sleep(0.02)
        return outcomes


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    cdns = [Registry(f"127.0.0.{number}").start() for number in (4, 5)]
    main, second = WithCdn("127.0.0.2", cdns[0]), WithCdn("127.0.0.3", cdns[1])
    for registry in (main, second):
        registry.start()
    daemon = Daemon(tmp_path, 'answer = "serve"\n' + FAST.format(main=main, second=second))
    with running(daemon, main, second, *cdns):
        yield Lab(daemon, main, second)
        assert "Traceback" not in daemon.log
        assert "Unhandled" not in daemon.log


@pytest.mark.parametrize("fault", FAULTS)
def test_no_blob_is_lost_that_is_asked_for_after_a_cdn_s_outage_was_noticed(lab: Lab, fault: str) -> None:
    lab.daemon.start()
    assert all(good for _, good in lab.pull_for(1.5))
    assert lab.second.cdn.requests == []
    fail(lab.main.cdn, fault)
    outcomes = lab.pull_for(5)
    lost = [begun for begun, good in outcomes if not good]
    assert [begun for begun in lost if begun > 2 + 2] == []
    assert len(outcomes) > 50
    assert len(lost) < len(outcomes) / 4, f"{len(lost)} of {len(outcomes)}"
    if fault == "refuse":
        lab.main.cdn.start()
    lab.main.cdn.mode = "token"
    time.sleep(2.5)
    lab.pull_for(1)
    before = len(lab.second.cdn.requests)
    assert all(good for _, good in lab.pull_for(1))
    assert len(lab.second.cdn.requests) <= before + 1, "the first registry's CDN is used again"


def test_without_checks_every_blob_is_lost_while_a_cdn_is_down(lab: Lab) -> None:
    lab.daemon.settings = lab.daemon.settings.replace("fall = 2", 'fall = 2\ntrust = "0s"')
    lab.daemon.start()
    assert all(good for _, good in lab.pull_for(0.5))
    lab.main.cdn.stop()
    assert not any(good for _, good in lab.pull_for(2))


def test_if_this_machine_reaches_no_cdn_clients_are_sent_there_all_the_same(lab: Lab) -> None:
    for registry in (lab.main, lab.second):
        registry.cdn.stop()
    lab.daemon.start()
    lab.pull_for(1.5)
    status, headers, _ = lab.daemon.get(f"/v2/org/app/blobs/{DIGESTS[0]}")
    assert (status, headers["X-Facaded-Backend"]) == (307, "main")
    sentence = "does not answer this machine (connection refused)"
    lab.daemon.wait_until(lambda: sentence in lab.daemon.log, "the log has it")
    assert lab.daemon.log.count(sentence) <= workers_of_tests()
    assert "sig=1" not in lab.daemon.log


def test_a_cdn_is_one_line_in_the_log_and_in_the_list_of_hosts(lab: Lab) -> None:
    lab.daemon.start()
    for digest in DIGESTS:
        assert lab.get_blob(digest)
    port = lab.main.cdn.port
    sentence = f"127.0.0.2: new CDN 127.0.0.4:{port}: facaded and clients must be able to connect to it"
    lab.daemon.wait_for_log(sentence)
    assert re.search(rf"^main +CDN +facaded, clients +seen +127.0.0.4:{port}$", lab.daemon.run("hosts").stdout, re.M)
