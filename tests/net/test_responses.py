"""Requests and responses of the bounded client, with a server in memory."""

import pytest
from attrs import define
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.net.client import MOST_SMALL_PIECES, SMALL_PIECE, BoundedClient, Response, TooLargeError


class Echo(Resource):
    """Answers with the request-target, in an encoding that it does not have, and with a cookie."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        assert request.getHeader("Accept-Encoding") is None
        assert request.getHeader("Cookie") is None
        request.setHeader("Set-Cookie", "a=b")
        request.setHeader("Content-Encoding", "gzip")
        target: bytes = request.uri
        return target


@define(slots=False, eq=False)
class Chunks(Resource):
    """Answers with chunks of `size` bytes."""

    isLeaf = True
    number: int
    size: int

    def render(self, request: Request) -> int:
        for _ in range(self.number):
            request.write(b"a" * self.size)
        request.finish()
        return NOT_DONE_YET


def ask(resource: Resource, url: str = "https://hub.test/v2/") -> Response | Failure:
    agent = RequestTraversalAgent(resource)
    outcomes: list[Response | Failure] = []
    client = BoundedClient("https://hub.test", agent)
    Deferred.fromCoroutine(client.ask("GET", url, headers={}, limit=1 << 20)).addBoth(outcomes.append)
    for _ in range(10):
        agent.flush()
    return outcomes[0]


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://hub.test/v2/%7euser/a%2Fb?n=1&&=&a;b=%41#end", b"/v2/%7euser/a%2Fb?n=1&&=&a;b=%41"),
        ("https://hub.test", b"/"),
        ("https://hub.test?sig=1/2", b"/?sig=1/2"),
    ],
)
def test_a_url_is_requested_as_it_is(url: str, target: bytes) -> None:
    response = ask(Echo(), url)
    assert isinstance(response, Response)
    assert response.body == target


def test_a_body_of_larger_chunks_is_read() -> None:
    response = ask(Chunks(2 * MOST_SMALL_PIECES, SMALL_PIECE))
    assert isinstance(response, Response)
    assert len(response.body) == 2 * MOST_SMALL_PIECES * SMALL_PIECE


def test_a_body_in_a_thousand_tiny_chunks_is_refused() -> None:
    """A manifest in chunks of one byte would take Twisted 40 s."""
    failure = ask(Chunks(2 * MOST_SMALL_PIECES, 1))
    assert isinstance(failure, Failure)
    assert failure.check(TooLargeError)
    assert failure.getErrorMessage() == f"response body comes in pieces of under {SMALL_PIECE} bytes"
