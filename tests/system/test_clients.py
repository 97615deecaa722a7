"""Every client pulls with `answer` set to "auto" and to "serve", while the main registry works and while it fails."""

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
from tests.system.conftest import PULL_ROWS
from tests.system.images import DOCKER, INDEX, RandomImage
from tests.system.registries import DockerRegistry
from tests.system.servers import PUBLISHER, ManifestFaultProxy

CLIENTS = ("docker", "ctr", "podman", "buildah", "skopeo")
CREDENTIALS = ":".join(PUBLISHER)
BACKENDS = """
[[backend]]
name = "main"
url = "{main}"
{main_options}
[[backend]]
name = "second"
url = "{second}"
rename = {rename}
"""


@define
class Clients:
    """All clients under test, by their names."""

    docker: Docker
    podman: Podman

    def pull(self, client: str, image: str, credentials: str | None = None) -> subprocess.CompletedProcess[str]:
        owner = self.docker if client in ("docker", "ctr") else self.podman
        pull: Callable[[str, str | None], subprocess.CompletedProcess[str]] = getattr(owner, f"pull_with_{client}")
        return pull(image, credentials)

    def delete_pulls(self) -> None:
        """Delete the images that Podman, Buildah and Skopeo have pulled, to save disk space."""
        self.podman.delete_pulls()


@pytest.fixture(scope="module")
def clients(needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    needs("dockerd", "docker", "containerd", "ctr", "podman", "buildah", "skopeo", root=True)
    docker = Docker(tmp_path_factory.mktemp("docker"))
    try:
        with tempfile.TemporaryDirectory() as short_path:  # podman accepts no path of 50 characters or more
            yield Clients(docker.start(), Podman(Path(short_path)))
    finally:
        docker.stop()


def render_settings(
    main: DockerRegistry, second: DockerRegistry, top_options: str, main_options: str = "", rename: str = "{}"
) -> str:
    return top_options + BACKENDS.format(main=main.url, second=second.url, main_options=main_options, rename=rename)


def pull_image(clients: Clients, client: str, daemon: Daemon, reference: str, credentials: str | None = None) -> float:
    """Pull through the daemon; return how long it took in seconds."""
    started = time.monotonic()
    result = clients.pull(client, f"127.0.0.1:{daemon.port}/{reference}", credentials)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}\n{daemon.log}"
    return time.monotonic() - started


@pytest.mark.parametrize("answer", ["auto", "serve"])
@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_pulls_by_tag_and_by_digest(
    clients: Clients, tmp_path: Path, main: DockerRegistry, second: DockerRegistry, client: str, answer: str
) -> None:
    tagged_image, digested_image = RandomImage.create(), RandomImage.create()
    main.publish(tagged_image, "org/app", "latest")
    main.publish(digested_image, "org/app", "other")
    daemon = Daemon(tmp_path, render_settings(main, second, f'repositories = ["org/*"]\nanswer = "{answer}"\n'))
    with running(daemon):
        daemon.start()
        for reference_kind, reference in (
            ("by tag", "org/app:latest"),
            ("by digest", f"org/app@{digested_image.digest}"),
        ):
            pull_time = pull_image(clients, client, daemon, reference)
            PULL_ROWS.append((client, answer, reference_kind, f"{pull_time:.1f} s", "main"))
        blob = re.compile(r'/blobs/sha256:\w+ HTTP/1\.1" 307 .* backend=main ')
        daemon.wait_until(lambda: blob.search(daemon.log), "a redirected blob is logged")
        denial = clients.pull(client, f"127.0.0.1:{daemon.port}/evil/app:latest")
        assert denial.returncode != 0
        assert "not among the repositories" in denial.stdout + denial.stderr or "403" in denial.stderr


