"""The stage of an outage: a main registry behind fault-injecting proxies, a second one, and a facade per `answer`."""

import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import define, field, frozen

from facaded.policy.health import CONFIRMATION_TIME
from tests.process.daemon import Daemon, running
from tests.system.images import RandomImage
from tests.system.outages.fronts import FaultProxy, ProxyAuthority
from tests.system.registries import DockerRegistry

ANSWERS = ("serve", "auto")
REPOSITORY = "org/app"
MAIN_NAME = "main.test"
"""The host name of the main registry on stages where its URL has one."""

HOSTS_CACHE_TIME = 5.5
"""Seconds until a client written in Go uses a changed hosts file: it caches the old one for 5 s."""

IMAGE_SIZE = 2_000
"""Size of an image's layer in bytes: small, because only the requests for it matter."""


@frozen
class HealthTimings:
    """The [health] settings of the facades: times in seconds, and counts of probes."""

    interval: float = 2.0
    fast_interval: float = 0.5
    timeout: float = 2.0
    fall: int = 2
    rise: int = 2
    failback_after: float = 3.0
    deep_interval: float = 4.0

    name: str = "fast"

    def detected_within(self, *, times_out: bool, deep: bool) -> float:
        """Return the longest time in seconds from a fault to its detection.

        Where a probe times out, the requests that confirm it do too; the pause until the next one begins with them.
        """
        detection_time = self.interval + (self.deep_interval if deep else 0.0)
        if not times_out:
            return detection_time + (self.fall - 1) * self.fast_interval
        pause = max(self.fast_interval - CONFIRMATION_TIME, 0.0)
        return detection_time + self.fall * (self.timeout + CONFIRMATION_TIME) + (self.fall - 1) * pause

    @property
    def failback_within(self) -> float:
        """The longest time in seconds from a fault's end to failback, if a probe has just begun that times out.

        A backend that is down is probed less often if that takes more than three requests; up to its CDN it takes five.
        """
        return self.timeout + 5 / 3 * self.interval + (self.rise - 1) * self.fast_interval + self.failback_after

    @property
    def settings(self) -> str:
        times = ["interval", "fast_interval", "deep_interval", "timeout", "failback_after"]
        lines = [f'{key} = "{getattr(self, key):.3f}s"' for key in times]
        return "\n".join([*lines, f"fall = {self.fall}", f"rise = {self.rise}"])


TIMINGS = HealthTimings()

DEFAULT_TIMINGS = HealthTimings(
    interval=10.0, fast_interval=1.0, timeout=3.0, failback_after=10.0, deep_interval=60.0, name="default"
)
"""The defaults, but for `failback_after`, which is a minute: it only makes a run longer."""

TRUST = 2.0
"""The default of health.trust in seconds."""

SETTINGS = """
repositories = ["org/*"]
answer = "{answer}"
[health]
canary = "{canary}"
{health}
[cache]
manifests = 0  # each pull must send its own requests to the registries
tag_ttl = "50ms"
[[backend]]
name = "main"
url = "{main}"
{trust}
[[backend]]
name = "second"
url = "{second}"
rename = {{}}
"""


@define
class HostsNamespace:
    """A mount namespace in which names resolve only by an /etc/hosts that `set` writes.

    A program run with `command_prefix` is in the namespace.
    """

    directory: Path
    process: subprocess.Popen[str] | None = None

    def start(self) -> "HostsNamespace":
        self.set({})
        nsswitch = self.directory / "nsswitch.conf"
        nsswitch.write_text("passwd: files\ngroup: files\nhosts: files\n")
        mounts = f"mount --bind {self._hosts} /etc/hosts && mount --bind {nsswitch} /etc/nsswitch.conf"
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", f"{mounts} && echo up && exec sleep 1d"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "up\n", "cannot create a mount namespace"
        return self

    @property
    def command_prefix(self) -> tuple[str, ...]:
        assert self.process is not None
        return "nsenter", f"--mount=/proc/{self.process.pid}/ns/mnt"

    def set(self, addresses: dict[str, str]) -> None:
        """Set the address of each name; writes the file in place, because it is the source of a bind mount."""
        lines = [f"{address} {name}" for name, address in {"localhost": "127.0.0.1", **addresses}.items()]
        self._hosts.write_text("\n".join([*lines, ""]))

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def _hosts(self) -> Path:
        return self.directory / "hosts"


