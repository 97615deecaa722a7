"""A check: the steps of a probe at the same time and on new connections, because a request may wait for the result.

It uses the challenge and the token of the probe or check before it, and asks once more if these are no longer good. It
never fetches a manifest, because that counts as a pull at Docker Hub.
"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime

from facaded.backends import manifest_steps
from facaded.backends.access_steps import ask_ping, ask_token, find_bearer
from facaded.backends.blob_steps import climb_to_cdn
from facaded.backends.manifest_steps import ManifestHead
from facaded.backends.probe_requests import DriftError, ProbeRequests
from facaded.backends.probe_target import AFTER_MANIFEST, ProbeTarget, StepOutcome, is_used_up, judge_error
from facaded.net.connections import ClientSession
from facaded.oci.requests import Blob
from facaded.policy.health import Canary, ProbeDepth, Result, Step, Verdict

Work: TypeAlias = Callable[[ProbeRequests], Coroutine[Deferred[Any], Any, None]]

SEVERITY = (Verdict.BAD, Verdict.LIMITED, Verdict.LOCAL, Verdict.GOOD)
"""The verdicts on parts of a check; the first that applies is that on the whole."""

_ORDER = {step: number for number, step in enumerate(Step)}


@define
class Branch:
    """A part of a check: its work, the requests that it sends, and how it ended."""

    work: Work
    requests: ProbeRequests
    outcome: StepOutcome = field(default=StepOutcome(Verdict.GOOD, ""), init=False)

    @property
    def order(self) -> tuple[int, int]:
        """The place of this branch: the first one decides the result of the check."""
        return SEVERITY.index(self.outcome.verdict), _ORDER[self.requests.step]


async def check(target: ProbeTarget, depth: ProbeDepth, clock: IReactorTime, changed: Callable[[], None]) -> Result:
    """Check a registry once. `changed` is called after each proof and each failure. No connection stays open.

    Does not raise. The result of a check that the caller cancels has no meaning.
    """
    session, start = target.open_session(), clock.seconds()
    try:
        in_progress = _Check(target, depth, clock, session, changed)
        await in_progress.run()
        target.proofs.note_check(start, clock.seconds())
        result = in_progress.result(clock.seconds() - start)
        first = in_progress.first
        if not (depth.confirm and first.outcome.can_be_confirmed):
            return result
        confirmations = await first.requests.confirm()
        return evolve(result, confirmations=confirmations, requests=in_progress.sent)
    finally:
        await session.close()


@define
class _Check:
    """One check. `head` is what the HEAD of the canary's manifest has said."""

    target: ProbeTarget
    depth: ProbeDepth
    clock: IReactorTime
    session: ClientSession
    changed: Callable[[], None]
    branches: list[Branch] = field(factory=list, init=False)
    head: ManifestHead | None = field(default=None, init=False)

    async def run(self) -> None:
        """Ask everything at once; without a challenge from earlier, in turn."""
        memory = self.target.memory
        known = memory.challenges
        content: list[Branch] = []
        if known is not None:
            token, _, *content = await self._ask_all(self._token, self._ping, self._manifest, self._blob)
            if find_bearer(memory.challenges or ()) != find_bearer(known):
                (token,) = await self._ask_again([token])
            refused = [branch for branch in content if branch.requests.status == 401]
            content = [branch for branch in content if branch not in refused]
            if token.outcome.verdict is Verdict.GOOD:
                content += await self._ask_again(refused)
            else:
                _excuse([branch for branch in refused if _may_be_outdated(branch)])
        else:
            await self._ask(self._ping)
            if memory.challenges is not None:
                await self._ask(self._token)
                content = await self._ask_all(self._manifest, self._blob)
        for branch in content:
            if _may_be_outdated(branch):
                self._settle(branch)

    @property
    def first(self) -> Branch:
        """The branch that decides the result."""
        return min(self.branches, key=lambda branch: branch.order)

    @property
    def sent(self) -> int:
        """How many requests were sent."""
        return sum(branch.requests.sent for branch in self.branches)

    def result(self, latency: float) -> Result:
        """Return the result, without confirmations."""
        first, quota = self.first.outcome, self.head.quota if self.head else None
        verdict, step, reason = first.verdict, self.first.requests.step, first.reason
        passed = [step for step in Step if any(step in branch.requests.passed for branch in self.branches)]
        drift = next((branch.outcome.drift for branch in self.branches if branch.outcome.drift), "")
        if verdict is Verdict.GOOD:
            step, reason = (passed or [Step.PING])[-1], drift or "all steps passed"
        if verdict is Verdict.GOOD and is_used_up(quota, self.target):
            verdict, step, reason = Verdict.LIMITED, Step.MANIFEST, "no pulls left"
        result = Result(verdict, step, reason, latency, first.retry_after, self.sent, quota=quota)
        digest = self.head.digest if self.head else ""
        canary = Canary(self.head is not None, digest, drift) if self.head or drift else None
        durations = {step: taken for branch in self.branches for step, taken in branch.requests.durations.items()}
        return evolve(result, canary=canary, passed=tuple(passed), durations=durations)

    async def _ask_all(self, *works: Work) -> list[Branch]:
        return await gatherResults([Deferred.fromCoroutine(self._ask(work)) for work in works])

    async def _ask_again(self, branches: list[Branch]) -> list[Branch]:
        """Repeat parts of the check, of which only the last outcome counts."""
        self.branches = [branch for branch in self.branches if branch not in branches]
        return await self._ask_all(*(branch.work for branch in branches))

    async def _ask(self, work: Work) -> Branch:
        """Do a part of the check, and note how it ended, unless what it relied on may be outdated."""
        branch = Branch(work, self.target.begin(self.session, self.clock, self.changed))
        branch.requests.authorization = self.target.memory.authorization
        self.branches.append(branch)
        try:
            await work(branch.requests)
        except Exception as error:
            branch.outcome = judge_error(error)
        if not _may_be_outdated(branch):
            self._note(branch)
        return branch

    def _note(self, branch: Branch) -> None:
        self.target.note_outcome(branch.outcome, branch.requests.step, self.clock.seconds())
        self.changed()

    def _settle(self, branch: Branch) -> None:
        """Note how a part of the check ended; that a blob is gone says nothing if the canary is another image now."""
        memory, head = self.target.memory, self.head
        is_gone = branch.requests.step is Step.BLOB and branch.requests.status == 404
        if is_gone and (head is None or head.digest != memory.manifest):
            memory.blob = "" if head is not None else memory.blob
            branch.outcome = StepOutcome(Verdict.GOOD, "the canary's blob is not known")
            branch.requests.note_pass(*AFTER_MANIFEST)
        else:
            self._note(branch)

    async def _ping(self, requests: ProbeRequests) -> None:
        challenges = await ask_ping(requests)
        self.target.memory.challenges = challenges
        requests.end(*(() if find_bearer(challenges) else (Step.TOKEN, *self.target.after_token)))

    async def _token(self, requests: ProbeRequests) -> None:
        bearer = find_bearer(self.target.memory.challenges or ())
        if bearer is None:
            return  # the ping stands for this step
        requests.begin(Step.TOKEN)
        await ask_token(requests, bearer, self.target.canary, self.depth.canary_seen)
        self.target.memory.authorization = requests.authorization
        requests.end(*self.target.after_token)

    async def _manifest(self, requests: ProbeRequests) -> None:
        if self.target.canary is None:
            return  # the token stands for this step
        requests.begin(Step.MANIFEST)
        self.head = await manifest_steps.ask_head(requests, self.target.canary, self.depth.canary_seen)
        requests.end(*self.target.after_manifest)

    async def _blob(self, requests: ProbeRequests) -> None:
        canary, digest = self.target.canary, self.target.memory.blob
        if canary is None or not digest:
            return  # the manifest, or the token, stands for these steps
        try:
            await climb_to_cdn(requests, Blob(canary.name, digest), self.depth.canary_seen)
        except DriftError:
            requests.note_pass(*AFTER_MANIFEST)


def _excuse(refused: list[Branch]) -> None:
    """Let parts that an old token was refused for say nothing: why there is no new one decides the result."""
    for branch in refused:
        branch.outcome = StepOutcome(Verdict.GOOD, "there is no fresh token")


def _may_be_outdated(branch: Branch) -> bool:
    """Return whether a registry refused a token, or no longer has a blob, that was remembered."""
    requests = branch.requests
    return requests.step in (Step.MANIFEST, Step.BLOB) and requests.status in (401, 404)
