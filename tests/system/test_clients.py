"""Every client pulls: each of them, by either way to answer, with the main registry well and failing."""

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dxf
import pytest
from attrs import define

from tests.process.daemon import Daemon, running, wait_until
from tests.system.clients import Docker, Podman
from tests.system.conftest import TABLE
from tests.system.images import INDEX, Image
from tests.system.registries import Registry
from tests.system.servers import PUBLISHER, Faulty

CLIENTS = ("docker", "ctr", "podman", "buildah", "skopeo")
CREDS = ":".join(PUBLISHER)
BACKENDS = """
[[backend]]
name = "main"
url = "{main}"
{main_more}
[[backend]]
name = "second"
url = "{second}"
rename = {rename}
"""


@define
class Clients:
    """All the clients."""

    docker: Docker
    podman: Podman

    def pull(self, client: str, image: str, creds: str | None = None) -> subprocess.CompletedProcess[str]:
        owner = self.docker if client in ("docker", "ctr") else self.podman
        pull: Callable[[str, str | None], subprocess.CompletedProcess[str]] = getattr(owner, f"pull_with_{client}")
        return pull(image, creds)

    def forget(self) -> None:
        """Take up no more room than the next pull needs."""
        self.podman.forget()


@pytest.fixture(scope="module")
def clients(needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    needs("dockerd", "docker", "containerd", "ctr", "podman", "buildah", "skopeo", root=True)
    docker = Docker(tmp_path_factory.mktemp("docker"))
    try:
        with tempfile.TemporaryDirectory() as short:  # podman takes no path of 50 characters
            yield Clients(docker.start(), Podman(Path(short)))
    finally:
        docker.end()


@pytest.fixture
def main(needs: Callable[..., None], tmp_path: Path) -> Iterator[Registry]:
    needs("docker-registry")
    registry = Registry("main", tmp_path / "main", ("127.0.0.2", "127.0.0.4", "127.0.0.6"))
    try:
        yield registry.start()
    finally:
        registry.end()


@pytest.fixture
def second(needs: Callable[..., None], tmp_path: Path) -> Iterator[Registry]:
    needs("docker-registry")
    registry = Registry("second", tmp_path / "second", ("127.0.0.3", "127.0.0.5", "127.0.0.7"))
    try:
        yield registry.start()
    finally:
        registry.end()


def settings(main: Registry, second: Registry, top: str, main_more: str = "", rename: str = "{}") -> str:
    return top + BACKENDS.format(main=main.url, second=second.url, main_more=main_more, rename=rename)


def pulled(clients: Clients, client: str, daemon: Daemon, name: str, creds: str | None = None) -> float:
    """Pull through the daemon; gives the seconds it took."""
    begun = time.monotonic()
    done = clients.pull(client, f"127.0.0.1:{daemon.port}/{name}", creds)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{daemon.log}"
    return time.monotonic() - begun


@pytest.mark.parametrize("answer", ["auto", "serve"])
@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_pulls_by_tag_and_by_digest(
    clients: Clients, tmp_path: Path, main: Registry, second: Registry, client: str, answer: str
) -> None:
    tagged, digested = Image.make(), Image.make()
    main.publish(tagged, "org/app", "latest")
    main.publish(digested, "org/app", "other")
    daemon = Daemon(tmp_path, settings(main, second, f'repositories = ["org/*"]\nanswer = "{answer}"\n'))
    with running(daemon):
        daemon.start()
        for what, name in (("by tag", "org/app:latest"), ("by digest", f"org/app@{digested.digest}")):
            took = pulled(clients, client, daemon, name)
            TABLE.append((client, answer, what, f"{took:.1f} s", "main"))
        served = " 307 main" in daemon.log and "manifests" in daemon.log
        assert served
        denied = clients.pull(client, f"127.0.0.1:{daemon.port}/evil/app:latest")
        assert denied.returncode != 0
        assert "not among the repositories" in denied.stdout + denied.stderr or "403" in denied.stderr


SITUATIONS = ["refusing", "hanging", "no token server", "500", "429", "wrong digest"]


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_served_pull_succeeds_at_the_first_try_whatever_the_main_registry_does(
    clients: Clients, tmp_path: Path, main: Registry, second: Registry, client: str, situation: str
) -> None:
    image = Image.make()
    for registry in (main, second):
        registry.publish(image, "org/app", "latest")
    top = 'repositories = ["org/*"]\nanswer = "serve"\n[health]\ninterval = "1h"\n'
    front = Faulty("127.0.0.8", main.url)
    front.start()
    daemon = Daemon(tmp_path, settings(main, second, top).replace(main.url, front.url))
    with running(daemon):
        daemon.start()
        assert daemon.status()["active"] == "main"
        match situation:
            case "refusing":
                front.stop()
            case "hanging":
                main.suspend(True)
            case "no token server":
                main.tokens.stop()
            case _:
                front.fault = situation
        took = pulled(clients, client, daemon, "org/app:latest")
        main.suspend(False)
        front.stop()
        assert took < 15
        assert daemon.status()["active"] == "main" or situation in ("refusing", "hanging", "no token server")
        TABLE.append((client, "serve", situation, f"{took:.1f} s", "second"))
        assert second.cdn.asked
        assert not main.cdn.asked
        assert not any("user/image" in path for _, path in main.tokens.asked), "the placeholder"


def test_what_only_the_second_has_is_pulled_and_what_neither_has_is_said_in_time(
    clients: Clients, tmp_path: Path, main: Registry, second: Registry
) -> None:
    second.publish(Image.make(), "org/only", "latest")
    daemon = Daemon(tmp_path, settings(main, second, 'repositories = ["org/*"]\n'))
    with running(daemon):
        daemon.start()
        pulled(clients, "podman", daemon, "org/only:latest")
        begun = time.monotonic()
        asked = {"User-Agent": "containers/5"}
        status, _, body = daemon.get("/v2/org/none/manifests/latest", headers=asked)
        assert (status, json.loads(body)["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")
        assert time.monotonic() - begun < 5
        main.kill()
        status, headers, body = daemon.get("/v2/org/nothing/manifests/latest", headers=asked)
        assert (status, headers["Retry-After"]) == (503, "5")
        message = json.loads(body)["errors"][0]["message"]
        assert "main fails (connection refused)" in message
        assert "second does not have it" in message


def test_skopeo_lists_tags_with_paging(clients: Clients, tmp_path: Path, main: Registry, second: Registry) -> None:
    image, tags = Image.make(), [f"v{number}" for number in range(5)]
    for tag in tags:
        main.publish(image, "theirs/app", tag)
    front = Faulty("127.0.0.8", main.url)
    front.start()
    renamed = settings(main, second, 'repositories = ["org/*"]\n', main_more='rename = { "org/*" = "theirs/*" }')
    daemon = Daemon(tmp_path, renamed.replace(main.url, front.url))
    with running(daemon):
        daemon.start()
        image_name = f"docker://127.0.0.1:{daemon.port}/org/app"
        listed = subprocess.run(
            ["skopeo", "list-tags", "--tls-verify=false", image_name], capture_output=True, text=True, check=True
        )
        assert sorted(json.loads(listed.stdout)["Tags"]) == tags
        assert daemon.log.count("GET /v2/org/app/tags/list 200 main (containers?)") == 3, "three pages"
    front.stop()


@pytest.mark.parametrize("client", ["docker", "podman", "skopeo", "ctr"])
def test_a_renamed_image_is_pulled_from_either_registry(
    clients: Clients, tmp_path: Path, main: Registry, second: Registry, client: str
) -> None:
    images = [Image.make(), Image.make()]
    for tag, image in enumerate(images):
        main.publish(image, "org/app", f"v{tag}")
        second.publish(image, "gh-org/app", f"v{tag}")
    renames = {"main_more": 'rename = { "*" = "org/*" }', "rename": '{ "*" = "gh-org/*" }'}
    daemon = Daemon(tmp_path, settings(main, second, 'repositories = ["*"]\n', **renames))
    with running(daemon):
        daemon.start()
        pulled(clients, client, daemon, "app:v0")
        assert main.cdn.asked
        main.kill()
        pulled(clients, client, daemon, "app:v1")
        assert second.cdn.asked


@pytest.mark.parametrize("client", CLIENTS)
def test_a_private_image_is_pulled_with_the_client_s_own_login(
    clients: Clients, tmp_path: Path, main: Registry, second: Registry, client: str
) -> None:
    main.publish(Image.make(), "org/private", "latest")
    main.tokens.private.add("org/private")
    top = 'repositories = ["org/*"]\n'
    daemon = Daemon(tmp_path, f'{top}[[backend]]\nname = "main"\nurl = "{main.url}"\nauth = "client"\n')
    with running(daemon):
        daemon.start()
        refused = clients.pull(client, f"127.0.0.1:{daemon.port}/org/private:latest")
        assert refused.returncode != 0
        pulled(clients, client, daemon, "org/private:latest", CREDS)
        TABLE.append((client, "client's login", "private image", "", "main"))
        assert "Bearer" not in daemon.log
        assert PUBLISHER[1] not in daemon.log
        assert second.tokens.asked == []
        assert second.cdn.asked == []


def test_a_registry_that_hands_out_blobs_itself_is_redirected_to_relayed_or_named(
    clients: Clients, tmp_path: Path
) -> None:
    hosts = ("127.0.0.2", "127.0.0.4", "127.0.0.6")
    image = Image.make(300_000)
    digest, blob = max(image.blobs.items(), key=lambda item: len(item[1]))
    podman = {"User-Agent": "containers/5"}
    for case, tokens, relays in (("public", False, False), ("named", True, False), ("relayed", True, True)):
        directory = tmp_path / case
        directory.mkdir()
        registry = Registry("main", directory / "main", hosts, redirects=False, demands_tokens=tokens)
        backend = f'[[backend]]\nname = "main"\nurl = "{registry.url}"\nrelay_blobs = {str(relays).lower()}\n'
        daemon = Daemon(directory, f'repositories = ["org/*"]\nanswer = "serve"\n{backend}')
        try:
            with running(daemon):
                registry.start().publish(image, "org/app", "latest")
                daemon.start()
                path = f"/v2/org/app/blobs/{digest}"
                status, headers, body = daemon.get(path, headers=podman)
                match case:
                    case "public":
                        assert (status, headers["Location"]) == (307, registry.url + path)
                    case "named":
                        assert status == 502
                        assert b"relay_blobs = true" in body
                        continue
                    case _:
                        assert (status, body) == (200, blob)
                        status, headers, body = daemon.get(path, headers={**podman, "Range": "bytes=100-199"})
                        assert (status, body) == (206, blob[100:200])
                        assert headers["Content-Range"] == f"bytes 100-199/{len(blob)}"
                        status, headers, body = daemon.get(path, headers=podman, method="HEAD")
                        assert (status, headers["Content-Length"], body) == (200, str(len(blob)), b"")
                for client in CLIENTS:
                    pulled(clients, client, daemon, "org/app:latest")
                    TABLE.append((client, "serve", f"no CDN, {case}", "", "main"))
        finally:
            registry.end()


def test_a_signature_attached_to_an_image_is_found(
    clients: Clients, tmp_path: Path, main: Registry, second: Registry
) -> None:
    """docker-registry has no referrers API: clients fall back to the tag that the digest makes."""
    image, signature = Image.make(), Image.make()
    main.publish(image, "org/app", "latest")
    main.publish(signature, "org/app", image.digest.replace(":", "-"))
    daemon = Daemon(tmp_path, settings(main, second, 'repositories = ["org/*"]\n'))
    with running(daemon):
        daemon.start()
        asked = {"User-Agent": "oras-go", "Accept": INDEX}
        assert daemon.get(f"/v2/org/app/referrers/{image.digest}", headers=asked)[0] == 404
        path = f"/v2/org/app/manifests/{image.digest.replace(':', '-')}"
        status, headers, _ = daemon.get(path, headers=asked)
        assert (status, headers["Docker-Content-Digest"]) == (200, signature.digest)


LARGE = 200_000_000


@pytest.fixture
def large() -> Image:
    return Image.make(LARGE, platforms=("amd64",))


@pytest.mark.parametrize("answer", ["auto", "serve"])
def test_layers_do_not_pass_through_the_daemon(
    clients: Clients,
    needs: Callable[..., None],
    tmp_path: Path,
    main: Registry,
    second: Registry,
    large: Image,
    answer: str,
) -> None:
    needs("strace")
    main.publish(large, "org/large", "latest")
    daemon = Daemon(tmp_path, settings(main, second, f'repositories = ["org/*"]\nanswer = "{answer}"\n'))
    with running(daemon):
        daemon.start()
        pulled(clients, "skopeo", daemon, "org/large:latest")
        assert daemon.process is not None
        before = resident(daemon)
        for client in CLIENTS:
            traced = tmp_path / f"{client}.strace"
            watching = ["strace", "-f", "-qq", "-p", str(daemon.process.pid), "-o", str(traced)]
            calls = "trace=read,write,readv,writev,recvfrom,sendto,recvmsg,sendmsg,sendfile"
            tracer = subprocess.Popen([*watching, "-e", calls])
            wait_until(lambda traced=traced: traced.exists(), "strace")  # type: ignore[misc]
            pulled(clients, client, daemon, "org/large:latest")
            tracer.terminate()
            tracer.wait()
            moved = sum(int(count) for count in re.findall(r"\) = (\d+)$", traced.read_text(), re.MULTILINE))
            TABLE.append((client, answer, "200 MB layer", f"{moved / 1000:.0f} kB through", "main"))
            assert 0 < moved < 200_000
            clients.forget()
        grown = resident(daemon) - before
        TABLE.append(("all", answer, "memory grown", f"{grown / 1000:.0f} kB", "main"))
        assert grown < 10 << 20


def resident(daemon: Daemon) -> int:
    """Bytes of memory that the daemon has."""
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def test_a_client_from_another_ecosystem_pulls(
    clients: Clients, tmp_path: Path, main: Registry, second: Registry
) -> None:
    """python-dxf is a registry client on requests, which drops Authorization when a redirect leads to another host."""
    image = Image.make()
    for registry in (main, second):
        registry.publish(image, "org/app", "latest")
    daemon = Daemon(tmp_path, settings(main, second, 'repositories = ["org/*"]\n'))
    with running(daemon):
        daemon.start()
        for situation in ("well", "refusing"):
            client = dxf.DXF(f"127.0.0.1:{daemon.port}", "org/app", insecure=True)
            _, head = client.get_manifest_and_response("latest")
            assert head.headers["Docker-Content-Digest"] == image.digest
            for digest, blob in image.blobs.items():
                assert b"".join(client.pull_blob(digest)) == blob  # type: ignore[arg-type]  # no size is asked for
            TABLE.append(("python-dxf", "auto", situation, "", "main" if situation == "well" else "second"))
            main.kill()