@define
class ProxiedRegistry:
    """A registry, its token server and its CDN, each behind a proxy, all with their own addresses.

    The proxies have three addresses from 127.1.`stage_number`.`first_host` on, the servers three from `first_host` + 10
    on. With an `authority`, the proxies speak TLS. The other CDN is a second proxy of the CDN, at `first_host` + 20:
    after `move_to_other_cdn`, blobs are there.
    """

    name: str
    directory: Path
    stage_number: int
    first_host: int
    authority: ProxyAuthority | None = None
    host_name: str = ""
    registry: DockerRegistry = field(init=False)
    registry_proxy: FaultProxy = field(init=False)
    token_proxy: FaultProxy = field(init=False)
    cdn_proxy: FaultProxy = field(init=False)
    other_cdn_proxy: FaultProxy = field(init=False)

    def __attrs_post_init__(self) -> None:
        proxy_hosts, registry_hosts = (
            tuple(f"127.1.{self.stage_number}.{self.first_host + offset + index}" for index in range(3))
            for offset in (0, 10)
        )
        self.registry_proxy = FaultProxy(proxy_hosts[0], self.authority, self.host_name)
        self.token_proxy, self.cdn_proxy = (FaultProxy(host, self.authority) for host in proxy_hosts[1:])
        other_cdn_host = f"127.1.{self.stage_number}.{self.first_host + 20}"
        self.other_cdn_proxy = FaultProxy(other_cdn_host, self.authority)
        self.registry = DockerRegistry(
            self.name,
            self.directory / self.name,
            (registry_hosts[0], registry_hosts[1], registry_hosts[2]),
            token_url=self.token_proxy.url,
            cdn_url=self.cdn_proxy.url,
        )
        self.registry_proxy.target = (registry_hosts[0], self.registry.port)
        self.token_proxy.target = (registry_hosts[1], self.registry.tokens.port)
        self.cdn_proxy.target = self.other_cdn_proxy.target = (registry_hosts[2], self.registry.cdn.port)

    @property
    def proxies(self) -> tuple[FaultProxy, ...]:
        return self.registry_proxy, self.token_proxy, self.cdn_proxy, self.other_cdn_proxy

    @property
    def challenge(self) -> str:
        """The WWW-Authenticate header of a response that rejects a token."""
        realm = f'realm="{self.token_proxy.url}/token",service="{self.registry.tokens.service}"'
        return f'Bearer {realm},scope="repository:{REPOSITORY}:pull",error="insufficient_scope"'

    def move_to_other_cdn(self, images: Iterable[RandomImage]) -> None:
        """Redirect requests for the blobs of these images to the other CDN."""
        moved = {digest for image in images for digest in image.blobs}

        def relocate(target: str, location: str) -> str:
            is_moved = target.rpartition("/")[2] in moved
            return location.replace(self.cdn_proxy.url, self.other_cdn_proxy.url) if is_moved else location

        self.registry_proxy.relocate = relocate

    def start(self) -> "ProxiedRegistry":
        self.registry.start()
        for proxy in self.proxies:
            proxy.start()
        return self

    def stop(self) -> None:
        for proxy in self.proxies:
            proxy.stop()
        self.registry.stop()


@define
class OutageStage:
    """The registries and the facades of an outage, and the images by tag; "latest" is the canary."""

    main: ProxiedRegistry
    second: ProxiedRegistry
    facades: dict[str, Daemon]
    namespace: HostsNamespace
    timings: HealthTimings = TIMINGS
    images: dict[str, RandomImage] = field(factory=dict)

    def make_main_name_resolve(self, resolves: bool) -> None:
        """Make the main registry's name resolve, or fail to resolve."""
        self.namespace.set({MAIN_NAME: self.main.registry_proxy.host} if resolves else {})


@contextmanager
def outage_stage(
    number: int,
    directory: Path,
    tags: Sequence[str],
    namespace: HostsNamespace,
    authority: ProxyAuthority | None = None,
    needs_name: bool = False,
    answers: tuple[str, ...] = ANSWERS,
    handover: str = "1h",
    timings: HealthTimings = TIMINGS,
) -> Iterator[OutageStage]:
    """Set up a stage with a unique `number`, working registries and ready facades; yield it.

    Both registries have a new small image for each of the `tags`, and the canary; main has the blobs of the former on
    another CDN if they are moved there. Stages must not share layers: containerd would
    fetch them from one stage, and the pulls of the other would wait for it.

    With an `authority`, the main registry speaks TLS. With `needs_name`, its URL has a name that `namespace` resolves;
    only one such stage can exist at a time.
    """
    main = ProxiedRegistry("main", directory, number, 2, authority, MAIN_NAME if needs_name else "")
    second = ProxiedRegistry("second", directory, number, 5)
    stage = OutageStage(main, second, {}, namespace, timings)
    with ExitStack() as cleanup:
        for proxied_registry in (main, second):
            cleanup.callback(proxied_registry.stop)
        main.start()
        for tag in ("latest", *tags):
            stage.images[tag] = RandomImage.create(IMAGE_SIZE, ("amd64",))
            main.registry.publish(stage.images[tag], REPOSITORY, tag)
        shutil.copytree(main.registry.storage, second.registry.storage)
        second.start()
        if needs_name:
            stage.make_main_name_resolve(True)
        for index, answer in enumerate(answers):
            (directory / answer).mkdir()
            settings = render_settings(stage, answer, handover, authority)
            facade = Daemon(directory / answer, settings, host=f"127.1.{number}.{8 + index}")
            facade.arguments = [*namespace.command_prefix, *facade.arguments]
            cleanup.enter_context(running(facade))
            stage.facades[answer] = facade.start()
        if needs_name:
            time.sleep(HOSTS_CACHE_TIME)
        yield stage


def render_settings(stage: OutageStage, answer: str, handover: str, authority: ProxyAuthority | None) -> str:
    """Return the settings of a facade of the stage; main has a certificate of `authority`, if any."""
    return SETTINGS.format(
        answer=answer,
        canary=REPOSITORY,
        health=f'handover = "{handover}"\n{stage.timings.settings}',
        main=stage.main.registry_proxy.url,
        second=stage.second.registry_proxy.url,
        trust=f'ca_file = "{authority.file}"' if authority else "",
    )
