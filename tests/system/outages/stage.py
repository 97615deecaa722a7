"""The stage of an outage: a main registry behind fronts that can fail, a second one, and a facade for each way to
answer.
"""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import define, field, frozen

from tests.process.daemon import Daemon, running
from tests.system.images import RandomImage
from tests.system.outages.fronts import Front, FrontAuthority
from tests.system.registries import DockerRegistry

ANSWERS = ("serve", "auto")
REPOSITORY = "org/app"
MAIN_NAME = "main.test"
"""The main registry's name where it has one, and is not called by its address."""

IMAGE_SIZE = 2_000
"""Bytes of the layer of an image: what matters is that it is asked for."""


@frozen
class HealthTimings:
    """[health] of the facades: seconds and counts."""

    interval: float = 2.0
    fast_interval: float = 0.5
    timeout: float = 2.0
    fall: int = 2
    rise: int = 2
    failback_after: float = 3.0
    deep_interval: float = 4.0

    def noticed_within(self, *, times_out: bool, deep: bool) -> float:
        """The longest that an outage may go unnoticed."""
        decided = self.interval + (self.fall - 1) * self.fast_interval + (self.deep_interval if deep else 0.0)
        return decided + (self.fall * self.timeout if times_out else 0.0)

    @property
    def back_within(self) -> float:
        """The longest from an outage's end to the failback; a probe may be on its way to a time-out at its end."""
        return self.timeout + self.interval + (self.rise - 1) * self.fast_interval + self.failback_after

    @property
    def settings(self) -> str:
        times = ["interval", "fast_interval", "deep_interval", "timeout", "failback_after"]
        lines = [f'{key} = "{getattr(self, key):.3f}s"' for key in times]
        return "\n".join([*lines, f"fall = {self.fall}", f"rise = {self.rise}"])


TIMINGS = HealthTimings()

SETTINGS = """
repositories = ["org/*"]
answer = "{answer}"
[health]
canary = "{canary}"
{health}
[cache]
manifests = 0  # every pull is to find out by itself how the registries are
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
    """A mount namespace of which we write /etc/hosts: what runs `under` it finds the names there, and no others."""

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
        assert self.process.stdout.readline() == "up\n", "there is no mount namespace"
        return self

    @property
    def command_prefix(self) -> tuple[str, ...]:
        assert self.process is not None
        return "nsenter", f"--mount=/proc/{self.process.pid}/ns/mnt"

    def set(self, addresses: dict[str, str]) -> None:
        """Write the file anew, in its place: it is mounted."""
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
class FrontedRegistry:
    """A registry, its token server and its CDN, each behind a front; all on addresses of their own.

    `part` tells the addresses apart: 127.1.`stage`.`part` and on. With an `authority` all of it speaks TLS.
    """

    name: str
    directory: Path
    stage: int
    part: int
    authority: FrontAuthority | None = None
    host_name: str = ""
    registry: DockerRegistry = field(init=False)
    front: Front = field(init=False)
    tokens: Front = field(init=False)
    cdn: Front = field(init=False)

    def __attrs_post_init__(self) -> None:
        shown, hidden = (
            tuple(f"127.1.{self.stage}.{self.part + offset + number}" for number in range(3)) for offset in (0, 10)
        )
        self.front = Front(shown[0], self.authority, self.host_name)
        self.tokens, self.cdn = (Front(host, self.authority) for host in shown[1:])
        self.registry = DockerRegistry(
            self.name,
            self.directory / self.name,
            (hidden[0], hidden[1], hidden[2]),
            token_url=self.tokens.url,
            cdn_url=self.cdn.url,
        )
        self.front.target = (hidden[0], self.registry.port)
        self.tokens.target = (hidden[1], self.registry.tokens.port)
        self.cdn.target = (hidden[2], self.registry.cdn.port)

    @property
    def challenge(self) -> str:
        """What it says to an asker whose token it does not like."""
        realm = f'realm="{self.tokens.url}/token",service="{self.registry.tokens.service}"'
        return f'Bearer {realm},scope="repository:{REPOSITORY}:pull",error="insufficient_scope"'

    def start(self) -> "FrontedRegistry":
        self.registry.start()
        for front in (self.front, self.tokens, self.cdn):
            front.start()
        return self

    def stop(self) -> None:
        for front in (self.front, self.tokens, self.cdn):
            front.stop()
        self.registry.stop()


@define
class OutageStage:
    """All that is pulled from and through."""

    main: FrontedRegistry
    second: FrontedRegistry
    facades: dict[str, Daemon]
    names: HostsNamespace

    def name_main(self, resolves: bool) -> None:
        """Let the main registry's name resolve, or not."""
        self.names.set({MAIN_NAME: self.main.front.host} if resolves else {})


@contextmanager
def staged(
    number: int,
    directory: Path,
    tags: Sequence[str],
    names: HostsNamespace,
    authority: FrontAuthority | None = None,
    named: bool = False,
    answers: tuple[str, ...] = ANSWERS,
    handover: str = "1h",
) -> Iterator[OutageStage]:
    """A stage with a number of its own, with the registries well and the facades ready.

    Both registries have an image for each of the `tags`, small ones that no client has seen: two stages with the same
    layers would wait for each other in containerd, and would not be asked for what the other has fetched.

    With an `authority` the main registry speaks TLS; `named`, it is called by a name that `names` resolves: only one
    stage at a time can be.
    """
    main = FrontedRegistry("main", directory, number, 2, authority, MAIN_NAME if named else "")
    second = FrontedRegistry("second", directory, number, 5)
    stage = OutageStage(main, second, {}, names)
    with ExitStack() as cleanup:
        for fronted in (main, second):
            cleanup.callback(fronted.stop)
        main.start()
        for tag in ("latest", *tags):
            main.registry.publish(RandomImage.create(IMAGE_SIZE, ("amd64",)), REPOSITORY, tag)
        shutil.copytree(main.registry.storage, second.registry.storage)
        second.start()
        if named:
            stage.name_main(True)
        for place, answer in enumerate(answers):
            (directory / answer).mkdir()
            settings = _settings(stage, answer, handover, authority)
            facade = Daemon(directory / answer, settings, host=f"127.1.{number}.{8 + place}")
            facade.arguments = [*names.command_prefix, *facade.arguments]
            cleanup.enter_context(running(facade))
            stage.facades[answer] = facade.start()
        yield stage


def _settings(stage: OutageStage, answer: str, handover: str, authority: FrontAuthority | None) -> str:
    return SETTINGS.format(
        answer=answer,
        canary=REPOSITORY,
        health=f'handover = "{handover}"\n{TIMINGS.settings}',
        main=stage.main.front.url,
        second=stage.second.front.url,
        trust=f'ca_file = "{authority.file}"' if authority else "",
    )
