"""What good settings mean, and what `check` advises about them."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from facaded.config.sections import CacheSettings, HealthSettings, HistorySettings
from facaded.oci.requests import Image
from facaded.policy import repositories
from facaded.policy.decision import Mode, Route
from facaded.policy.limits import Limits
from facaded.policy.sources import Addresses
from facaded.web.accesslog import LoggedAnswers, LogStyle
from tests.config.reading import TWO, problems, read


def test_a_whole_file(tmp_path: Path) -> None:
    loaded = read(
        """
        hosts = ["Docker.Example.com.", "[::1]", "192.0.2.1"]
        repositories = ["org/*", "team/**"]
        answer = "serve"
        workers = "auto"
        log = "json"
        access_log = "errors"
        addresses = "masked"
        trusted_proxies = ["127.0.0.0/8"]
        stop_delay = "5s"
        [cache]
        manifests = "1MiB"
        tag_ttl = "5s"
        stale_tags = "0s"
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
        [limits]
        connections = 500
        exempt = ["192.0.2.7", "2001:db8:1::/48"]
        [notify]
        command = ["/bin/sh", "-c", "exit 0"]
        [state]
        directory = "/var/lib/x"
        acme_directory = "/mnt/shared"
        [history]
        days = 30
        size = "20MiB"
        """
        + TWO
        + 'rename = { "org/*" = "other/*" }\ncanary = "org/image"\n',
        tmp_path,
    )
    settings = loaded.config
    assert settings.state.acme_directory == Path("/mnt/shared")
    assert settings.hosts == ("docker.example.com", "::1", "192.0.2.1")
    assert [address.endpoint for address in settings.listen.http] == ["tcp:80", "tcp:8080"]
    assert settings.health == HealthSettings(
        interval=60, fast_interval=0.5, timeout=1.5, fall=3, rise=1, failback_after=3600, canary=Image("org/app", "v1")
    )
    assert [backend.url for backend in settings.backends] == ["https://main.test", "https://second.test:5000"]
    assert [settings.canary(backend) for backend in settings.backends] == [Image("org/app", "v1"), Image("other/image")]
    assert settings.rules.routes == (
        Route(("second", "main"), (repositories.parse("org/next-*"),)),
        Route(("main", "second")),
    )
    assert settings.answer is Mode.SERVE
    assert settings.workers is None
    assert (settings.log, settings.access_log) == (LogStyle.JSON, LoggedAnswers.ERRORS)
    assert settings.addresses is Addresses.MASKED
    assert settings.cache == CacheSettings(1 << 20, 5, 0)
    assert settings.limits == Limits(connections=500, exempt=(ip_network("192.0.2.7"), ip_network("2001:db8:1::/48")))
    assert (settings.trusted_proxies, settings.stop_delay) == ((ip_network("127.0.0.0/8"),), 5)
    assert repositories.renamed(settings.rules.backends["second"].renames, "org/app") == "other/app"
    assert settings.notify.command == ("/bin/sh", "-c", "exit 0")
    assert settings.history == HistorySettings(30, 20 << 20)
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("program", "warning"),
    [
        ("/nonexistent", "there is no program /nonexistent on this machine: install it, or correct the path"),
        ("nonexistent-too", "there is no program nonexistent-too on this machine: install it, or correct the path"),
        ("/dev/null", "/dev/null is not an executable file: chmod +x /dev/null, or name another"),
        ("/etc", "/etc is not an executable file: chmod +x /etc, or name another"),
        ("sh", ""),
        ("/bin/sh", ""),
    ],
)
def test_a_command_that_cannot_be_run_is_a_warning(program: str, warning: str, tmp_path: Path) -> None:
    warnings = read(f'[notify]\ncommand = ["{program}", "x"]', tmp_path, {"PATH": "/usr/bin:/bin"}).warnings
    assert [one for one in warnings if one.startswith("notify")] == ([f"notify.command: {warning}"] if warning else [])


@pytest.mark.parametrize("interface", ["127.0.0.1", "127.0.0.9:backlog=5", "\\\\:\\\\:1"])
def test_clients_may_log_in_over_plain_http_on_loopback_addresses(interface: str, tmp_path: Path) -> None:
    listen = f'[listen]\nhttp = "tcp:8080:interface={interface}"\n'
    settings = read(listen + '[[backend]]\nname = "x"\nurl = "https://x"\nauth = "client"', tmp_path).config
    assert settings.rules.private == "x"


def test_credentials_are_refused_without_a_list_of_repositories(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("s3cret")
    password.chmod(0o600)
    account = f'username = "me"\npassword_file = "{password}"\n'
    (problem,) = problems(TWO + account, tmp_path)
    assert problem.startswith("facaded.toml:8: backend[1].username: with empty `repositories` anybody could use up")
    settings = read('repositories = ["org/*"]' + TWO + account + "rename = {}", tmp_path).config
    assert settings.backends[1].credentials is not None
    password.write_text("")
    (problem,) = problems('repositories = ["org/*"]' + TWO + account, tmp_path)
    assert problem.startswith("facaded.toml:9: backend[1].password_file: ")
    assert problem.endswith(" is empty: write the secret into it")
    assert "s3cret" not in repr(settings)


WATCHED = 'repositories = ["org/*"]\n[health]\ncanary = "org/app"\n'


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        (TWO, "repositories: empty, so there is no failover: every request goes to main and none to second"),
        (WATCHED + TWO, "backend[1].rename: confirm that you own these names on second: add rename = {}"),
        (WATCHED + TWO + "rename = {}", None),
        (WATCHED + TWO.replace("second.test", "main.test").replace(":5000", ":5001"), None),
        (
            'repositories = ["org/*"]' + TWO + "rename = {}",
            "health.canary: there is none for main, second, so a registry that fails only for",
        ),
        (
            'repositories = ["org/*"]' + TWO + 'rename = {}\ncanary = "org/app"',
            "health.canary: there is none for main, so a registry that fails",
        ),
        ('[[backend]]\nname = "x"\nurl = "https://x"', "backend: there is only one, so there is no failover"),
    ],
)
def test_settings_that_are_allowed_but_doubtful_give_a_warning(text: str, warned: str | None, tmp_path: Path) -> None:
    warnings = read(text, tmp_path).warnings
    assert [warning[: len(warned or "")] for warning in warnings] == ([warned] if warned else [])


def test_a_registry_may_have_the_facade_s_host_at_another_port(tmp_path: Path) -> None:
    text = 'hosts = ["localhost"]\n[listen]\nhttp = ":8080"\n[[backend]]\nname = "x"\nurl = "http://localhost:{port}"'
    assert read(text.replace("{port}", "5000"), tmp_path).config.backends[0].url == "http://localhost:5000"
    (problem,) = problems(text.replace("{port}", "8080"), tmp_path)
    assert "so facaded would ask itself" in problem
