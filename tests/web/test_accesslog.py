"""The access log's line: what it tells, and what it never does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from facaded.web.accesslog import line
from facaded.web.facade import Facade
from facaded.web.server import BoundedSite
from tests.backends.memory import Network
from tests.watching import GOOD, Watching
from tests.web.raw import Connection
from tests.web.test_facade import RULES


def logged(request: bytes) -> list[str]:
    watching = Watching.begin("main", "second")
    for name in ("main", "second"):
        watching.backends.answer(name, GOOD)
    lines: list[str] = []
    facade = Facade(watching.watch, RULES, Network().fetcher())
    site = BoundedSite(facade, Clock(), [lambda answered: lines.append(line(answered))])
    connection = Connection(site)
    connection.send(request)
    connection.lose()
    return lines


@pytest.mark.parametrize(
    ("request_", "said"),
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
    ],
)
def test_a_line_tells_who_asked_for_what_and_what_was_answered(request_: bytes, said: str) -> None:
    assert logged(request_) == [said]


@given(st.binary(max_size=600), st.binary(max_size=50))
def test_a_line_is_one_line_of_printable_characters_whatever_was_asked(target: bytes, user_agent: bytes) -> None:
    for said in logged(b"GET /" + target + b" HTTP/1.1\r\nHost: x\r\nUser-Agent: " + user_agent + b"\r\n\r\n"):
        assert said.isascii()
        assert said.isprintable()
        assert len(said) < 500


def test_tokens_are_never_in_a_line() -> None:
    request = b"GET /v2/?token=s3cret HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\nCookie: s3cret\r\n\r\n"
    assert "s3cret" not in logged(request)[0]
