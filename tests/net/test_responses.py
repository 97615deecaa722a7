"""Responses as the bounded client delivers them."""

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import Request

from facaded.net.client import BoundedClient, StreamedResponse


class Cookies(Resource):
    """Answers with a cookie that takes Python's cookie jar 0.1 s."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        request.setHeader("Set-Cookie", "a=b;" * 4000)
        return b""


def test_cookies_are_not_looked_at() -> None:
    agent = RequestTraversalAgent(Cookies())
    responses: list[StreamedResponse] = []
    client = BoundedClient("https://hub.test", agent)
    Deferred.fromCoroutine(client.open("GET", "https://hub.test/v2/", {})).addCallback(responses.append)
    agent.flush()
    assert responses[0].values("Set-Cookie") == ()
    assert list(responses[0].response.cookies()) == []  # type: ignore[attr-defined]  # treq's
