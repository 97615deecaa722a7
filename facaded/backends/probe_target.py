"""What probes and checks ask: a registry and its canary, what they remember of it, and how an outcome is judged."""

from collections.abc import Callable
from pathlib import Path

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

from facaded.backends.access_steps import Challenges
from facaded.backends.failures import is_cancelled
from facaded.backends.probe_requests import DriftError, ProbeRequests, StepFailedError
from facaded.net.client import describe_error, is_local_error
from facaded.net.connections import ClientSession, session_opener
from facaded.net.reactor import INetworkReactor
from facaded.oci.requests import Image
from facaded.policy.health import Quota, Step, Verdict
from facaded.policy.proofs import Proofs

AFTER_MANIFEST = (Step.BLOB, Step.CDN)

AFTER_TOKEN = (Step.MANIFEST, *AFTER_MANIFEST)


@define
class ProbeMemory:
    """What is remembered of a registry between probes.

    `blob` and `manifest` are the digests of the canary's smallest blob and of its manifest; `challenges` are those of
    `GET /v2/`, None before the first answer; `authorization` is the last token as a header value, or empty.
    """

    manifest: str = ""
    blob: str = ""
    challenges: Challenges | None = None
    authorization: str = ""


@frozen
class StepOutcome:
    """How a step, or a whole probe, ended.

    `retry_after` is in seconds, 0 without a Retry-After. `drift` describes a fault of the canary that is not the
    backend's. `can_be_confirmed` is whether the last request may be repeated: it failed, and nobody cancelled it.
    """

    verdict: Verdict
    reason: str
    retry_after: float = 0.0
    drift: str = ""
    can_be_confirmed: bool = False


@frozen
class ProbeTarget:
    """The registry at `url` to probe, its canary if there is one, and the timeout of each request in seconds.

    `open_session` returns a client with connections of its own. `has_account` is True if facaded serves with its own
    account, so that the address's own quota does not matter. `proofs` are what the registry has proven. `note_url` is
    called with the step and the URL of each request.
    """

    url: str
    open_session: Callable[[], ClientSession]
    canary: Image | None
    timeout: float
    has_account: bool = False
    memory: ProbeMemory = field(factory=ProbeMemory)
    proofs: Proofs = field(factory=Proofs)
    note_url: Callable[[Step, str], None] = lambda step, url: None

    def begin(
        self, session: ClientSession, clock: IReactorTime, changed: Callable[[], None] = lambda: None
    ) -> ProbeRequests:
        """Return the requests of a probe, or of a branch of a check, through a session.

        `changed` is called after each new proof.
        """

        def note_pass(*steps: Step) -> None:
            self.proofs.note_pass(clock.seconds(), *steps)
            changed()

        return ProbeRequests(self.url, self.open_session, session, clock, self.timeout, note_pass, self.note_url)

    @property
    def after_token(self) -> tuple[Step, ...]:
        """The steps that a token stands for, because there is no canary to ask for."""
        return AFTER_TOKEN if self.canary is None else ()

    @property
    def after_manifest(self) -> tuple[Step, ...]:
        """The steps that the manifest stands for, because none of the canary's blobs is known."""
        return () if self.memory.blob else AFTER_MANIFEST

    def note_outcome(self, outcome: StepOutcome, step: Step, now: float) -> None:
        """Note as a proof, or against one, how a step ended that did not simply pass.

        A registry that limits the rate of this machine answers, and may answer clients; so does one that has no canary.
        """
        if outcome.verdict is Verdict.BAD:
            self.proofs.note_failure(step)
        elif outcome.verdict is Verdict.LIMITED:
            self.proofs.note_pass(now, step, *(self.after_manifest if step is Step.MANIFEST else ()))
        elif outcome.drift:
            self.proofs.note_pass(now, step, Step.MANIFEST, *self.after_manifest)


def build_target(
    reactor: INetworkReactor, url: str, ca_file: Path | None, canary: Image | None, timeout: float, has_account: bool
) -> ProbeTarget:
    """Return what to probe at `url`. Raises as `connections.trust_policy` does."""
    return ProbeTarget(url, session_opener(reactor, url, ca_file, timeout), canary, timeout, has_account)


def judge_error(error: Exception) -> StepOutcome:
    """Return the outcome of a step that raised an error."""
    if isinstance(error, DriftError):
        return StepOutcome(Verdict.GOOD, str(error), drift=str(error))
    if isinstance(error, StepFailedError):
        bad = error.verdict is Verdict.BAD
        return StepOutcome(error.verdict, str(error), error.retry_after, can_be_confirmed=bad)
    verdict = Verdict.LOCAL if is_local_error(error) else Verdict.BAD
    can_be_confirmed = verdict is Verdict.BAD and not is_cancelled(error)
    return StepOutcome(verdict, describe_error(error), can_be_confirmed=can_be_confirmed)


def is_used_up(quota: Quota | None, target: ProbeTarget) -> bool:
    """Return whether the registry still answers, but has no pulls left for this machine's address."""
    return quota is not None and quota.remaining == 0 and not target.has_account