SITUATIONS = ["refusing", "hanging", "no token server", "500", "429", "wrong digest"]


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_served_pull_succeeds_at_the_first_attempt_however_the_main_registry_fails(
    clients: Clients, tmp_path: Path, main: DockerRegistry, second: DockerRegistry, client: str, situation: str
) -> None:
    image = RandomImage.create()
    for registry in (main, second):
        registry.publish(image, "org/app", "latest")
    top_settings = 'repositories = ["org/*"]\nanswer = "serve"\n[health]\ninterval = "1h"\n'
    proxy = ManifestFaultProxy("127.0.0.8", main.url)
    proxy.start()
    daemon = Daemon(tmp_path, render_settings(main, second, top_settings).replace(main.url, proxy.url))
    with running(daemon):
        daemon.start()
        assert daemon.status()["active"] == "main"
        match situation:
            case "refusing":
                proxy.stop()
            case "hanging":
                main.suspend(True)
            case "no token server":
                main.tokens.stop()
            case _:
                proxy.fault = situation
        pull_time = pull_image(clients, client, daemon, "org/app:latest")
        main.suspend(False)
        proxy.stop()
        assert pull_time < 15
        assert daemon.status()["active"] == "main" or situation in ("refusing", "hanging", "no token server")
        PULL_ROWS.append((client, "serve", situation, f"{pull_time:.1f} s", "second"))
        assert second.cdn.requests
        assert not main.cdn.requests
        assert not any("user/image" in path for _, path in main.tokens.requests), "a token for the placeholder scope"


