"""What every answer has."""

import pytest
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.web import page
from facaded.web.responses import respond
from facaded.web.server import BoundedSite
from tests.web.raw import Connection

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Answering(Resource):
    """Answers with these headers; keeps the requests instead if `keeps`."""

    isLeaf = True

    def __init__(self, headers: dict[str, str], keeps: bool = False) -> None:
        Resource.__init__(self)
        self.headers = headers
        self.keeps = keeps
        self.kept: list[Request] = []

    def render(self, request: Request) -> int:
        self.kept.append(request)
        if not self.keeps:
            self.answer(request)
        return NOT_DONE_YET

    def answer(self, request: Request) -> None:
        respond(request, 200, self.headers, b"{}")


@pytest.mark.parametrize(
    ("headers", "policy"),
    [
        ({"Content-Type": "text/html"}, b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; sandbox"),
        (page.HEADERS, page.HEADERS["Content-Security-Policy"].encode()),
    ],
)
def test_a_browser_may_run_nothing_in_an_answer(headers: dict[str, str], policy: bytes) -> None:
    answer = Connection(BoundedSite(Answering(headers), Clock())).send(GET)
    assert b"\r\nContent-Security-Policy: " + policy + b"\r\n" in answer
    assert answer.count(b"Content-Security-Policy") == 1
    assert b"\r\nX-Content-Type-Options: nosniff\r\n" in answer


def test_answers_of_a_site_that_is_stopping_are_the_last_of_their_connections() -> None:
    resource = Answering({}, keeps=True)
    site = BoundedSite(resource, Clock())
    begun = Connection(site)
    begun.send(GET)
    site.is_stopping = True
    new = Connection(site)
    new.send(GET)
    for connection, request in zip((begun, new), resource.kept, strict=True):
        assert not connection.closed
        resource.answer(request)
        assert b"\r\nConnection: close\r\n" in connection.received()
        assert connection.closed
