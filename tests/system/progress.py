"""Pulls in progress when a fault comes: `python -m tests.system.progress --checkout OLD --checkout NEW`, as root.

For each client and each moment of a pull, the moment's response is held, the main registry fails, the facade restarts
or not, and the response is released. The table has a column for each checkout of facaded: "saved", "second try" if the
pull failed and another one a moment later did not, and "lost".
"""

import argparse
import itertools
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import frozen

from tests.process.daemon import Daemon, running, wait_until
from tests.system.clients import Docker, Podman
from tests.system.conftest import columns
from tests.system.images import RandomImage
from tests.system.outages.faults import REFUSING
from tests.system.outages.fronts import HANGING, FailureMode, FaultProxy, ProxyRequest
from tests.system.outages.loops import RETRY_PAUSE
from tests.system.outages.stage import REPOSITORY, HostsNamespace, OutageStage, outage_stage, render_settings

STAGE = 102
"""A number that no other stage has."""

FRONT_HOST = f"127.1.{STAGE}.30"

TAG, LONG_TAG = "short", "long"

LONG_LAYER = 200_000
"""Bytes of the layer of LONG_TAG."""

THROTTLED = 10_000.0
"""Bytes a second at which it comes, so that it takes 20 s."""

PULL_TIME = 90.0
"""Timeout of a pull in seconds: Docker tries a layer six times, with growing pauses, before it gives up."""

PROBING_TIME = 2.5
"""Seconds after a start until the facade has probed twice, and the second time the CDN too."""

LONGEST_REASON = 60
"""Characters of the reason of a failed pull that are shown."""

MOMENTS = ("ping", "token", "manifest", "config", "layer", "long layer")

SKIPPED = {("ctr", "ping"), ("podman", "token")}
"""What a client does not do: ctr does not ping, and podman gets no token while it is served."""

Fault = Callable[[OutageStage], None]


def _fail_registry(stage: OutageStage) -> None:
    stage.main.registry_proxy.fail(REFUSING)


def _fail_all(failure: FailureMode) -> Fault:
    def fail(stage: OutageStage) -> None:
        for proxy in stage.main.proxies:
            proxy.fail(failure)

    return fail


FAULTS: dict[str, Fault] = {
    "none": lambda stage: None,
    "registry refuses": _fail_registry,
    "all refuse": _fail_all(REFUSING),
    "all hang": _fail_all(HANGING),
}
"""What fails of the main registry: the registry alone, or its token server and its CDN too."""


@frozen
class Case:
    """A row of the table."""

    client: str
    moment: str
    fault: str
    restarts: bool

    @property
    def tag(self) -> str:
        return LONG_TAG if self.moment == "long layer" else TAG

    @property
    def cells(self) -> tuple[str, ...]:
        return self.client, self.moment, self.fault, "restart" if self.restarts else ""


@frozen
class Clients:
    """The clients, which pull from the front of the facade at `registry`."""

    docker: Docker
    podman: Podman
    registry: str

    def pull(self, case: Case) -> subprocess.CompletedProcess[str]:
        image = f"{self.registry}/{REPOSITORY}:{case.tag}"
        pulls = {
            "docker": self.docker.pull_with_docker,
            "ctr": self.docker.pull_with_ctr,
            "podman": self.podman.pull_with_podman,
        }
        try:
            return pulls[case.client](image)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess((), 1, "", f"timed out after {PULL_TIME:g} s")

    def delete_pulls(self, case: Case) -> None:
        image = f"{self.registry}/{REPOSITORY}:{case.tag}"
        self.docker.remove_with_docker(image)
        self.docker.remove_with_ctr(image)
        self.podman.delete_pulls()


