"""The access log's lines: what they contain, and what they never contain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from facaded.web.accesslog import format_line
from facaded.web.facade import Facade
from facaded.web.server import BoundedSite
from tests.backends.memory import Network
from tests.watching import GOOD, Watching
from tests.web.raw import Connection
from tests.web.test_facade import RULES


def log_lines(request: bytes) -> list[str]:
    watching = Watching.begin("main", "second")
    for name in ("main", "second"):
        watching.backends.answer(name, GOOD)
    lines: list[str] = []
    facade = Facade(watching.watch, RULES, Network().fetcher())
    site = BoundedSite(facade, Clock(), [lambda answered: lines.append(format_line(answered))])
    connection = Connection(site)
    connection.send(request)
    connection.lose()
    return lines


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (
            b"GET /v2/org/app/manifests/latest?a=b HTTP/1.1\r\nHost: x\r\nUser-Agent: docker/28\r\n\r\n",
            "192.0.2.7 GET /v2/org/app/manifests/latest 307 main (docker)",
        ),
        (
            b"HEAD /v2/ HTTP/1.1\r\nHost: x\r\nUser-Agent: containers/5.24\r\nAuthorization: Bearer secret\r\n\r\n",
            "192.0.2.7 HEAD /v2/ 200 - (containers?)",
        ),
        (
            b"PUT /v2/org/app/manifests/latest HTTP/1.1\r\nHost: x\r\n\r\n",
            "192.0.2.7 PUT /v2/org/app/manifests/latest 405 - (other?)",
        ),
        (
            b"HEAD /v2/ HTTP/1.1\r\nHost: x\r\nUser-Agent: ko/v0.18.0 go-containerregistry/v0.20.6\r\n\r\n",
            "192.0.2.7 HEAD /v2/ 200 - (ko?)",
        ),
    ],
)
def test_a_line_has_the_client_its_request_and_the_answer(request_: bytes, expected: str) -> None:
    assert log_lines(request_) == [expected]


@given(st.binary(max_size=600), st.binary(max_size=50))
def test_a_line_is_one_line_of_printable_characters_for_any_request(target: bytes, user_agent: bytes) -> None:
    for line in log_lines(b"GET /" + target + b" HTTP/1.1\r\nHost: x\r\nUser-Agent: " + user_agent + b"\r\n\r\n"):
        assert line.isascii()
        assert line.isprintable()
        assert len(line) < 500


def test_tokens_are_never_in_a_line() -> None:
    request = b"GET /v2/?token=s3cret HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\nCookie: s3cret\r\n\r\n"
    assert "s3cret" not in log_lines(request)[0]
