"""What good settings mean, and what is said about them."""

from pathlib import Path

import pytest

from facaded import config
from facaded.oci.requests import Image
from facaded.policy import decision, health, repositories
from facaded.policy.decision import Mode
from tests.config.reading import TWO, problems, read


def test_a_whole_file(tmp_path: Path) -> None:
    loaded = read(
        """
        hosts = ["Docker.Example.com.", "[::1]", "192.0.2.1"]
        repositories = ["org/*", "team/**"]
        answer = "serve"
        [cache]
        manifests = "1MiB"
        tag_ttl = "5s"
        [[route]]
        repositories = ["org/next-*"]
        backends = ["second", "main"]
        [listen]
        http = ["tcp:80", "tcp:8080"]
        admin = []
        admin_hosts = ["monitor"]
        control = "unix:/run/x.sock:mode=660"
        [health]
        interval = "1m"
        fast_interval = "500ms"
        timeout = "1.5s"
        rise = 1
        fall = 3
        failback_after = "1h"
        canary = "org/app:v1"
        [state]
        directory = "/var/lib/x"
        """
        + TWO
        + 'rename = { "org/*" = "other/*" }\ncanary = "org/image"\n',
        tmp_path,
    )
    settings = loaded.config
    assert settings.hosts == ("docker.example.com", "::1", "192.0.2.1")
    assert settings.listen.http == ("tcp:80", "tcp:8080")
    assert settings.health.machine == health.Settings(
        interval=60, fast_interval=0.5, timeout=1.5, fall=3, rise=1, failback_after=3600
    )
    assert [backend.url for backend in settings.backends] == ["https://main.test", "https://second.test:5000"]
    assert [settings.canary(backend) for backend in settings.backends] == [Image("org/app", "v1"), Image("other/image")]
    assert settings.rules.routes == (
        decision.Route(("second", "main"), (repositories.parse("org/next-*"),)),
        decision.Route(("main", "second")),
    )
    assert settings.answer is Mode.SERVE
    assert settings.cache == config.Cache(config.Bytes(1 << 20), config.Seconds(5))
    assert repositories.renamed(settings.rules.backends["second"].renames, "org/app") == "other/app"
    assert loaded.warnings == ()


@pytest.mark.parametrize("interface", ["127.0.0.1", "127.0.0.9:backlog=5", "\\\\:\\\\:1"])
def test_clients_credentials_may_pass_on_loopback_addresses(interface: str, tmp_path: Path) -> None:
    listen = f'[listen]\nhttp = "tcp:8080:interface={interface}"\n'
    settings = read(listen + '[[backend]]\nname = "x"\nurl = "https://x"\nauth = "client"', tmp_path).config
    assert settings.rules.private == "x"


def test_credentials_are_refused_without_a_list_of_repositories(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("s3cret")
    password.chmod(0o600)
    account = f'username = "me"\npassword_file = "{password}"\n'
    found = problems(TWO + account, tmp_path)
    assert found[0].startswith("backend[1].username: with empty `repositories` anybody could spend it")
    settings = read('repositories = ["org/*"]' + TWO + account + "rename = {}", tmp_path).config
    assert settings.backends[1].credentials is not None
    password.write_text("")
    found = problems('repositories = ["org/*"]' + TWO + account, tmp_path)
    assert found[0].startswith("backend[1].password_file: ")
    assert "s3cret" not in repr(settings)


WATCHED = 'repositories = ["org/*"]\n[health]\ncanary = "org/app"\n'


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        (TWO, "repositories: empty, so there is no failover: everything is sent to main and nothing to second"),
        (WATCHED + TWO, "backend[1].rename: second is asked for the same names as main"),
        (WATCHED + TWO + "rename = {}", None),
        (WATCHED + TWO.replace("second.test", "main.test"), None),
        (
            'repositories = ["org/*"]' + TWO + "rename = {}",
            "health.canary: there is none for main, second, so that it is",
        ),
        (
            'repositories = ["org/*"]' + TWO + 'rename = {}\ncanary = "org/app"',
            "health.canary: there is none for main, so that it is not noticed",
        ),
        ('[[backend]]\nname = "x"\nurl = "https://x"', "backend: there is only one, so there is no failover"),
    ],
)
def test_what_the_settings_allow_but_a_person_should_know_is_said(
    text: str, warned: str | None, tmp_path: Path
) -> None:
    warnings = read(text, tmp_path).warnings
    assert [warning[: len(warned or "")] for warning in warnings] == ([warned] if warned else [])
