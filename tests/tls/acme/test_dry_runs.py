"""Dry runs at a CA in memory: they end with valid authorizations, and never order a certificate."""

from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred

from facaded.tls.acme.dry_runs import TIME_LIMIT, AnswerError, DryRun, DryRuns
from facaded.tls.acme.settings import CertificateAuthority, ChallengeKind
from facaded.tls.acme.wire import CaNetwork
from tests.tls.acme.memory import CLOSED, NAME, MemoryNetwork, problem

NAMES = (NAME, "192.0.2.1")
BOTH = (ChallengeKind.TLS_ALPN, ChallengeKind.HTTP)


@define
class RecordedAnswers:
    """Records what it would answer; `broken` refuses."""

    published: list[tuple[ChallengeKind, str]] = field(factory=list)
    pending: int = 0
    broken: bool = False
    description: str = "the test"

    def why_not(self, kind: ChallengeKind) -> str | None:
        return None

    async def publish(self, kind: ChallengeKind, name: str, token: str, key_authorization: str) -> None:
        if self.broken:
            raise AnswerError("the daemon has ended")
        assert key_authorization.startswith(f"{token}.")
        self.published.append((kind, name))
        self.pending += 1

    async def withdraw(self) -> None:
        self.pending = 0


@define
class DryRunLab:
    """A production CA, its staging CA, and what answers challenges."""

    network: MemoryNetwork = field(factory=lambda: MemoryNetwork("ca", "staging"))
    answers: RecordedAnswers = field(factory=RecordedAnswers)
    ca: CertificateAuthority = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.ca = CertificateAuthority("https://ca.test/directory", staging="https://staging.test/directory")

    @property
    def staging(self) -> Any:
        return self.network.cas["staging"]

    def run(self, *kinds: ChallengeKind, seconds: float = 30) -> DryRun:
        ca_network = CaNetwork(self.network.connect, self.network.clock, self.network.now)
        results: list[DryRun] = []
        running = Deferred.fromCoroutine(DryRuns(ca_network, self.answers).run(self.ca, NAMES, kinds or BOTH))
        running.addCallback(results.append)
        self.network.pass_time(seconds)
        assert self.network.cas["ca"].requests == []
        assert not {"finalize", "certificate"} & set(self.staging.requests)
        assert self.answers.pending == 0
        (result,) = results
        assert (result.names, result.directory) == (NAMES, "https://staging.test/directory")
        return result


@pytest.fixture
def lab() -> DryRunLab:
    return DryRunLab()


@pytest.mark.parametrize("kind", ChallengeKind)
def test_all_names_are_authorized_at_the_staging_ca_and_the_account_is_deactivated(
    lab: DryRunLab, kind: ChallengeKind
) -> None:
    result = lab.run(kind)
    assert (result.authorized_by, result.failures) == (kind.value, ())
    assert lab.answers.published[0] == (kind, NAME)
    assert lab.staging.last("account") == {"status": "deactivated"}


def test_the_next_kind_is_tried_with_a_new_order_after_one_has_failed(lab: DryRunLab) -> None:
    lab.staging.refusal = CLOSED
    result = lab.run()
    assert result.authorized_by is None
    assert [failure.partition(": ")[0] for failure in result.failures] == ["tls-alpn-01", "http-01"]
    assert f"tls-alpn-01: {NAME}: the CA could not reach port 443" in result.failures[0]
    assert lab.staging.requests.count("order") == 2


def test_a_kind_that_the_ca_does_not_offer_is_said_and_the_other_one_is_used(lab: DryRunLab) -> None:
    lab.staging.kinds = ("http-01", "dns-01")
    result = lab.run()
    assert result.authorized_by == "http-01"
    assert result.failures == (f"tls-alpn-01: {NAME}: the CA does not offer it",)


def test_an_order_that_is_refused_is_not_repeated(lab: DryRunLab) -> None:
    lab.staging.faults["order"] = problem(403, "rejectedIdentifier", identifier={"type": "dns", "value": NAME})
    result = lab.run()
    assert result.authorized_by is None
    assert len(result.failures) == lab.staging.requests.count("order") == 1
    assert f"{NAME}: the CA does not issue certificates for this name" in result.failures[0]


def test_a_ca_that_is_down_or_never_decides_is_given_up(lab: DryRunLab) -> None:
    lab.staging.stalls = True
    result = lab.run(ChallengeKind.HTTP, seconds=TIME_LIMIT + 60)
    assert result.failures == ("http-01: the CA did not decide within 120 s: try again later",)
    lab.staging.down = True
    assert "connection refused" in lab.run().failures[0]


def test_answers_that_cannot_be_published_are_a_failure(lab: DryRunLab) -> None:
    lab.answers.broken = True
    result = lab.run(ChallengeKind.HTTP)
    assert result.failures == ("http-01: the daemon has ended",)
    assert "challenge" not in lab.staging.requests


def test_an_authorization_for_another_name_is_not_answered(lab: DryRunLab) -> None:
    lab.staging.lies["authorization"] = lambda document: document.update(
        identifier={"type": "dns", "value": "other.test"}
    )
    result = lab.run()
    assert "an authorization for a name that is not in the order" in result.failures[0]
    assert lab.answers.published == []
