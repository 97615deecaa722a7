"""Where settings come from, and where the state and the control socket are."""

from pathlib import Path

import pytest
from twisted.internet import reactor

from facaded.config import paths
from facaded.config.loading import load
from facaded.config.paths import control_endpoint, control_socket, state_directory
from facaded.config.sections import Config
from facaded.config.settings_error import SettingsError
from tests.config.reading import read


def test_without_a_file_there_are_docker_hub_and_ghcr_and_no_failover() -> None:
    loaded = load(None, None, {}, reactor)
    assert loaded.config == Config()
    assert [backend.name for backend in loaded.config.backends] == ["docker-hub", "ghcr"]
    assert [route.backends for route in loaded.config.rules.routes] == [("docker-hub",)]
    assert "there is no failover" in loaded.warnings[0]


def test_the_organisation_on_the_command_line_names_the_repositories(tmp_path: Path) -> None:
    loaded = load(None, "example", {}, reactor)
    assert [pattern.text for pattern in loaded.config.repositories] == ["example/**"]
    assert [route.backends for route in loaded.config.rules.routes] == [("docker-hub", "ghcr")]
    assert loaded.config.backends[1].rename == (), "--org says that the names are yours"
    assert [warning.partition(":")[0] for warning in loaded.warnings] == ["health.canary"]
    for wrong in ("", "Example", "a b", "*", "../x", "docker.io/example", "example/**", "example:latest"):
        with pytest.raises(SettingsError, match="--org"):
            load(None, wrong, {}, reactor)
    (tmp_path / "facaded.toml").write_text("")
    with pytest.raises(SettingsError, match="--org: it only works without a file: set `repositories` in"):
        load(tmp_path / "facaded.toml", "example", {}, reactor)


def test_the_system_s_file_is_read_if_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "system.toml").write_text('repositories = ["system/*"]')
    assert load(None, None, {"REGISTRY_ORG": "ignored"}, reactor).config.repositories[0].text == "system/*"


def test_the_environment_of_the_first_facade_s_container_is_understood() -> None:
    loaded = load(None, None, {"REGISTRY_HOST": "ghcr.io", "REGISTRY_ORG": "example"}, reactor)
    assert [(backend.name, backend.url) for backend in loaded.config.backends] == [("ghcr", "https://ghcr.io")]
    assert [pattern.text for pattern in loaded.config.repositories] == ["example/**"]
    renamed = load(None, None, {"REGISTRY_HOST": "registry.hub.docker.com"}, reactor)
    assert renamed.config.backends[0].url == "https://registry-1.docker.io"
    assert "no longer works and is read as registry-1.docker.io" in renamed.warnings[0]
    with pytest.raises(SettingsError, match=r"backend\[0\].url"):
        load(None, None, {"REGISTRY_HOST": "a/b"}, reactor)


def test_the_state_is_kept_where_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_directory(Config(), {"STATE_DIRECTORY": "/a:/b"}) == Path("/a")
    monkeypatch.setattr(paths, "SYSTEM_STATE", tmp_path / "lib" / "facaded")
    assert state_directory(Config(), {"XDG_STATE_HOME": "/x"}) == Path("/x/facaded")
    assert state_directory(Config(), {"HOME": "/h"}) == Path("/h/.local/state/facaded")
    (tmp_path / "lib").mkdir()
    assert state_directory(Config(), {}) == tmp_path / "lib" / "facaded"
    (tmp_path / "lib" / "facaded").symlink_to("private/facaded")
    assert state_directory(Config(), {"HOME": "/h"}) == Path("/h/.local/state/facaded"), (
        "the state of a service of another user"
    )


def test_the_control_socket_is_closed_to_others_unless_the_setting_opens_it(tmp_path: Path) -> None:
    def path(settings: Config, environ: dict[str, str]) -> tuple[str, str]:
        return str(control_socket(settings, environ)), control_endpoint(settings, environ).rpartition(":")[2]

    assert path(Config(), {"RUNTIME_DIRECTORY": "/run/a:b"}) == ("/run/a/control.sock", "mode=600")
    assert path(Config(), {"STATE_DIRECTORY": "/odd=dir\\x"}) == ("/odd=dir\\x/control.sock", "mode=600")
    given = read('[listen]\ncontrol = "unix:/run/x.sock:mode=660"', tmp_path).config
    assert path(given, {}) == ("/run/x.sock", "mode=660")
    bare = read('[listen]\ncontrol = "unix:address=/run/a\\\\:b.sock"', tmp_path).config
    assert path(bare, {}) == ("/run/a:b.sock", "mode=600")
