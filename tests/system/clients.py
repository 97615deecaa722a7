"""The clients of a pull: Docker and containerd, and Podman, Buildah and Skopeo."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from attrs import define, field

from tests.process.daemon import wait_until

COMMAND_TIME = 60.0
"""Seconds after which a client's command is ended: more than any pull of these tests takes."""


@define
class Docker:
    """containerd and dockerd, started by hand, with everything of theirs in `directory`.

    All their programs run `under` a command such as nsenter, and no command lasts longer than `seconds`. With a
    `ca_file` ctr trusts its roots alone; otherwise it trusts everybody from a loopback address on, as dockerd does.
    """

    directory: Path
    under: tuple[str, ...] = ()
    seconds: float = COMMAND_TIME
    ca_file: Path | None = None
    processes: list[subprocess.Popen[bytes]] = field(factory=list)

    def start(self) -> "Docker":
        socket = self.directory / "containerd.sock"
        (self.directory / "containerd.toml").write_text(
            f'version = 2\nroot = "{self.directory}/c-root"\nstate = "{self.directory}/c-state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{socket}"\n'
        )
        self._run(["containerd", "--config", str(self.directory / "containerd.toml")], socket.exists)
        daemon = ["dockerd", "--iptables=false", "--bridge=none", "--storage-driver=vfs", "--containerd", str(socket)]
        places = {"host": f"unix://{self.directory}/docker.sock", "data-root": self.directory / "d-data"}
        places |= {"exec-root": self.directory / "d-exec", "pidfile": self.directory / "d.pid"}
        places |= {"max-concurrent-downloads": 10}  # a layer that hangs must not keep another pull's from coming
        self._run([*daemon, *(f"--{name}={value}" for name, value in places.items())], self._docker_is_up)
        return self

    def pull_with_docker(self, image: str, creds: str | None = None) -> subprocess.CompletedProcess[str]:
        docker = [*self._docker, "--config", str(self.directory / ("login" if creds else "no-login"))]
        if creds:
            user, _, password = creds.partition(":")
            login = self._command(*docker, "login", "--username", user, "--password", password, image.partition("/")[0])
            if login.returncode != 0:
                return login
        return self._command(*docker, "pull", image)

    def pull_with_ctr(self, image: str, creds: str | None = None) -> subprocess.CompletedProcess[str]:
        user = [f"--user={creds}"] if creds else []
        where = self._hosts_of(image.partition("/")[0], self.ca_file) if self.ca_file else ["--plain-http"]
        return self._command(*self._ctr, "pull", *where, "--snapshotter", "native", *user, image)

    def remove_with_docker(self, image: str) -> None:
        """Forget an image and its layers, if they are there: the next pull fetches all of them."""
        self._command(*self._docker, "rmi", "--force", image)

    def remove_with_ctr(self, image: str) -> None:
        """The same, for ctr's images."""
        self._command(*self._ctr, "remove", "--sync", image)

    def end(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def _docker(self) -> list[str]:
        return ["docker", "--host", f"unix://{self.directory}/docker.sock"]

    @property
    def _ctr(self) -> list[str]:
        return ["ctr", "--address", str(self.directory / "containerd.sock"), "--namespace", "test", "image"]

    def _hosts_of(self, registry: str, ca_file: Path) -> list[str]:
        """How ctr is told to verify what it is redirected to by a registry on plain HTTP."""
        directory = self.directory / "hosts" / registry
        directory.mkdir(parents=True, exist_ok=True)
        trust = f'capabilities = ["pull", "resolve"]\nca = "{ca_file}"\nskip_verify = false\n'
        (directory / "hosts.toml").write_text(f'server = "http://{registry}"\n[host."http://{registry}"]\n{trust}')
        return ["--hosts-dir", str(directory.parent)]

    def _docker_is_up(self) -> bool:
        return self._command(*self._docker, "info").returncode == 0

    def _command(self, *command: str) -> subprocess.CompletedProcess[str]:
        return _command(*self.under, *command, seconds=self.seconds)

    def _run(self, command: list[str], is_up: Callable[[], bool]) -> None:
        with (self.directory / f"{command[0]}.log").open("wb") as log:
            process = subprocess.Popen([*self.under, *command], stdout=log, stderr=log)
        self.processes.append(process)

        def up() -> bool:
            said = (self.directory / f"{command[0]}.log").read_text()[-2000:]
            assert process.poll() is None, f"{command[0]} has ended:\n{said}"
            return is_up()

        wait_until(up, f"{command[0]} is up", 60)


@define
class Podman:
    """Podman, Buildah and Skopeo, with everything of theirs in `directory`. Each pull begins with an empty store.

    `under` and `seconds` are as with Docker.
    """

    directory: Path
    under: tuple[str, ...] = ()
    seconds: float = COMMAND_TIME
    pulls: int = 0

    def pull_with_podman(self, image: str, creds: str | None = None) -> subprocess.CompletedProcess[str]:
        return self._pull("podman", image, creds)

    def pull_with_buildah(self, image: str, creds: str | None = None) -> subprocess.CompletedProcess[str]:
        return self._pull("buildah", image, creds)

    def pull_with_skopeo(self, image: str, creds: str | None = None) -> subprocess.CompletedProcess[str]:
        self.pulls += 1
        arguments = ["--src-tls-verify=false", *self._creds("--src-creds", creds)]
        copied = [f"docker://{image}", f"dir:{self.directory}/{self.pulls}"]
        return _command(*self.under, "skopeo", "copy", "--all", *arguments, *copied, seconds=self.seconds)

    def forget(self) -> None:
        """Delete what was pulled."""
        for pulled in self.directory.iterdir():
            shutil.rmtree(pulled, ignore_errors=True)

    def _pull(self, program: str, image: str, creds: str | None) -> subprocess.CompletedProcess[str]:
        self.pulls += 1
        store = self.directory / f"store-{self.pulls}"
        places = ["--storage-driver=vfs", f"--root={store}/root", f"--runroot={store}/run"]
        arguments = ["--tls-verify=false", *self._creds("--creds", creds)]
        return _command(*self.under, program, *places, "pull", *arguments, image, seconds=self.seconds)

    @staticmethod
    def _creds(flag: str, creds: str | None) -> list[str]:
        return [f"{flag}={creds}"] if creds else []


def _command(*command: str, seconds: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
    )
