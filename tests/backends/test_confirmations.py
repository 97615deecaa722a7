"""The requests that confirm a failed step of a probe, and the errors of this machine."""

import errno

import pytest
from attrs import define, evolve, field
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectBindError, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from facaded.backends.ladder import probe
from facaded.backends.probe_target import ProbeTarget
from facaded.net.client import BoundedClient
from facaded.net.connections import ClientSession
from facaded.policy.health import CONFIRMATION_TIME, Confirmations, ProbeDepth, Result, Step, Verdict
from tests.backends.probing import (
    BAD,
    BLOB,
    CANARY,
    GATE,
    GOOD,
    INDEX,
    LATEST,
    LIMITED,
    MANIFESTS,
    PAGE,
    TOKEN,
    WHOLE,
    Answer,
    Registries,
    Table,
    climb,
    found,
    run,
    unauthorized,
)

CONFIRM = ProbeDepth(deep=True, body=True, canary_seen=True, confirm=True)

ERROR: Answer = (500, {}, b"")

PING: Answer = unauthorized()

OUTAGE, BROWNOUT = Confirmations(5, 5), Confirmations(5, 2)


def partly(failing: Answer | None, working: Answer) -> list[Answer | None]:
    """A failure, and then five answers of which two fail."""
    return [failing, working, failing, working, failing, working]


TABLE: list[tuple[Table, Step, Confirmations | None]] = [
    ({"/v2/": ERROR}, Step.PING, OUTAGE),
    ({}, Step.PING, OUTAGE),
    ({"/v2/": PAGE}, Step.PING, OUTAGE),
    ({"/v2/": partly(ERROR, PING)}, Step.PING, BROWNOUT),
    ({"/v2/": partly(None, PING)}, Step.PING, BROWNOUT),
    ({"/v2/": [ERROR, *[(429, {}, b"")] * 5]}, Step.PING, OUTAGE),
    ({"/v2/": [ERROR, *[(401, {}, b"")] * 5]}, Step.PING, OUTAGE),
    ({"/v2/": PING, "/token": partly((200, {}, b"{}"), TOKEN)}, Step.TOKEN, BROWNOUT),
    ({"/v2/": PING, "/token": [ERROR, *[(404, {}, b"")] * 5]}, Step.TOKEN, OUTAGE),
    ({"/v2/": unauthorized('Bearer realm="file:///etc/passwd"')}, Step.TOKEN, None),
    ({**GATE, LATEST: partly(PAGE, found(INDEX))}, Step.MANIFEST, BROWNOUT),
    ({**GATE, LATEST: partly((401, {}, b""), found(INDEX))}, Step.MANIFEST, BROWNOUT),
    ({**GATE, LATEST: [ERROR, *[(404, {}, b"")] * 5]}, Step.MANIFEST, Confirmations(5, 0)),
    ({**WHOLE, f"{MANIFESTS}{INDEX}": [PAGE] * 6}, Step.BODY, OUTAGE),
    ({**WHOLE, BLOB: [(404, {}, b"")] * 6}, Step.BLOB, OUTAGE),
    ({**WHOLE, BLOB: [(307, {}, b"")] * 6}, Step.BLOB, OUTAGE),
    ({**WHOLE, "/blob": partly(ERROR, (206, {}, b"s"))}, Step.CDN, BROWNOUT),
    ({**WHOLE, "/blob": partly(None, (206, {}, b"s"))}, Step.CDN, BROWNOUT),
]


@pytest.mark.parametrize(("table", "step", "confirmations"), TABLE)
def test_a_failed_step_is_sent_five_times_more(table: Table, step: Step, confirmations: Confirmations | None) -> None:
    result, registries = climb(table, CANARY, CONFIRM)
    assert (result.verdict, result.step, result.confirmations) == (BAD, step, confirmations)
    assert result.requests == len(registries.paths)
    sent = list(zip(registries.methods, registries.paths, registries.headers, strict=True))
    if confirmations is not None:
        assert len(sent) > 5
        assert all(request == sent[-6] for request in sent[-5:])


