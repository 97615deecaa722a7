"""Settings from the environment: what overrides what, where each is from, and what is refused."""

from pathlib import Path

import pytest
from twisted.internet import reactor

from facaded.config.loading import Loaded, load
from facaded.config.settings_error import SettingsError
from facaded.oci.requests import Image
from facaded.policy.decision import Mode
from tests.config.reading import TWO, problems, read

ALL = {
    "FACADED_HOSTS": "docker.example.com, registry.example.com",
    "FACADED_REPOSITORIES": "org/** team/app",
    "FACADED_CANARY": "org/app:v1",
    "FACADED_ANSWER": "serve",
}


def without_file(**environ: str) -> Loaded:
    return load(None, None, environ, reactor)


def test_without_a_file_the_environment_is_enough() -> None:
    loaded = without_file(**ALL)
    assert loaded.config.hosts == ("docker.example.com", "registry.example.com")
    assert [pattern.text for pattern in loaded.config.repositories] == ["org/**", "team/app"]
    assert (loaded.config.health.canary, loaded.config.answer) == (Image("org/app", "v1"), Mode.SERVE)
    assert loaded.warnings == (), "the names are yours on both registries"


def test_the_environment_overrides_the_file_and_each_origin_is_known(tmp_path: Path) -> None:
    text = 'hosts = ["a.test"]\nanswer = "auto"\n[health]\ninterval = "20s"\ncanary = "org/x"\n'
    loaded = read(text, tmp_path, {name: value for name, value in ALL.items() if name != "FACADED_ANSWER"})
    assert loaded.config.answer is Mode.AUTO
    assert loaded.config.health.interval == 20
    origins = {key: origin.removeprefix(f"{tmp_path}/") for key, origin in loaded.origins.items()}
    assert origins == {
        "hosts": "FACADED_HOSTS",
        "repositories": "FACADED_REPOSITORIES",
        "answer": "facaded.toml:2",
        "health.interval": "facaded.toml:4",
        "health.canary": "FACADED_CANARY",
    }


def test_a_mistake_in_a_variable_names_the_variable(tmp_path: Path) -> None:
    environ = ALL | {"FACADED_HOSTS": "*.a.test", "FACADED_ANSWER": "proxy"}
    assert problems("", tmp_path, environ) == (
        "FACADED_HOSTS: hosts[0]: '*.a.test': wildcards are not supported here: list each host name",
        'FACADED_ANSWER: answer: \'proxy\': expected "auto", "redirect" or "serve"',
    )


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    empty = dict.fromkeys([*ALL, "FACADED_MAIN_USERNAME", "FACADED_MAIN_PASSWORD_FILE"], "")
    config = read('hosts = ["a.test"]' + TWO, tmp_path, empty).config
    assert (config.hosts, config.backends[0].username) == (("a.test",), None), "not open to any host"


def test_a_section_that_is_no_table_is_still_reported(tmp_path: Path) -> None:
    (problem,) = problems("health = 5", tmp_path, {"FACADED_CANARY": "org/app"})
    assert problem.startswith("facaded.toml:1: health: expected a table")


def test_an_account_of_a_backend_has_its_password_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    secret.chmod(0o600)
    account = {"FACADED_GHCR_USERNAME": "me", "FACADED_GHCR_PASSWORD_FILE": str(secret)}
    loaded = without_file(**ALL, **account)
    assert [backend.credentials is not None for backend in loaded.config.backends] == [False, True]
    assert loaded.origins["backend[1].username"] == "FACADED_GHCR_USERNAME"
    named = {"FACADED_SECOND_USERNAME": "me", "FACADED_SECOND_PASSWORD_FILE": str(secret)}
    text = 'repositories = ["org/*"]' + TWO.replace("second", "s.e-cond", 1)
    named = {name.replace("SECOND", "S_E_COND"): value for name, value in named.items()}
    assert read(text, tmp_path, named).config.backends[1].username == "me"
    with pytest.raises(SettingsError, match="FACADED_GHCR_PASSWORD: other processes can see it there"):
        without_file(FACADED_GHCR_PASSWORD="s3cret")


def test_a_misspelt_variable_is_warned_of_but_not_one_of_kubernetes() -> None:
    assert "did you mean FACADED_HOSTS?" in without_file(FACADED_HOST="a.test").warnings[0]
    quiet = without_file(**ALL, FACADED_SERVICE_HOST="10.0.0.1", FACADED_PORT="tcp://10.0.0.1:80", FACADED_OTHER="1")
    assert quiet.warnings == ()


def test_the_container_that_came_before_is_still_understood_beside_it() -> None:
    loaded = without_file(REGISTRY_HOST="ghcr.io", FACADED_REPOSITORIES="org/**")
    assert [backend.name for backend in loaded.config.backends] == ["ghcr"]
    assert loaded.source == "built-in defaults and REGISTRY_HOST"
