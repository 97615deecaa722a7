"""The access log's lines: what they contain, what they never contain, and that nobody can make up fields."""

import json
import re
from functools import partial

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from facaded.policy.sources import Addresses
from facaded.web.accesslog import AccessLog, AccessLogSettings, LineForm, LoggedAnswers, LogStyle, TwistedOutput
from facaded.web.answered_requests import AnsweredRequest, Decision, LoggedRequest, printable_path
from facaded.web.facade import Facade
from facaded.web.request_ids import number_requests
from facaded.web.server import BoundedSite
from tests.backends.memory import Network
from tests.watching import GOOD, Watching
from tests.web.raw import Connection
from tests.web.test_facade import RULES

NOON = 1_790_000_000.25

LINE = re.compile(
    r'(?P<address>\S+) - - (?:\[(?P<time>[^\]]+)\] )?"(?P<method>\S+) (?P<path>\S+) (?P<protocol>\S+)" '
    r'(?P<status>\d{3}) (?P<bytes>\d+) "-" "(?P<user_agent>[^"]*)" host=(?P<host>\S+) backend=(?P<backend>\S+) '
    r'family=(?P<family>\S+) answer=(?P<answer>\S+)(?P<again> asked_again=yes)?(?: reason="(?P<reason>[^"]+)")? '
    r"ms=(?P<ms>\d+\.\d\d) id=(?P<id>\S+)"
)

JSON_KEYS = [
    "time",
    "level",
    "address",
    "message",
    "method",
    "path",
    "protocol",
    "status",
    "bytes",
    "host",
    "user_agent",
    "backend",
    "family",
    "answer",
    "duration_ms",
    "request_id",
]


def answered_requests(request: bytes) -> list[AnsweredRequest]:
    watching = Watching.begin("main", "second")
    for name in ("main", "second"):
        watching.backends.answer(name, GOOD)
    answered: list[AnsweredRequest] = []
    facade = Facade(watching.watch, RULES, Network().fetcher())
    site = BoundedSite(facade, Clock(), [answered.append], request_ids=number_requests("id"))
    connection = Connection(site)
    connection.send(request)
    connection.lose()
    return answered


def log(answered: list[AnsweredRequest], settings: AccessLogSettings) -> list[str]:
    lines: list[str] = []
    AccessLog(lines.extend, settings).follow([evolve(one, at=NOON) for one in answered])
    return lines


def log_lines(request: bytes, form: LineForm = LineForm.UNTIMED) -> list[str]:
    return log(answered_requests(request), AccessLogSettings(form=form))


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (
            b"GET /v2/org/app/manifests/latest?a=b HTTP/1.1\r\nHost: x\r\nUser-Agent: docker/28 (linux)\r\n\r\n",
            '192.0.2.7 - - "GET /v2/org/app/manifests/latest HTTP/1.1" 307 0 "-" "docker/28 (linux)" host=x '
            "backend=main family=docker answer=redirected ms=0.00 id=id-1",
        ),
        (
            b"HEAD /v2/ HTTP/1.1\r\nHost: x\r\nUser-Agent: containers/5.24\r\nAuthorization: Bearer secret\r\n\r\n",
            '192.0.2.7 - - "HEAD /v2/ HTTP/1.1" 200 0 "-" "containers/5.24" host=x '
            "backend=- family=containers? answer=answered_here ms=0.00 id=id-1",
        ),
        (
            b"PUT /v2/org/app/manifests/latest HTTP/1.0\r\nHost: x\r\n\r\n",
            '192.0.2.7 - - "PUT /v2/org/app/manifests/latest HTTP/1.0" 405 111 "-" "" host=x '
            "backend=- family=other? answer=refused "
            'reason="UNSUPPORTED: this registry is read-only: push to the registry behind it" ms=0.00 id=id-1',
        ),
        (
            b"HEAD /v2/ HTTP/1.1\r\nHost: x\r\nUser-Agent: ko/v0.18.0 go-containerregistry/v0.20.6\r\n\r\n",
            '192.0.2.7 - - "HEAD /v2/ HTTP/1.1" 200 0 "-" "ko/v0.18.0 go-containerregistry/v0.20.6" host=x '
            "backend=- family=ko? answer=answered_here ms=0.00 id=id-1",
        ),
    ],
)
def test_a_line_has_the_client_its_request_and_the_answer(request_: bytes, expected: str) -> None:
    assert log_lines(request_) == [expected]