@pytest.mark.parametrize(
    ("table", "verdict"),
    [(WHOLE, GOOD), ({"/v2/": (429, {}, b"")}, LIMITED), ({**GATE, LATEST: (404, {}, b"")}, GOOD)],
)
def test_nothing_is_confirmed_that_is_not_bad(table: Table, verdict: Verdict) -> None:
    result, _ = climb(table, CANARY, CONFIRM)
    assert (result.verdict, result.confirmations) == (verdict, None)


def test_nothing_is_confirmed_unless_the_depth_says_so() -> None:
    result, registries = climb({"/v2/": ERROR}, CANARY, evolve(CONFIRM, confirm=False))
    assert (result.verdict, result.confirmations, len(registries.paths)) == (BAD, None, 1)


def test_the_time_of_the_confirmations_is_bounded_and_not_part_of_the_latency() -> None:
    clock, results = Clock(), list[Result]()
    agent = RequestTraversalAgent(Registries({}))
    session = ClientSession(BoundedClient("http://registry.test", agent), lambda: succeed(None))
    target = ProbeTarget("http://registry.test", lambda: session, None, timeout=3.0)
    Deferred.fromCoroutine(probe(target, CONFIRM, clock)).addCallback(results.append)
    clock.advance(3.0)
    clock.advance(CONFIRMATION_TIME - 0.1)
    assert results == []
    clock.advance(0.1)
    assert (results[0].latency, results[0].confirmations, results[0].requests) == (3.0, OUTAGE, 6)
    assert clock.getDelayedCalls() == []


def test_each_confirmation_has_a_session_of_its_own_and_all_sessions_are_closed() -> None:
    clock, events = Clock(), list[str]()
    agent = RequestTraversalAgent(Registries({"/v2/": ERROR}))

    def open_session() -> ClientSession:
        events.append("open")
        return ClientSession(BoundedClient("http://registry.test", agent), close)

    def close() -> Deferred[None]:
        events.append("close")
        return succeed(None)

    target = ProbeTarget("http://registry.test", open_session, None, timeout=3.0)
    work = Deferred.fromCoroutine(probe(target, CONFIRM, clock))
    for _ in range(5):
        agent.flush()
    assert work.called
    assert (events.count("open"), events.count("close")) == (6, 6)


@pytest.mark.parametrize("seconds", [1.0, 3.5])
def test_a_probe_that_the_caller_cancels_sends_nothing_more(seconds: float) -> None:
    clock = Clock()
    registries = Registries({})
    agent = RequestTraversalAgent(registries)
    session = ClientSession(BoundedClient("http://registry.test", agent), lambda: succeed(None))
    target = ProbeTarget("http://registry.test", lambda: session, None, timeout=3.0)
    work = Deferred.fromCoroutine(probe(target, CONFIRM, clock))
    for time in range(int(seconds) + 1):
        agent.flush()
        clock.advance(min(1.0, seconds - time))
    sent = len(registries.paths)
    work.cancel()
    agent.flush()
    assert work.called
    assert len(registries.paths) == sent
    assert clock.getDelayedCalls() == []


@implementer(IAgent)
@define
class FailingAgent:
    """An agent whose requests fail with the errors in turn."""

    errors: list[Exception]
    requests: int = field(default=0, init=False)

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        self.requests += 1
        return fail(self.errors[(self.requests - 1) % len(self.errors)])


EXHAUSTED = ConnectBindError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize("error", [EXHAUSTED, ResponseNeverReceived([Failure(EXHAUSTED)])])
def test_an_error_of_this_machine_is_no_failure_of_the_backend(error: Exception) -> None:
    agent = FailingAgent([error])
    result = run(agent, None, CONFIRM)[0]
    assert (result.verdict, result.step, result.reason) == (Verdict.LOCAL, Step.PING, "too many open files")
    assert (result.confirmations, agent.requests) == (None, 1)


def test_a_confirmation_that_this_machine_could_not_send_has_not_failed() -> None:
    result = run(FailingAgent([ConnectionRefusedError(), EXHAUSTED, ConnectionRefusedError()]), None, CONFIRM)[0]
    assert (result.verdict, result.confirmations) == (BAD, Confirmations(5, 3))
