"""Clients that pull images: Docker and containerd's ctr; Podman, Buildah and Skopeo."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from attrs import define, field

from tests.process.daemon import wait_until

COMMAND_TIME = 60.0
"""Timeout of a client's command in seconds: longer than any pull of these tests."""


@define
class Docker:
    """A containerd and a dockerd that keep all their files in `directory`.

    `command_prefix` is a command such as nsenter that runs all their programs. `time_limit` is the timeout of each
    command in seconds. With a `ca_file`, ctr trusts only its roots. Without one, ctr verifies no certificate in a pull
    that starts from a loopback address, as dockerd does.
    """

    directory: Path
    command_prefix: tuple[str, ...] = ()
    time_limit: float = COMMAND_TIME
    ca_file: Path | None = None
    processes: list[subprocess.Popen[bytes]] = field(factory=list)

    def start(self) -> "Docker":
        socket = self.directory / "containerd.sock"
        (self.directory / "containerd.toml").write_text(
            f'version = 2\nroot = "{self.directory}/c-root"\nstate = "{self.directory}/c-state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{socket}"\n'
        )
        self._spawn(["containerd", "--config", str(self.directory / "containerd.toml")], socket.exists)
        daemon = ["dockerd", "--iptables=false", "--bridge=none", "--storage-driver=vfs", "--containerd", str(socket)]
        options = {"host": f"unix://{self.directory}/docker.sock", "data-root": self.directory / "d-data"}
        options |= {"exec-root": self.directory / "d-exec", "pidfile": self.directory / "d.pid"}
        options |= {"max-concurrent-downloads": 10}  # a layer that hangs must not block other pulls
        self._spawn([*daemon, *(f"--{name}={value}" for name, value in options.items())], self._docker_is_ready)
        return self

    def pull_with_docker(self, image: str, credentials: str | None = None) -> subprocess.CompletedProcess[str]:
        docker = [*self._docker, "--config", str(self.directory / ("login" if credentials else "no-login"))]
        if credentials:
            user, _, password = credentials.partition(":")
            login = self._run(*docker, "login", "--username", user, "--password", password, image.partition("/")[0])
            if login.returncode != 0:
                return login
        return self._run(*docker, "pull", image)

    def pull_with_ctr(self, image: str, credentials: str | None = None) -> subprocess.CompletedProcess[str]:
        user_option = [f"--user={credentials}"] if credentials else []
        registry_options = (
            self._hosts_options(image.partition("/")[0], self.ca_file) if self.ca_file else ["--plain-http"]
        )
        return self._run(*self._ctr, "pull", *registry_options, "--snapshotter", "native", *user_option, image)

    def remove_with_docker(self, image: str) -> None:
        """Remove an image and its layers, if present, so that the next pull fetches all of them."""
        self._run(*self._docker, "rmi", "--force", image)

    def remove_with_ctr(self, image: str) -> None:
        """Remove one of ctr's images and its layers, if present."""
        self._run(*self._ctr, "remove", "--sync", image)

    def stop(self) -> None:
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

    def _hosts_options(self, registry: str, ca_file: Path) -> list[str]:
        """Return ctr's options for a registry on plain HTTP that redirects to HTTPS, which ctr then verifies."""
        directory = self.directory / "hosts" / registry
        directory.mkdir(parents=True, exist_ok=True)
        host_settings = f'capabilities = ["pull", "resolve"]\nca = "{ca_file}"\nskip_verify = false\n'
        (directory / "hosts.toml").write_text(
            f'server = "http://{registry}"\n[host."http://{registry}"]\n{host_settings}'
        )
        return ["--hosts-dir", str(directory.parent)]

    def _docker_is_ready(self) -> bool:
        return self._run(*self._docker, "info").returncode == 0

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return run_command(*self.command_prefix, *command, time_limit=self.time_limit)

    def _spawn(self, command: list[str], is_ready: Callable[[], bool]) -> None:
        with (self.directory / f"{command[0]}.log").open("wb") as log:
            process = subprocess.Popen([*self.command_prefix, *command], stdout=log, stderr=log)
        self.processes.append(process)

        def is_running_and_ready() -> bool:
            log_tail = (self.directory / f"{command[0]}.log").read_text()[-2000:]
            assert process.poll() is None, f"{command[0]} exited:\n{log_tail}"
            return is_ready()

        wait_until(is_running_and_ready, f"{command[0]} is ready", 60)


@define
class Podman:
    """Podman, Buildah and Skopeo with all their files in `directory`; each pull starts with an empty store.

    `command_prefix` and `time_limit` mean the same as for Docker.
    """

    directory: Path
    command_prefix: tuple[str, ...] = ()
    time_limit: float = COMMAND_TIME
    pull_count: int = 0

    def pull_with_podman(self, image: str, credentials: str | None = None) -> subprocess.CompletedProcess[str]:
        return self._pull("podman", image, credentials)

    def pull_with_buildah(self, image: str, credentials: str | None = None) -> subprocess.CompletedProcess[str]:
        return self._pull("buildah", image, credentials)

    def pull_with_skopeo(self, image: str, credentials: str | None = None) -> subprocess.CompletedProcess[str]:
        self.pull_count += 1
        arguments = ["--src-tls-verify=false", *self._credential_options("--src-creds", credentials)]
        source_and_target = [f"docker://{image}", f"dir:{self.directory}/{self.pull_count}"]
        return run_command(
            *self.command_prefix, "skopeo", "copy", "--all", *arguments, *source_and_target, time_limit=self.time_limit
        )

    def delete_pulls(self) -> None:
        """Delete all pulled images."""
        for entry in self.directory.iterdir():
            shutil.rmtree(entry, ignore_errors=True)

    def _pull(self, program: str, image: str, credentials: str | None) -> subprocess.CompletedProcess[str]:
        self.pull_count += 1
        store = self.directory / f"store-{self.pull_count}"
        options = ["--storage-driver=vfs", f"--root={store}/root", f"--runroot={store}/run"]
        arguments = ["--tls-verify=false", *self._credential_options("--creds", credentials)]
        return run_command(
            *self.command_prefix, program, *options, "pull", *arguments, image, time_limit=self.time_limit
        )

    @staticmethod
    def _credential_options(flag: str, credentials: str | None) -> list[str]:
        return [f"{flag}={credentials}"] if credentials else []


def run_command(*command: str, time_limit: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=time_limit, check=False, stdin=subprocess.DEVNULL
    )
