"""The plain port beside TLS."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.tls.challenges import Challenges
from facaded.tls.plain import ANSWER_SIZE, PlainPort, PlainPortSettings, https_location
from facaded.web.responses import respond
from facaded.web.server import BoundedSite
from tests.web.raw import Connection

HOSTS = ("docker.lab.test", "second.lab.test", "192.0.2.1", "2001:db8::1")
REDIRECTS = PlainPortSettings(redirects=True, hosts=HOSTS)
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"


class PlainFacade(Resource):
    """Takes the place of the facade."""

    isLeaf = True

    def render(self, request: Request) -> int:
        respond(request, 200, {}, b"the registry")
        return NOT_DONE_YET


Ask = Callable[..., bytes]


@pytest.fixture
def challenges() -> Challenges:
    return Challenges()


@pytest.fixture
def ask(challenges: Challenges) -> Ask:
    def ask(
        target: str, host: str = "docker.lab.test", settings: PlainPortSettings = REDIRECTS, method: str = "GET"
    ) -> bytes:
        connection = Connection(BoundedSite(PlainPort(challenges, settings, PlainFacade()), Clock()))
        response = connection.send(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1"))
        connection.lose()
        return response

    return ask


def webroot(tmp_path: Path) -> Path:
    directory = tmp_path / ".well-known" / "acme-challenge"
    directory.mkdir(parents=True)
    return directory


@pytest.mark.parametrize(
    ("host", "target", "port", "location"),
    [
        ("docker.lab.test", "/v2/", 443, "https://docker.lab.test/v2/"),
        ("docker.lab.test:80", "/v2/?a=b&c", 443, "https://docker.lab.test/v2/?a=b&c"),
        ("Second.Lab.Test.", "/", 443, "https://second.lab.test/"),
        ("second.lab.test", "/v2/", 8443, "https://second.lab.test:8443/v2/"),
        ("[2001:db8::1]:80", "/v2/", 443, "https://[2001:db8::1]/v2/"),
        ("[2001:DB8:0::1]", "/v2/", 443, "https://[2001:db8::1]/v2/"),
        ("192.0.2.1", "/v2/", 443, "https://192.0.2.1/v2/"),
        ("evil.test", "/v2/", 443, "https://docker.lab.test/v2/"),
        ("", "/v2/", 443, "https://docker.lab.test/v2/"),
        ("docker.lab.test", "//evil.test/", 443, "https://docker.lab.test//evil.test/"),
        ("docker.lab.test", "@evil.test/", 443, "https://docker.lab.test/"),
        ("docker.lab.test", ".evil.test/", 443, "https://docker.lab.test/"),
        ("docker.lab.test", "http://evil.test/v2/", 443, "https://docker.lab.test/"),
        ("docker.lab.test", "*", 443, "https://docker.lab.test/"),
    ],
)
def test_every_request_is_redirected_to_https(ask: Ask, host: str, target: str, port: int, location: str) -> None:
    response = ask(target, host, PlainPortSettings(redirects=True, hosts=HOSTS, public_port=port))
    assert response.startswith(b"HTTP/1.1 307 ")
    assert f"\r\nLocation: {location}\r\n".encode() in response
    assert b"\r\nCache-Control: no-store\r\n" in response


@pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE"])
def test_every_method_is_redirected(ask: Ask, method: str) -> None:
    assert ask("/v2/", method=method).startswith(b"HTTP/1.1 307 ")
    assert ask(f"/.well-known/acme-challenge/{TOKEN}", method="POST").startswith(b"HTTP/1.1 307 ")


@given(st.text(alphabet=st.characters(codec="latin-1")), st.binary())
def test_every_redirect_leads_to_a_configured_host(host: str, target: bytes) -> None:
    url = https_location(host, target, REDIRECTS)
    assert url.startswith(tuple(f"https://{f'[{name}]' if ':' in name else name}/" for name in HOSTS))
    assert "\n" not in url


def test_without_the_redirect_the_registry_answers(ask: Ask) -> None:
    assert ask("/v2/", settings=PlainPortSettings()).endswith(b"the registry")
    assert ask(f"/.well-known/acme-challenge/{TOKEN}", settings=PlainPortSettings()).endswith(b"the registry")


@pytest.mark.parametrize("settings", [REDIRECTS, PlainPortSettings(hosts=HOSTS)])
@pytest.mark.parametrize("host", ["docker.lab.test", "elsewhere.test"])
def test_a_pending_challenge_is_answered_for_every_host(
    ask: Ask, challenges: Challenges, settings: PlainPortSettings, host: str
) -> None:
    path = f"/.well-known/acme-challenge/{TOKEN}"
    challenges.add_http(TOKEN, f"{TOKEN}.thumbprint")
    response = ask(path, host, settings)
    assert response.startswith(b"HTTP/1.1 200 ")
    assert response.endswith(f"\r\n\r\n{TOKEN}.thumbprint".encode())
    assert b"\r\nContent-Type: text/plain; charset=utf-8\r\n" in response
    assert f"Content-Length: {len(TOKEN) + 11}\r\n".encode() in ask(path, host, settings, method="HEAD")
    challenges.remove_http(TOKEN)
    challenges.remove_http(TOKEN)
    assert TOKEN.encode() not in ask(path, host, settings).partition(b"Location")[0]


def test_a_challenge_that_is_not_pending_is_not_found(ask: Ask) -> None:
    assert ask(f"/.well-known/acme-challenge/{TOKEN}").startswith(b"HTTP/1.1 404 ")


def test_a_challenge_of_another_acme_client_is_answered(ask: Ask, tmp_path: Path) -> None:
    (webroot(tmp_path) / TOKEN).write_text("from certbot")
    for settings in (PlainPortSettings(tmp_path, redirects=True, hosts=HOSTS), PlainPortSettings(tmp_path)):
        assert ask(f"/.well-known/acme-challenge/{TOKEN}", "elsewhere.test", settings).endswith(b"\r\n\r\nfrom certbot")


@pytest.mark.parametrize("token", ["", "..", "a/b", "%2e%2e%2fsecret", "a.b", "a%00", "a" * 129, "../../secret"])
def test_an_invalid_token_is_not_a_challenge(ask: Ask, tmp_path: Path, token: str) -> None:
    directory = webroot(tmp_path)
    (tmp_path / "secret").write_text("secret")
    (directory / "a.b").write_text("secret")
    response = ask(
        f"/.well-known/acme-challenge/{token}", settings=PlainPortSettings(tmp_path, redirects=True, hosts=HOSTS)
    )
    assert response.startswith(b"HTTP/1.1 307 ")


def link_to_file(directory: Path, secret: Path) -> None:
    (directory / "token").symlink_to(secret)


def link_to_directory(directory: Path, secret: Path) -> None:
    elsewhere = secret.parent / "elsewhere"
    directory.rename(elsewhere)
    (elsewhere / "token").write_text("secret")
    directory.symlink_to(elsewhere)


def make_directory(directory: Path, _: Path) -> None:
    (directory / "token").mkdir()


def make_pipe(directory: Path, _: Path) -> None:
    os.mkfifo(directory / "token")


def make_large_file(directory: Path, _: Path) -> None:
    (directory / "token").write_bytes(b"x" * (ANSWER_SIZE + 1))


def remove_directory(directory: Path, _: Path) -> None:
    directory.rmdir()


@pytest.mark.parametrize(
    "spoil", [link_to_file, link_to_directory, make_directory, make_pipe, make_large_file, remove_directory]
)
def test_only_small_regular_files_below_the_webroot_are_read(
    ask: Ask, tmp_path: Path, spoil: Callable[[Path, Path], None]
) -> None:
    (tmp_path / "secret").write_text("secret")
    spoil(webroot(tmp_path / "webroot"), tmp_path / "secret")
    settings = PlainPortSettings(tmp_path / "webroot", redirects=True, hosts=HOSTS)
    descriptors = len(os.listdir("/proc/self/fd"))
    assert ask("/.well-known/acme-challenge/token", settings=settings).startswith(b"HTTP/1.1 404 ")
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_without_hosts_there_is_no_redirect(ask: Ask) -> None:
    """A reload may remove the hosts while the listener is still open."""
    assert ask("/v2/", "docker.lab.test", PlainPortSettings(redirects=True)).startswith(b"HTTP/1.1 421 ")


def test_new_settings_apply_from_the_next_request(challenges: Challenges) -> None:
    plain = PlainPort(challenges, REDIRECTS, PlainFacade())
    connection = Connection(BoundedSite(plain, Clock()))
    request = b"GET /v2/ HTTP/1.1\r\nHost: docker.lab.test\r\n\r\n"
    assert connection.send(request).startswith(b"HTTP/1.1 307 ")
    plain.reconfigure(PlainPortSettings())
    assert connection.send(request).endswith(b"the registry")
    connection.lose()
