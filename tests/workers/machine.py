"""The processes of one machine, with what they know of backends, and the messages between them."""

import json
from typing import Any

from attrs import define, field
from twisted.internet.task import Clock

from facaded.backends.cdn_results import CdnResults
from facaded.backends.failures import FailingError
from facaded.backends.quotas import Quotas
from facaded.backends.recent_answers import RecentAnswers
from facaded.backends.tags import TagCache, TaggedRead
from facaded.config.sections import Backend
from facaded.oci.requests import ManifestRead, Read
from facaded.policy.elsewhere import Elsewhere
from facaded.workers.knowledge import Knowledge

BACKENDS = Backend("hub", "https://hub.test"), Backend("ghcr", "https://ghcr.test")

TRANSIT = 0.005
"""Seconds that a message takes from one process to another."""

SHARED = 0.05
"""Seconds within which all processes know what one has learned."""

READ = ManifestRead("org/app", "latest")
TAG = TaggedRead("org/app", "latest", bytes(32))
OLD, NEW = f"sha256:{'0' * 64}", f"sha256:{'1' * 64}"

CDN = "hub", "https", "cdn.hub.test", 443


def failure(status: int = 500, retry_after: float = 0.0, backend_wide: bool = False) -> FailingError:
    return FailingError("failed", backend_wide, status=status, retry_after=retry_after)


def ignored_results(clock: Clock) -> CdnResults:
    """Return results of CDNs from which nothing follows."""
    return CdnResults(clock, lambda key, cdn: None)


@define(eq=False)
class Process:
    """One process. `sent` are its messages, parsed."""

    clock: Clock
    knowledge: Knowledge
    recent: RecentAnswers
    tags: TagCache
    quotas: Quotas
    elsewhere: Elsewhere
    cdns: CdnResults
    sent: list[dict[str, Any]] = field(factory=list)

    def follow(self, *backends: Backend) -> None:
        """Begin to tell and to learn, or go on with other settings."""
        self.knowledge.follow(self.recent, self.tags, self.quotas, self.elsewhere, self.cdns, backends)

    def last(self, read: TaggedRead = TAG) -> tuple[str, str] | None:
        """Return the last known digest of a tag, and its backend."""
        last = self.tags.last(read)
        return None if last is None else (last.backend, last.digest)

    def suspects(self, read: Read = READ) -> list[str]:
        return [backend.name for backend in BACKENDS if self.recent.is_suspect(backend.name, read)]

    def resting(self) -> list[str]:
        return [backend.name for backend in BACKENDS if self.recent.is_resting(backend.name)]


class Machine:
    """The processes of a machine. As in the daemon, the first one passes on what another one sends to it."""

    def __init__(self, count: int = 3, stale_tags: float = 600.0) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.stale_tags = stale_tags
        self.processes: list[Process] = []
        for _ in range(count):
            self.add()

    def add(self) -> Process:
        """Start another process, which knows nothing."""
        clock = self.clock
        recent, tags = RecentAnswers(clock.seconds), TagCache(100, 10, self.stale_tags, clock.seconds)
        knowledge = Knowledge(clock, lambda body: self._send(process, json.dumps(body)))
        process = Process(clock, knowledge, recent, tags, Quotas(clock), Elsewhere(), ignored_results(clock))
        process.follow(*BACKENDS)
        self.processes.append(process)
        return process

    def settle(self) -> None:
        """Let the time pass within which all processes learn what one of them knows."""
        for _ in range(10):
            self.clock.advance(SHARED / 10)

    def _send(self, sender: Process, text: str) -> None:
        sender.sent.append(json.loads(text))
        first = self.processes[0]
        if sender is not first:
            self.clock.callLater(TRANSIT, first.knowledge.receive, json.loads(text))
        hops = 1 if sender is first else 2
        for process in self.processes[1:]:
            if process is not sender:
                self.clock.callLater(hops * TRANSIT, process.knowledge.receive, json.loads(text))
