"""Real registries (Debian's docker-registry), each with a token server and a CDN on their own addresses."""

import base64
import json
import secrets
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field

from tests.process.daemon import free_port, wait_until
from tests.system.servers import PUBLISHER, Cdn, TokenServer, send

if TYPE_CHECKING:
    from tests.system.images import RandomImage


@define
class DockerRegistry:
    """A docker-registry, its token server and its CDN, at the three addresses `hosts`.

    With `redirects_blobs`, it redirects requests for blobs to the CDN; otherwise it serves blobs itself. Without
    `requires_tokens`, it serves everything to everybody. `token_url` and `cdn_url` replace the URLs of the token
    server and the CDN in its responses, if a proxy is in front of them.
    """

    name: str
    directory: Path
    hosts: tuple[str, str, str]
    redirects_blobs: bool = True
    requires_tokens: bool = True
    token_url: str = ""
    cdn_url: str = ""
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    tokens: TokenServer = field(init=False)
    cdn: Cdn = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.directory.mkdir(parents=True)
        self.port = free_port(self.hosts[0])
        self.tokens = TokenServer(self.hosts[1], f"{self.name}.test", self.directory)
        self.cdn = Cdn(self.hosts[2], self.storage)
        self.tokens.start()
        self.cdn.start()
        settings: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(self.storage)}},
            "middleware": {"storage": [{"name": "redirect", "options": {"baseurl": self.cdn_url or self.cdn.url}}]},
            "http": {"addr": f"{self.hosts[0]}:{self.port}", "secret": secrets.token_hex(8)},
            "auth": {
                "token": {
                    "realm": f"{self.token_url or self.tokens.url}/token",
                    "service": self.tokens.service,
                    "issuer": self.tokens.service,
                    "rootcertbundle": str(self.tokens.bundle),
                }
            },
        }
        if not self.redirects_blobs:
            del settings["middleware"]
        if not self.requires_tokens:
            del settings["auth"]
        (self.directory / "config.yml").write_text(json.dumps(settings))  # JSON is YAML

    @property
    def url(self) -> str:
        return f"http://{self.hosts[0]}:{self.port}"

    @property
    def storage(self) -> Path:
        """The directory of all published images."""
        return (self.directory / "storage").resolve()

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def start(self) -> "DockerRegistry":
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["docker-registry", "serve", str(self.directory / "config.yml")], stdout=log, stderr=log
            )
        wait_until(lambda: self._status("/v2/") in (200, 401), f"{self.name} is ready")
        return self

    def suspend(self, suspended: bool) -> None:
        """Suspend the process, so that the kernel still accepts connections but nothing responds; or resume it."""
        assert self.process is not None
        self.process.send_signal(19 if suspended else 18)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        self.kill()
        self.tokens.stop()
        self.cdn.stop()

    def publish(self, image: "RandomImage", repository: str, tag: str) -> None:
        """Push an image with the publisher's credentials."""
        credentials = base64.b64encode(":".join(PUBLISHER).encode()).decode()
        scope = f"scope=repository:{repository}:pull,push&service={self.tokens.service}"
        token_response = send("GET", f"{self.tokens.url}/token?{scope}", {"Authorization": f"Basic {credentials}"})
        authorization = {"Authorization": f"Bearer {json.loads(token_response[2])['token']}"}
        for digest, blob in image.blobs.items():
            status, headers, _ = send("POST", f"{self.url}/v2/{repository}/blobs/uploads/", authorization)
            assert status == 202, status
            upload = {**authorization, "Content-Type": "application/octet-stream"}
            assert send("PUT", f"{headers['Location']}&digest={digest}", upload, blob)[0] == 201
        for media_type, digest, manifest in image.manifests:
            url = f"{self.url}/v2/{repository}/manifests/{tag if digest == image.digest else digest}"
            assert send("PUT", url, {**authorization, "Content-Type": media_type}, manifest)[0] == 201

    def _status(self, path: str) -> int | None:
        try:
            return send("GET", self.url + path, {})[0]
        except OSError:
            return None
