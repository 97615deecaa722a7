"""The channel between two processes, one of which does not read, or is another user's."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import LogEvent

from facaded.workers import process_channel
from facaded.workers.launch import Launch
from facaded.workers.link import Link
from facaded.workers.process_channel import ProcessChannel


def connected(on_lost: Callable[[ProcessChannel], None] = lambda channel: None) -> tuple[ProcessChannel, Any]:
    channel, transport = ProcessChannel(lambda channel, message: None, on_lost), StringTransport()
    channel.makeConnection(transport)
    return channel, transport


def test_an_end_that_does_not_read_is_disconnected_when_too_much_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_channel, "MOST_UNREAD", 10_000)
    channel, transport = connected()
    channel.pauseProducing()
    for _ in range(9):
        channel.send("view", {"text": "x" * 1000})
    assert not transport.disconnected
    channel.resumeProducing()
    channel.pauseProducing()
    for _ in range(10):
        assert not transport.disconnected
        channel.send("view", {"text": "x" * 1000})
    assert transport.disconnected


def test_an_end_that_reads_may_be_sent_as_much_as_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_channel, "MOST_UNREAD", 10_000)
    channel, transport = connected()
    for _ in range(100):
        channel.send("view", {"text": "x" * 1000})
    assert not transport.disconnected


@pytest.mark.parametrize(("user", "is_met"), [(os.geteuid(), True), (os.geteuid() + 1, False)])
def test_a_worker_takes_nothing_from_a_process_of_another_user(
    tmp_path: Path, user: int, is_met: bool, no_errors_are_logged: list[LogEvent]
) -> None:
    clock: Any = MemoryReactorClock()
    launch = Launch(1, 2, str(tmp_path / "workers.sock"), ("false",))
    link = Link(clock, lambda: launch, {}, lambda message: None, lambda is_reachable: None)
    link.startService()
    factory = clock.unixClients[0][1]
    channel = factory.buildProtocol(None)
    transport: Any = StringTransport()
    transport.getHandle = lambda: SimpleNamespace(getsockopt=lambda *_: process_channel._CREDENTIALS.pack(1, user, 0))
    channel.makeConnection(transport)
    assert link.is_reachable is is_met
    assert (b"hello" in transport.value()) is is_met
    assert transport.disconnected is not is_met
    link.stopService()
    assert bool(no_errors_are_logged) is not is_met
    no_errors_are_logged.clear()
