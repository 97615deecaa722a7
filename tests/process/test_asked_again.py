"""Clients whose redirects fail although no probe notices: each fails at most once, and then gets its image."""

import http.client
import time
from urllib.parse import urlsplit

import pytest
from attrs import define

from tests.process.daemon import WAIT, Daemon, Registry

LATEST = "/v2/org/app/manifests/latest"

PAUSE = 2
"""Seconds after which a person or kubelet tries again."""

ROUND_TRIP = 0.02
"""Seconds that a registry is away: in this time, all processes know what one has answered."""


@define
class Replayed:
    """A client that sends the requests of a pull's beginning, and follows their redirects.

    Each request is on a new connection, which any of several processes may get.
    """

    daemon: Daemon
    user_agent: str

    def ask(self, method: str, path: str) -> tuple[int, str]:
        """Return the status where the redirect leads, and the digest that the answer names."""
        status, headers = self._send(self.daemon.host, self.daemon.port, method, path)
        if status == 307:
            time.sleep(ROUND_TRIP)
            target = urlsplit(headers["Location"])
            status, headers = self._send(target.hostname or "", target.port or 80, method, target.path)
        return status, headers.get("Docker-Content-Digest", "")

    def _send(self, host: str, port: int, method: str, path: str) -> tuple[int, dict[str, str]]:
        connection = http.client.HTTPConnection(host, port, timeout=WAIT)
        connection.request(method, path, headers={"User-Agent": self.user_agent})
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status, dict(response.getheaders())


def pull_as_docker(client: Replayed) -> bool:
    """Send what Docker's classic store sends: a HEAD and, if it failed, a GET; the digest follows."""
    client.ask("GET", "/v2/")
    status, digest = client.ask("HEAD", LATEST)
    if status != 200:
        status, digest = client.ask("GET", LATEST)
    return status == 200 and client.ask("GET", f"/v2/org/app/manifests/{digest}")[0] == 200


def pull_as_containerd(client: Replayed) -> bool:
    """Send what containerd sends: a HEAD without a token, one with it, and a GET by digest."""
    client.ask("HEAD", LATEST)
    status, digest = client.ask("HEAD", LATEST)
    return status == 200 and client.ask("GET", f"/v2/org/app/manifests/{digest}")[0] == 200


PULLS = {"docker/28.5.1": pull_as_docker, "containerd/2.1.9": pull_as_containerd}


@pytest.mark.parametrize(("fault", "workers"), [("refuses", 1), ("manifests-500", 1), ("manifests-500", 2)])
@pytest.mark.parametrize(
    ("user_agent", "results"), [("docker/28.5.1", [True] * 3), ("containerd/2.1.9", [False, True, True])]
)
def test_a_client_whose_redirect_fails_is_served_when_it_asks_again(
    daemon: Daemon, main: Registry, user_agent: str, results: list[bool], fault: str, workers: int
) -> None:
    daemon.settings = f"workers = {workers}\n{daemon.settings}"
    daemon.start()
    daemon.wait_until(lambda: daemon.log.count(" answers") == workers - 1, "all processes answer")
    client, pull = Replayed(daemon, user_agent), PULLS[user_agent]
    assert pull(client)
    main.mode = fault
    pulled = []
    for _ in results:
        time.sleep(PAUSE)
        pulled.append(pull(client))
    assert pulled == results
    assert daemon.status()["backends"][0]["state"] == "up", "no probe asks for a manifest, because there is no canary"
    family = user_agent.partition("/")[0]
    sentence = f"127.0.0.1 ({family}) asked again for org/app:latest: served for 60 s"
    assert daemon.status()["asked_again"]["latest"][0]["why"] == sentence
    assert sentence in " ".join(daemon.run("status").stdout.split())
    assert sentence in " ".join(daemon.run("explain", "org/app", "--client", family).stdout.split())
    lines = [line for line in daemon.log.splitlines() if "asked_again=yes" in line]
    assert lines
    assert all(f" backend=second family={family} answer=served " in line for line in lines)
