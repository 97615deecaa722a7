"""Tags of two registries that move, fail and lag behind at random: which digest is believed, and for how long."""

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from twisted.internet.defer import Deferred

from facaded.backends.manifests import digest_of
from facaded.backends.served_content import NotServed, ReadOptions, Served
from facaded.oci.requests import ManifestRead
from tests.backends.fetching import WIDE, manifest, serve_from
from tests.backends.memory import Fake, Network

NAMES = ("hub", "ghcr")
TAGS = ("latest", "1.0")
FRESH, SUSPECT, BELIEVED = 10, 10, 600


class StaleTagsMachine(RuleBasedStateMachine):
    """A fetcher over two registries, and what is expected of it. Times are monotonic seconds.

    `tags` is the digest by registry and tag; `fresh` a digest and when a registry answered it; `last` the last
    confirmed digest of a tag, its registry, and the time; `suspect_since` when a registry last failed a request.
    """

    @initialize()
    def begin(self) -> None:
        self.network = Network(*map(Fake, NAMES))
        self.fetcher = self.network.fetcher()
        self.tags: dict[tuple[str, str], str] = {}
        self.fresh: dict[tuple[str, str], tuple[str, float]] = {}
        self.last: dict[str, tuple[str, str, float]] = {}
        self.suspect_since: dict[str, float] = {}
        for name in NAMES:
            for tag in TAGS:
                self.move(name, tag)

    @property
    def now(self) -> float:
        return self.network.clock.seconds()

    @rule(name=st.sampled_from(NAMES), tag=st.sampled_from(TAGS))
    def move(self, name: str, tag: str) -> None:
        """Let a tag lead to a new manifest, which the other registry has under another tag."""
        body = f'{{"version": {len(self.network.fakes[name].manifests)}, "of": "{name}"}}'.encode()
        for fake in self.network.fakes.values():
            fake.put("org/app", f"copy-{digest_of(body)[-8:]}", body=body)
        self.tags[name, tag] = self.network.fakes[name].put("org/app", tag, body=body)

    @rule(name=st.sampled_from(NAMES), fault=st.sampled_from(["", "500", "429"]))
    def set_fault(self, name: str, fault: str) -> None:
        self.network.fakes[name].fault = fault

    @rule(seconds=st.sampled_from([0.7, 6.1, 11.3, 240.9, 599.3, 700.1]))
    def wait(self, seconds: float) -> None:
        self.network.clock.advance(seconds)

    @rule(
        tag=st.sampled_from(TAGS),
        order=st.sampled_from([NAMES, NAMES, NAMES[::-1]]),
        failing=st.booleans(),
        pinned=st.booleans(),
    )
    def ask(self, tag: str, order: tuple[str, ...], failing: bool, pinned: bool) -> None:
        """Read a tag. If the second registry is asked first, the first one fails or waits for its failback."""
        later = order != NAMES
        earlier = frozenset(NAMES[:1]) if later else frozenset()
        read = ManifestRead("org/app", tag)
        serve = evolve(
            serve_from(self.network, read),
            backends=order,
            failing=earlier if failing else frozenset(),
            earlier=earlier,
            pinned=later and pinned,
        )
        self.network.attempts.clear()
        requests = {name: len(fake.requests) for name, fake in self.network.fakes.items()}
        expected = self.expect(tag, order, earlier, serve.pinned)
        work = Deferred.fromCoroutine(self.fetcher.serve(serve, ReadOptions(WIDE)))
        served = self.finish(work)
        assert (manifest(served).digest if isinstance(served, Served) else None) == expected
        for attempt in self.network.attempts:
            fake = self.network.fakes[attempt.backend]
            assert len(fake.requests) > requests[attempt.backend], "evidence of a backend that was not asked"
            assert attempt.good == (not fake.fault), "evidence of another backend"

    def finish(self, work: Deferred[Served | NotServed]) -> Served | NotServed:
        """Run a request without letting time pass."""
        results: list[Served | NotServed] = []
        work.addCallback(results.append)
        for _ in range(100):
            self.network.agent.flush()
        work.addErrback(lambda failure: failure.raiseException())
        return results[0]

    def expect(self, tag: str, order: tuple[str, ...], earlier: frozenset[str], pinned: bool) -> str | None:
        """Return the digest that is to be served, None if there is none, and note what follows from it."""
        digest, source, at = self.last.get(tag, ("", "", 0.0))
        believed = bool(digest) and self.now < at + BELIEVED
        if believed and not pinned and (source in earlier or self.is_suspect(source)):
            return digest
        for name in sorted(order, key=self.is_suspect):
            fresh, learned_at = self.fresh.get((name, tag), ("", 0.0))
            if fresh and self.now < learned_at + FRESH:
                return fresh
            if not self.network.fakes[name].fault:
                answer = self.tags[name, tag]
                self.fresh[name, tag] = answer, self.now
                self.last[tag] = answer, name, self.now
                return answer
            self.suspect_since[name] = self.now
            if believed and source == name:
                return digest
        return None

    def is_suspect(self, name: str) -> bool:
        since = self.suspect_since.get(name)
        return since is not None and self.now < since + SUSPECT


TestStaleTagsMachine = StaleTagsMachine.TestCase
TestStaleTagsMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None, derandomize=True)
