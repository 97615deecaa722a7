"""The configuration of clients: valid files, in the right order, which leave out what they cannot express."""

import json
import tomllib
from pathlib import Path

import pytest

from facaded.cli import client_files
from facaded.cli.client_files import CLIENTS, NoConfigurationError, facade_url
from facaded.cli.command_line import CLIENT_NAMES, main
from facaded.config import loading
from facaded.config.sections import Config
from facaded.net.reactor import installed

URL = "https://docker.example.com"
TWO = """
hosts = ["192.0.2.1", "docker.example.com", "other.example.com"]
repositories = ["org/*", "org/tool"]
[tls]
[[tls.certificate]]
chain = "/etc/chain.pem"
key = "/etc/key.pem"
[[backend]]
name = "docker-hub"
url = "https://registry-1.docker.io"
[[backend]]
name = "ghcr"
url = "http://ghcr.test:5000"
rename = {rename}
"""


def config(tmp_path: Path, settings: str = TWO, rename: str = "{}") -> Config:
    path = tmp_path / "facaded.toml"
    path.write_text(settings.replace("{rename}", rename))
    return loading.load(path, None, {}, installed()).config


def test_every_client_has_a_file() -> None:
    assert CLIENTS.keys() == set(CLIENT_NAMES)


@pytest.mark.parametrize(
    ("change", "url"),
    [
        (("", ""), URL),
        (("[tls]", "[tls]\npublic_port = 8443"), f"{URL}:8443"),
        (
            ('[tls]\n[[tls.certificate]]\nchain = "/etc/chain.pem"\nkey = "/etc/key.pem"\n', ""),
            "http://docker.example.com:8080",
        ),
        (
            (
                '[tls]\n[[tls.certificate]]\nchain = "/etc/chain.pem"\nkey = "/etc/key.pem"\n',
                '[listen]\nhttp = ":80"\n',
            ),
            "http://docker.example.com",
        ),
        (
            (
                '[tls]\n[[tls.certificate]]\nchain = "/etc/chain.pem"\nkey = "/etc/key.pem"\n',
                'trusted_proxies = ["10.0.0.0/8"]\n',
            ),
            URL,
        ),
    ],
)
def test_the_url_of_the_facade_comes_from_the_settings(tmp_path: Path, change: tuple[str, str], url: str) -> None:
    assert facade_url(config(tmp_path, TWO.replace(*change))) == url


def test_without_a_name_the_url_must_be_given() -> None:
    with pytest.raises(NoConfigurationError, match="hosts: name this facade in the settings, or add --url"):
        client_files.render("containerd", Config(), None)


def test_containerd_asks_the_facade_first_and_then_the_backends(tmp_path: Path) -> None:
    content = client_files.render("containerd", config(tmp_path, rename='{ "**" = "mirror/**" }'), None).content
    assert content.startswith("# /etc/containerd/certs.d/docker.example.com/hosts.toml\n")
    document = tomllib.loads(content)
    assert document["server"] == URL
    assert list(document["host"]) == [URL, "https://registry-1.docker.io", "http://ghcr.test:5000/v2/mirror"]
    assert document["host"]["http://ghcr.test:5000/v2/mirror"] == {
        "capabilities": ["pull", "resolve"],
        "override_path": True,
    }


def test_a_rename_that_a_client_cannot_express_leaves_the_backend_out_and_says_so(tmp_path: Path) -> None:
    renamed = config(tmp_path, rename='{ "org/*" = "gh/*" }')
    for client in ("containerd", "buildkit"):
        content = client_files.render(client, renamed, None).content
        assert "ghcr is left out: " in content
        assert "ghcr.test" not in content


def test_buildkit_gets_mirrors_and_the_scheme_of_each(tmp_path: Path) -> None:
    content = client_files.render("buildkit", config(tmp_path, rename='{ "**" = "mirror/**" }'), None).content
    assert tomllib.loads(content)["registry"] == {
        "docker.example.com": {"mirrors": ["docker.example.com", "registry-1.docker.io", "ghcr.test:5000/mirror"]},
        "ghcr.test:5000": {"http": True},
    }
    plain = client_files.render("buildkit", config(tmp_path), "http://localhost:8080").content
    assert tomllib.loads(plain)["registry"]["localhost:8080"]["http"] is True


def test_podman_gets_an_entry_for_each_namespace_with_its_renames(tmp_path: Path) -> None:
    content = client_files.render("podman", config(tmp_path, rename='{ "org/*" = "gh/*" }'), None).content
    whole, tool = tomllib.loads(content)["registry"]
    assert whole == {
        "prefix": "docker.example.com/org",
        "location": "ghcr.test:5000/gh",
        "insecure": True,
        "mirror": [{"location": "docker.example.com/org"}, {"location": "docker.io/org"}],
    }
    assert (tool["prefix"], tool["location"]) == ("docker.example.com/org/tool", "ghcr.test:5000/gh/tool")