@frozen
class Runner:
    """Runs cases with the facade of one checkout after the other."""

    stage: OutageStage
    front: FaultProxy
    clients: Clients
    images: dict[str, RandomImage]
    directory: Path

    def run(self, case: Case, checkout: Path) -> str:
        """Return the cell of a case: what became of the pull."""
        directory = Path(tempfile.mkdtemp(dir=self.directory))
        facade = Daemon(directory, render_settings(self.stage, "auto", "1h", None), host=f"127.1.{STAGE}.8")
        facade.arguments = [*self.stage.namespace.command_prefix, *facade.arguments]
        facade.use_checkout(checkout)
        with running(facade), ThreadPoolExecutor(1) as executor:
            facade.start()
            self.front.target = (facade.host, facade.port)
            time.sleep(PROBING_TIME)
            try:
                held = self._hold(case)
                started = time.monotonic()
                pull = executor.submit(self.clients.pull, case)
                wait_until(lambda: held() or pull.done(), f"{case}", PULL_TIME)
                if pull.done():
                    return f"NOT REACHED: {_reason(pull.result())}"
                FAULTS[case.fault](self.stage)
                if case.restarts:
                    facade.stop()
                    facade.start()
                self._release()
                result = pull.result()
                seconds = time.monotonic() - started
                if result.returncode == 0:
                    return f"saved ({seconds:.1f} s)"
                time.sleep(RETRY_PAUSE)
                second = self.clients.pull(case)
                outcome = "second try" if second.returncode == 0 else "lost"
                return f"{outcome} ({seconds:.1f} s: {_reason(result)})"
            finally:
                self._recover(case)

    def _hold(self, case: Case) -> Callable[[], bool]:
        """Hold the moment of a case when it comes; return a function that tells whether it has come."""
        cdn, tokens, front = self.stage.main.cdn_proxy, self.stage.main.token_proxy, self.front
        if case.moment == "long layer":
            cdn.sent_bytes, cdn.bytes_per_second = 0, THROTTLED
            return lambda: cdn.sent_bytes > LONG_LAYER // 3
        held_before = {proxy: proxy.held_requests for proxy in (front, tokens)}
        if case.moment == "token":
            tokens.hold_requests(lambda request: not request.is_from_facade)
        else:
            front.hold_requests(self._moments(case)[case.moment], answered=True)
        return lambda: any(proxy.held_requests > before for proxy, before in held_before.items())

    def _moments(self, case: Case) -> dict[str, Callable[[ProxyRequest], bool]]:
        _, _, manifest = self.images[case.tag].manifests[0]
        document = json.loads(manifest)
        config, layer = document["config"]["digest"], document["layers"][0]["digest"]
        return {
            "ping": lambda request: request.target == "/v2/",
            "manifest": lambda request: "/manifests/sha256:" in request.target,
            "config": lambda request: request.target.endswith(f"/blobs/{config}"),
            "layer": lambda request: request.target.endswith(f"/blobs/{layer}"),
        }

    def _release(self) -> None:
        for proxy in (self.front, self.stage.main.token_proxy):
            proxy.release()
        self.stage.main.cdn_proxy.bytes_per_second = float("inf")

    def _recover(self, case: Case) -> None:
        self._release()
        for proxy in self.stage.main.proxies:
            proxy.recover()
        self.clients.delete_pulls(case)


def _reason(result: subprocess.CompletedProcess[str]) -> str:
    return (result.stdout + result.stderr).strip().rpartition("\n")[2][-LONGEST_REASON:]


@contextmanager
def create_runner() -> Iterator[Runner]:
    """Start the registries and the clients; they stop at the end."""
    with ExitStack() as cleanup:
        directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="p-")))  # podman wants a short path
        for name in ("hosts", "docker", "stage", "podman", "facades"):
            (directory / name).mkdir()
        namespace = HostsNamespace(directory / "hosts")
        cleanup.callback(namespace.stop)
        docker = Docker(directory / "docker", time_limit=PULL_TIME)
        cleanup.callback(docker.stop)
        docker.start()
        new_stage = outage_stage(STAGE, directory / "stage", (TAG,), namespace.start(), answers=())
        stage = cleanup.enter_context(new_stage)
        long_image = RandomImage.create(LONG_LAYER, ("amd64",))
        for proxied_registry in (stage.main, stage.second):
            proxied_registry.registry.publish(long_image, REPOSITORY, LONG_TAG)
        front = FaultProxy(FRONT_HOST).start()
        cleanup.callback(front.stop)
        clients = Clients(docker, Podman(directory / "podman", time_limit=PULL_TIME), f"{front.host}:{front.port}")
        yield Runner(stage, front, clients, stage.images | {LONG_TAG: long_image}, directory / "facades")


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.system.progress", description=__doc__)
    parser.add_argument("--checkout", type=Path, action="append", help="of facaded; default: this one")
    parser.add_argument("--client", action="append", choices=("docker", "ctr", "podman"))
    parser.add_argument("--moment", action="append", choices=MOMENTS)
    parser.add_argument("--fault", action="append", choices=tuple(FAULTS), help="default: all but none and hang")
    parser.add_argument("--restart", action="append", choices=("no", "yes"))
    options = parser.parse_args()
    checkouts = options.checkout or [Path.cwd()]
    choices = itertools.product(
        options.client or ("docker", "ctr", "podman"),
        options.moment or MOMENTS,
        options.fault or ("registry refuses", "all refuse"),
        options.restart or ("no", "yes"),
    )
    cases = [
        Case(client, moment, fault, restart == "yes")
        for client, moment, fault, restart in choices
        if (client, moment) not in SKIPPED
    ]
    rows: list[tuple[str, ...]] = [("client", "moment", "fault", "", *(str(checkout) for checkout in checkouts))]
    with create_runner() as runner:
        for case in cases:
            rows.append((*case.cells, *(runner.run(case, checkout) for checkout in checkouts)))
            print("  ".join(rows[-1]), flush=True)
    print("", *columns(rows), sep="\n")


if __name__ == "__main__":
    main()