def test_a_line_in_json_has_the_same_fields() -> None:
    (line,) = log_lines(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nUser-Agent: docker/28\r\n\r\n", LineForm.JSON)
    assert json.loads(line) == {
        "time": "2026-09-21T14:13:20.250Z",
        "level": "info",
        "message": "GET /v2/ 307",
        "address": "192.0.2.7",
        "method": "GET",
        "path": "/v2/",
        "protocol": "HTTP/1.1",
        "status": 307,
        "bytes": 0,
        "host": "x",
        "user_agent": "docker/28",
        "backend": "main",
        "family": "docker",
        "answer": "redirected",
        "duration_ms": 0.0,
        "request_id": "id-1",
    }


def test_a_line_in_the_common_form_has_its_time() -> None:
    (line,) = log_lines(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n", LineForm.COMMON)
    assert re.match(r'192\.0\.2\.7 - - \[2[012]/Sep/2026:\d\d:\d\d:20 [+-]\d{4}\] "GET /v2/ HTTP/1\.1" ', line)


def test_a_client_that_asked_again_is_marked() -> None:
    (answered,) = answered_requests(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
    again = [evolve(answered, decision=evolve(answered.decision, asked_again=True), logged=LoggedRequest("x"))]
    assert log(again, AccessLogSettings())[0].endswith(" answer=answered_here asked_again=yes ms=0.00 id=id-1")
    assert json.loads(log(again, AccessLogSettings(form=LineForm.JSON))[0])["asked_again"] is True


HOSTILE = st.binary(max_size=600) | st.text('" \\=[]{}GET/v2', max_size=80).map(str.encode)


@given(HOSTILE, HOSTILE, st.sampled_from([b"GET", b'G"T', b"a" * 300]), HOSTILE)
def test_a_line_is_one_line_of_printable_characters_for_any_request(
    target: bytes, user_agent: bytes, method: bytes, host: bytes
) -> None:
    request = method + b" /" + target + b" HTTP/1.1\r\nHost: " + host + b"\r\nUser-Agent: " + user_agent + b"\r\n\r\n"
    answered = answered_requests(request)
    for line in log(answered, AccessLogSettings()):
        assert line.isascii()
        assert line.isprintable()
        assert len(line) < 2500
        assert LINE.fullmatch(line), "no field can be made up"
    for line in log(answered, AccessLogSettings(form=LineForm.JSON)):
        assert [key for key in json.loads(line) if key not in ("asked_again", "reason")] == JSON_KEYS


def test_the_reason_of_an_error_may_contain_anything() -> None:
    (answered,) = answered_requests(b"PUT /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
    forged = [evolve(answered, decision=Decision(reason='a "b" \\ \n\x1b\xe9' + "c" * 1000))]
    match = LINE.fullmatch(log(forged, AccessLogSettings())[0])
    assert match is not None
    assert match["reason"] == "a 'b' ? ???" + "c" * 289
    assert json.loads(log(forged, AccessLogSettings(form=LineForm.JSON))[0])["reason"] == match["reason"]


def test_tokens_are_never_in_a_line() -> None:
    request = b"GET /v2/?token=s3cret HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\nCookie: s3cret\r\n\r\n"
    assert "s3cret" not in log_lines(request)[0]


@pytest.mark.parametrize(
    ("answers", "statuses"),
    [(LoggedAnswers.OFF, []), (LoggedAnswers.ERRORS, ["405"]), (LoggedAnswers.ALL, ["307", "405"])],
)
def test_the_settings_say_which_answers_are_logged(answers: LoggedAnswers, statuses: list[str]) -> None:
    requests = (
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nUser-Agent: docker/28\r\n\r\n",
        b"PUT /v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    answered = [one for request in requests for one in answered_requests(request)]
    lines = log(answered, AccessLogSettings(answers))
    assert [match["status"] for match in map(LINE.fullmatch, lines) if match] == statuses


def test_new_settings_apply_to_the_next_line() -> None:
    (answered,) = answered_requests(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
    lines: list[str] = []
    access_log = AccessLog(lines.extend)
    for form, addresses in ((LineForm.UNTIMED, Addresses.FULL), (LineForm.JSON, Addresses.MASKED)):
        access_log.reconfigure(AccessLogSettings(form=form, addresses=addresses))
        access_log.follow([answered])
    access_log.reconfigure(AccessLogSettings(form=LineForm.COMMON, addresses=Addresses.NONE))
    access_log.follow([answered])
    untimed, in_json, common = lines
    assert untimed.startswith('192.0.2.7 - - "GET ')
    assert json.loads(in_json)["address"] == "192.0.2.0"
    assert common.startswith("- - - [")


def test_lines_begin_with_the_time_of_their_answer() -> None:
    (answered,) = answered_requests(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
    lines: list[str] = []
    batch = [evolve(answered, at=at) for at in (NOON, NOON + 0.5, NOON + 1, NOON - 60)]
    AccessLog(lines.extend, AccessLogSettings(form=LineForm.JSON)).follow(batch)
    assert [json.loads(line)["time"][14:23] for line in lines] == ["13:20.250", "13:20.750", "13:21.250", "12:20.250"]


def test_twisted_s_logger_gets_the_line_as_it_is(request: pytest.FixtureRequest) -> None:
    observed: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        observed.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    request.addfinalizer(partial(globalLogPublisher.removeObserver, observe))
    output = TwistedOutput()
    output.reconfigure(LogStyle.JSON)
    output.let_precede(partial(observed.append, "nothing waits for it"))
    output.add_lines(["{a} line"])
    assert observed == ["{a} line"]
    assert (output.form_for(LogStyle.JSON), output.lost_lines) == (LineForm.UNTIMED, 0)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/v2/?token=secret", "/v2/"),
        (b"/v2/#token=secret", "/v2/"),
        (b"http://user:secret@host/v2/", "http://host/v2/"),
        (b"//user:secret@host/v2/", "//host/v2/"),
        (b"/v2/a@b/manifests/x", "/v2/a@b/manifests/x"),
    ],
)
def test_no_secret_of_a_target_is_logged(target: bytes, path: str) -> None:
    assert printable_path(target) == path
