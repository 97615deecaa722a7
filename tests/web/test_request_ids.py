"""Request ids: each is another one, and it is the same in the answer and for the log, on either path."""

import pytest

from facaded.policy.decision import Mode
from facaded.web.request_ids import number_requests
from tests.web.raw import Connection
from tests.web.test_direct_answers import PING, OrdinaryRequest, Server


def test_ids_differ_also_between_two_starts() -> None:
    first, second = number_requests(), number_requests()
    ids = {next(first) for _ in range(100)} | {next(second) for _ in range(100)}
    assert len(ids) == 200
    assert all(one.isascii() and one.replace("-", "").isalnum() for one in ids)


@pytest.mark.parametrize(
    ("request_", "ordinary"), [(PING, 0), (PING.replace(b"HTTP/1.1", b"HTTP/1.0"), 1), (b"POST" + PING[3:], 1)]
)
def test_the_id_of_an_answer_is_told_to_subscribers_whatever_the_client_sends(request_: bytes, ordinary: int) -> None:
    server = Server(Mode.REDIRECT)
    request_ = request_.replace(b"\r\nHost", b"\r\nX-Request-Id: forged\r\nHost")
    for _ in range(2):
        answer = Connection(server.site).send(request_)
        assert answer.count(b"\r\nX-Request-Id: ") == 1
        assert f"\r\nX-Request-Id: {server.answered[-1].request_id}\r\n".encode() in answer
    assert server.answered[0].request_id != server.answered[1].request_id
    assert OrdinaryRequest.made == 2 * ordinary