def test_an_image_that_only_the_second_has_is_pulled_and_one_that_neither_has_is_reported_within_5_s(
    clients: Clients, tmp_path: Path, main: DockerRegistry, second: DockerRegistry
) -> None:
    second.publish(RandomImage.create(), "org/only", "latest")
    daemon = Daemon(tmp_path, render_settings(main, second, 'repositories = ["org/*"]\n'))
    with running(daemon):
        daemon.start()
        pull_image(clients, "podman", daemon, "org/only:latest")
        started = time.monotonic()
        podman_headers = {"User-Agent": "containers/5"}
        status, _, body = daemon.get("/v2/org/none/manifests/latest", headers=podman_headers)
        assert (status, json.loads(body)["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")
        assert time.monotonic() - started < 5
        main.kill()
        status, headers, body = daemon.get("/v2/org/nothing/manifests/latest", headers=podman_headers)
        assert (status, headers["Retry-After"]) == (503, "5")
        message = json.loads(body)["errors"][0]["message"]
        assert "main failed (connection refused)" in message
        assert "second does not have it" in message


def test_skopeo_lists_tags_with_paging(
    clients: Clients, tmp_path: Path, main: DockerRegistry, second: DockerRegistry
) -> None:
    image, tags = RandomImage.create(), [f"v{number}" for number in range(5)]
    for tag in tags:
        main.publish(image, "theirs/app", tag)
    proxy = ManifestFaultProxy("127.0.0.8", main.url)
    proxy.start()
    renamed_settings = render_settings(
        main, second, 'repositories = ["org/*"]\n', main_options='rename = { "org/*" = "theirs/*" }'
    )
    daemon = Daemon(tmp_path, renamed_settings.replace(main.url, proxy.url))
    with running(daemon):
        daemon.start()
        image_name = f"docker://127.0.0.1:{daemon.port}/org/app"
        tag_listing = subprocess.run(
            ["skopeo", "list-tags", "--tls-verify=false", image_name], capture_output=True, text=True, check=True
        )
        assert sorted(json.loads(tag_listing.stdout)["Tags"]) == tags
        page = '"GET /v2/org/app/tags/list HTTP/1.1" 200 '
        daemon.wait_for_log(page, times=3)
    proxy.stop()


@pytest.mark.parametrize("client", ["docker", "podman", "skopeo", "ctr"])
def test_a_renamed_image_is_pulled_from_both_registries(
    clients: Clients, tmp_path: Path, main: DockerRegistry, second: DockerRegistry, client: str
) -> None:
    images = [RandomImage.create(), RandomImage.create()]
    for tag, image in enumerate(images):
        main.publish(image, "org/app", f"v{tag}")
        second.publish(image, "gh-org/app", f"v{tag}")
    renames = {"main_options": 'rename = { "*" = "org/*" }', "rename": '{ "*" = "gh-org/*" }'}
    daemon = Daemon(tmp_path, render_settings(main, second, 'repositories = ["*"]\n', **renames))
    with running(daemon):
        daemon.start()
        pull_image(clients, client, daemon, "app:v0")
        assert main.cdn.requests
        main.kill()
        pull_image(clients, client, daemon, "app:v1")
        assert second.cdn.requests


@pytest.mark.parametrize("client", CLIENTS)
def test_a_private_image_is_pulled_with_the_client_s_own_login(
    clients: Clients, tmp_path: Path, main: DockerRegistry, second: DockerRegistry, client: str
) -> None:
    main.publish(RandomImage.create(), "org/private", "latest")
    main.tokens.private.add("org/private")
    top_settings = 'repositories = ["org/*"]\n'
    daemon = Daemon(tmp_path, f'{top_settings}[[backend]]\nname = "main"\nurl = "{main.url}"\nauth = "client"\n')
    with running(daemon):
        daemon.start()
        rejection = clients.pull(client, f"127.0.0.1:{daemon.port}/org/private:latest")
        assert rejection.returncode != 0
        pull_image(clients, client, daemon, "org/private:latest", CREDENTIALS)
        PULL_ROWS.append((client, "client's login", "private image", "", "main"))
        assert "Bearer" not in daemon.log
        assert PUBLISHER[1] not in daemon.log
        assert second.tokens.requests == []
        assert second.cdn.requests == []


def test_blobs_without_a_cdn_are_redirected_to_the_registry_relayed_or_refused_with_a_remedy(
    clients: Clients, tmp_path: Path
) -> None:
    hosts = ("127.0.0.2", "127.0.0.4", "127.0.0.6")
    image = RandomImage.create(300_000)
    digest, blob = max(image.blobs.items(), key=lambda item: len(item[1]))
    podman = {"User-Agent": "containers/5"}
    for case, tokens, relays in (("public", False, False), ("refused", True, False), ("relayed", True, True)):
        directory = tmp_path / case
        directory.mkdir()
        registry = DockerRegistry("main", directory / "main", hosts, redirects_blobs=False, requires_tokens=tokens)
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
                    case "refused":
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
                    pull_image(clients, client, daemon, "org/app:latest")
                    PULL_ROWS.append((client, "serve", f"no CDN, {case}", "", "main"))
        finally:
            registry.stop()


def test_a_signature_of_an_image_can_be_fetched(
    clients: Clients, tmp_path: Path, main: DockerRegistry, second: DockerRegistry
) -> None:
    """docker-registry has no referrers API, so the list is that of the fallback tag, which contains the digest."""
    image, signature = RandomImage.create(), RandomImage.create()
    main.publish(image, "org/app", "latest")
    main.publish(signature, "org/app", image.digest.replace(":", "-"))
    daemon = Daemon(tmp_path, render_settings(main, second, 'repositories = ["org/*"]\n'))
    with running(daemon):
        daemon.start()
        oras_headers = {"User-Agent": "oras-go", "Accept": INDEX}
        status, _, body = daemon.get(f"/v2/org/app/referrers/{image.digest}", headers=oras_headers)
        listed = [entry["digest"] for entry in json.loads(body)["manifests"]]
        assert (status, listed) == (200, [digest for _, digest, _ in signature.manifests[:-1]])
        path = f"/v2/org/app/manifests/{image.digest.replace(':', '-')}"
        status, headers, _ = daemon.get(path, headers=oras_headers)
        assert (status, headers["Docker-Content-Digest"]) == (200, signature.digest)


LARGE = 200_000_000
"""Size of a large layer in bytes."""


@pytest.fixture
def large() -> RandomImage:
    return RandomImage.create(LARGE, platforms=("amd64",))


@pytest.mark.parametrize("answer", ["auto", "serve"])
def test_layers_do_not_pass_through_the_daemon(
    clients: Clients,
    needs: Callable[..., None],
    tmp_path: Path,
    main: DockerRegistry,
    second: DockerRegistry,
    large: RandomImage,
    answer: str,
) -> None:
    needs("strace")
    main.publish(large, "org/large", "latest")
    daemon = Daemon(tmp_path, render_settings(main, second, f'repositories = ["org/*"]\nanswer = "{answer}"\n'))
    with running(daemon):
        daemon.start()
        pull_image(clients, "skopeo", daemon, "org/large:latest")
        assert daemon.process is not None
        before = resident_memory(daemon)
        for client in CLIENTS:
            trace_file = tmp_path / f"{client}.strace"
            strace_command = ["strace", "-f", "-qq", "-p", str(daemon.process.pid), "-o", str(trace_file)]
            calls = "trace=read,write,readv,writev,recvfrom,sendto,recvmsg,sendmsg,sendfile"
            tracer = subprocess.Popen([*strace_command, "-e", calls])
            wait_until(lambda trace_file=trace_file: trace_file.exists(), "strace")  # type: ignore[misc]
            pull_image(clients, client, daemon, "org/large:latest")
            tracer.terminate()
            tracer.wait()
            bytes_moved = sum(int(count) for count in re.findall(r"\) = (\d+)$", trace_file.read_text(), re.MULTILINE))
            PULL_ROWS.append((client, answer, "200 MB layer", f"{bytes_moved / 1000:.0f} kB via daemon", "main"))
            assert 0 < bytes_moved < 200_000
            clients.delete_pulls()
        memory_growth = resident_memory(daemon) - before
        PULL_ROWS.append(("all", answer, "memory growth", f"{memory_growth / 1000:.0f} kB", "main"))
        assert memory_growth < 10 << 20


def resident_memory(daemon: Daemon) -> int:
    """Return the resident memory of the daemon in bytes."""
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    match = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024


def test_python_dxf_pulls_from_both_registries(
    clients: Clients, tmp_path: Path, main: DockerRegistry, second: DockerRegistry
) -> None:
    """python-dxf uses requests, which drops the Authorization header when a redirect leads to another host."""
    image = RandomImage.create()
    for registry in (main, second):
        registry.publish(image, "org/app", "latest")
    daemon = Daemon(tmp_path, render_settings(main, second, 'repositories = ["org/*"]\n'))
    with running(daemon):
        daemon.start()
        for situation in ("working", "refusing"):
            client = dxf.DXF(f"127.0.0.1:{daemon.port}", "org/app", insecure=True)
            _, response = client.get_manifest_and_response("latest")
            assert response.headers["Docker-Content-Digest"] == image.digest
            for digest, blob in image.blobs.items():
                assert b"".join(client.pull_blob(digest)) == blob  # type: ignore[arg-type]  # called without get_size
            PULL_ROWS.append(("python-dxf", "auto", situation, "", "main" if situation == "working" else "second"))
            main.kill()


@pytest.mark.parametrize("accept", ["*/*", DOCKER[0]])
def test_a_docker_image_is_served_to_a_client_that_names_no_media_type_too(
    tmp_path: Path, main: DockerRegistry, accept: str
) -> None:
    """Distribution 2.8 converts it to schema 1 for curl, and does not know the digest of what it made."""
    image = RandomImage.create_for_docker()
    main.publish(image, "org/app", "latest")
    daemon = Daemon(tmp_path, f'repositories = ["org/*"]\n[[backend]]\nname = "main"\nurl = "{main.url}"\n')
    headers = {"User-Agent": "curl/8.14.1", "Accept": accept}
    with running(daemon):
        daemon.start()
        for method in ("HEAD", "GET", "GET"):
            status, answered, body = daemon.get("/v2/org/app/manifests/latest", method=method, headers=headers)
            assert status == 200, body
            converted = answered["Content-Type"] == "application/vnd.docker.distribution.manifest.v1+prettyjws"
            assert converted == (accept == "*/*")
            assert (answered["Docker-Content-Digest"] == image.digest) == (not converted)
        assert json.loads(body)["schemaVersion"] == (1 if converted else 2)