def test_podman_gets_one_entry_for_a_namespace_with_several_patterns(tmp_path: Path) -> None:
    several = TWO.replace('"org/*", "org/tool"', '"org/*", "org/**"')
    (registry,) = tomllib.loads(client_files.render("podman", config(tmp_path, several), None).content)["registry"]
    assert registry["prefix"] == "docker.example.com/org"
    assert registry["mirror"] == [{"location": "docker.example.com/org"}, {"location": "docker.io/org"}]


def test_podman_does_not_ask_the_registries_of_a_shorter_prefix(tmp_path: Path) -> None:
    """Those of org/* may not have org/next/*, so that its names there may be somebody else's."""
    route = '[[route]]\nrepositories = ["org/next/*"]\nbackends = ["ghcr"]\n[tls]'
    settings = TWO.replace('"org/*", "org/tool"', '"org/**"').replace("[tls]", route)
    content = client_files.render("podman", config(tmp_path, settings, '{ "org/next/a-*" = "a-*" }'), None).content
    narrow, wide = tomllib.loads(content)["registry"]
    assert narrow == {"prefix": "docker.example.com/org/next", "location": "docker.example.com/org/next"}
    assert wide["prefix"] == "docker.example.com/org"


def test_the_name_of_podmans_file_has_no_port(tmp_path: Path) -> None:
    for url, name in (("https://[2001:db8::1]:8443", "2001:db8::1"), ("https://mirror.test:8443", "mirror.test")):
        content = client_files.render("podman", config(tmp_path), url).content
        assert content.startswith(f"# /etc/containers/registries.conf.d/{name}.conf\n")


def test_clients_with_one_list_for_the_whole_host_are_told_what_that_means(tmp_path: Path) -> None:
    for client in ("containerd", "buildkit"):
        text = " ".join(client_files.render(client, config(tmp_path), None).content.replace("\n# ", " ").split())
        assert "for every repository, also for one that facaded refuses" in text


def test_podman_is_told_what_has_no_entry(tmp_path: Path) -> None:
    routed = TWO.replace("[tls]", '[[route]]\nrepositories = ["org/next-*"]\nbackends = ["ghcr"]\n[tls]')
    content = client_files.render("podman", config(tmp_path, routed), "http://localhost:8080").content
    assert "# org/next-*: no entry, because it is not a whole namespace." in content
    assert "# org/*: docker-hub is left out, because of its renames or routes." in content
    assert tomllib.loads(content)["registry"][0] == {
        "prefix": "localhost:8080/org",
        "location": "ghcr.test:5000/org",
        "insecure": True,
        "mirror": [{"location": "localhost:8080/org", "insecure": True}],
    }


def test_without_anything_to_fall_back_to_there_is_no_file(tmp_path: Path) -> None:
    elsewhere = TWO.replace('"org/*", "org/tool"', '"org/app-*"')
    with pytest.raises(NoConfigurationError, match="there is nothing to fall back to"):
        client_files.render("podman", config(tmp_path, elsewhere), None)
    split = "".join(
        f'[[route]]\nrepositories = ["org/{name}"]\nbackends = ["{backend}"]\n'
        for name, backend in (("a", "ghcr"), ("b", "docker-hub"))
    )
    with pytest.raises(NoConfigurationError, match="there is nothing to fall back to"):
        client_files.render("containerd", config(tmp_path, TWO.replace("[tls]", f"{split}[tls]")), None)


def test_docker_gets_a_mirror_of_docker_hub_only(tmp_path: Path) -> None:
    file = client_files.render("docker", config(tmp_path), None)
    assert json.loads(file.content) == {"registry-mirrors": [URL]}
    assert "a pull of docker.example.com/org/app has nowhere else to go while facaded is gone" in file.notes
    plain = client_files.render("docker", config(tmp_path), "http://localhost:8080")
    assert json.loads(plain.content)["insecure-registries"] == ["localhost:8080"]
    with pytest.raises(NoConfigurationError, match="Docker has mirrors only for Docker Hub"):
        client_files.render("docker", config(tmp_path, TWO.replace("registry-1.docker.io", "quay.io")), None)


def test_the_command_prints_the_file_and_its_notes_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config(tmp_path)
    settings = ["--config", str(tmp_path / "facaded.toml")]
    assert main(["client-config", "docker", *settings]) == 0
    printed = capsys.readouterr()
    json.loads(printed.out)
    assert "facaded: add this to /etc/docker/daemon.json" in printed.err
    assert main(["client-config", "containerd", *settings, "--url", "https://mirror.test:8443/"]) == 0
    assert 'server = "https://mirror.test:8443"' in capsys.readouterr().out
    assert main(["client-config", "containerd", "--org", "org"]) == 2
    assert "hosts: name this facade in the settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url", ["docker.example.com", "ftp://a.test", "https://a.test/path", "https://a.test?q", "https://u@a.test"]
)
def test_a_url_that_cannot_be_one_is_a_usage_error(capsys: pytest.CaptureFixture[str], url: str) -> None:
    assert main(["client-config", "containerd", "--url", url]) == 2
    assert "argument --url" in capsys.readouterr().err
