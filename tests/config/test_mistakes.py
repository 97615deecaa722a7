"""Every way to get the settings wrong: each mistake gives one error, with the line, the key and the remedy."""

import os
from pathlib import Path

import pytest
from twisted.internet import reactor

from facaded.config.loading import load
from facaded.config.settings_error import SettingsError
from tests.config.mistakes import WRONG
from tests.config.reading import TWO, problems, read
from tests.config.tls_mistakes import WRONG_TLS


@pytest.mark.parametrize(("text", "problem"), [*WRONG, *WRONG_TLS])
def test_a_mistake_gives_one_error_with_its_line_its_key_and_a_remedy(text: str, problem: str, tmp_path: Path) -> None:
    (error,) = problems(text, tmp_path)
    assert error.startswith(problem)
    assert ": " in error.removeprefix(problem.partition(": ")[0]), "a remedy after the reason"


def test_a_long_value_is_shortened_and_a_secret_not_quoted(tmp_path: Path) -> None:
    (problem,) = problems(f'answer = "{"x" * 1000}"', tmp_path)
    assert problem.startswith("facaded.toml:1: answer: 'xxx")
    assert len(problem) < 200
    (problem,) = problems(TWO + 'username = "me"\npassword_file = "s3cret"', tmp_path)
    assert "s3cret" not in problem


def keys(text: str, tmp_path: Path) -> list[str]:
    """The line and the key of each error."""
    return [": ".join(problem.removeprefix("facaded.toml:").split(": ")[:2]) for problem in problems(text, tmp_path)]


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """bogus = 1
repositories = ["org/*"]
[health]
interval = 5
canary = "evil/app"
[listen]
http = "nonsense"
[[backend]]
name = "a"
[[backend]]
name = "b"
url = "nonsense"
[[backend]]
name = "c"
url = "https://c.test"
[[backend]]
name = "c"
url = "https://d.test"
"""
    assert keys(text, tmp_path) == [
        "1: bogus",
        "4: health.interval",
        "5: health.canary",
        "7: listen.http",
        "8: backend[0].url",
        "12: backend[1].url",
        "17: backend[3].name",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[health]\ninterval = "30"\nfast_interval = "20s"', ["2: health.interval"]),
        ('repositories = ["Org/*"]\n[health]\ncanary = "other/app"', ["1: repositories[0]"]),
        (
            '[[backend]]\nname = "a"\nurl = 5\n[[route]]\nrepositories = ["x/y"]\nbackends = ["a"]',
            ["3: backend[0].url"],
        ),
        ('hosts = ["*.a.test"]\n[tls.acme]\nagree_to_terms = true', ["1: hosts[0]"]),
        ("hosts = 5\n[tls]", ["1: hosts"]),
        ('[[backend]]\nname = "a"\nur = "https://a.test"', ["3: backend[0].ur"]),
    ],
)
def test_no_error_is_reported_that_only_follows_from_another(text: str, found: list[str], tmp_path: Path) -> None:
    assert keys(text, tmp_path) == found


def test_a_credential_of_the_unit_is_only_noted_outside_of_it(tmp_path: Path) -> None:
    account = 'username = "me"\npassword_file = "/run/credentials/facaded.service/ghcr"\nrename = {}'
    text = 'repositories = ["org/*"]\n[health]\ncanary = "org/app"' + TWO + account
    assert read(text, tmp_path).warnings == (
        "backend[1].password_file: /run/credentials/facaded.service/ghcr exists only for the systemd unit, so it was "
        "not checked",
    )
    (error,) = problems(text, tmp_path, {"CREDENTIALS_DIRECTORY": "/run/credentials/facaded.service"})
    assert error.startswith(
        "facaded.toml:11: backend[1].password_file: /run/credentials/facaded.service/ghcr cannot be"
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"# \xff", "facaded.toml:1: it is not UTF-8"),
        (
            b"\xef\xbb\xbfanswer = 'auto'",
            "facaded.toml:1: it begins with a byte order mark: save it as UTF-8 without BOM",
        ),
        ("answer = 'auto'".encode("utf-16"), "facaded.toml:1: it begins with a byte order mark"),
        (b"a = 1\x00", "facaded.toml:1: it is not valid TOML"),
        (b"answer = 5\r\n", "facaded.toml:1: answer: 5: expected"),
    ],
)
def test_a_file_that_is_no_text_is_refused(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "facaded.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load(path, None, {}, reactor)
    assert caught.value.problems[0].removeprefix(f"{tmp_path}/").startswith(problem)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none.toml: it cannot be read \(No such file or directory\): check"):
        load(tmp_path / "none.toml", None, {}, reactor)


SECRET = TWO + 'rename = {}\nusername = "me"\npassword_file = "{path}"'


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"one\ntwo\n", "has several lines or control characters: write only the secret, as text, on one line"),
        (b"\xef\xbb\xbfone", "has several lines or control characters: write only the secret, as text, on one line"),
        (b"x" * 5000, "is longer than 4096 bytes: check that it is the right file"),
        (b" \n", "is empty: write the secret into it"),
    ],
)
def test_a_file_that_holds_no_single_secret_is_refused(content: bytes, problem: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(content)
    secret.chmod(0o600)
    (error,) = problems('repositories = ["org/*"]' + SECRET.replace("{path}", str(secret)), tmp_path)
    assert error == f"facaded.toml:10: backend[1].password_file: {secret} {problem}"


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    text = 'repositories = ["org/*"]' + SECRET.replace("{path}", str(fifo)) + f'\nca_file = "{fifo}"'
    assert [error.partition(str(fifo))[2] for error in problems(text, tmp_path)] == [
        " is not a regular file: name a file",
        " is not a regular file: name a file",
    ]
    with pytest.raises(SettingsError, match="it is a FIFO: name a regular file"):
        load(fifo, None, {}, reactor)


@pytest.mark.parametrize("address", ["systemd:https", "haproxy:systemd:https", "systemd:domain=INET6:name=https"])
def test_a_socket_of_systemd_is_not_looked_for_outside_of_the_unit(address: str, tmp_path: Path) -> None:
    read(f'hosts = ["h.test"]\n[listen]\nhttps = "{address}"\n[tls]', tmp_path)
