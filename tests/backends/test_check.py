"""A check: the result and the proofs for each response of a registry, over treq in memory."""

from typing import Any

import pytest
from attrs import evolve
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from facaded.backends.check import check
from facaded.backends.ladder import probe
from facaded.backends.probe_target import ProbeTarget
from facaded.net.client import BoundedClient
from facaded.net.connections import ClientSession
from facaded.oci.requests import Image
from facaded.policy.health import CONFIRMATION_TIME, ProbeDepth, Result, Step, Verdict
from facaded.policy.proofs import Need, Validity
from tests.backends.probing import (
    BAD,
    BLOB,
    CANARY,
    DEEP,
    FOUND,
    GOOD,
    INDEX,
    LATEST,
    LIMITED,
    SMALL,
    TOKEN,
    WHOLE,
    Answer,
    Registries,
    Table,
    found,
    unauthorized,
)

URL = "http://registry.test"
REFUSED: Answer = (404, {}, b"")


class Checked:
    """A registry that a deep probe has found good, and that is then checked with another table of answers."""

    def __init__(self, table: Table, changes: Table, canary: Image | None = CANARY, probed: bool = True) -> None:
        self.clock = Clock()
        self.registries = Registries(table)
        self.agent = RequestTraversalAgent(self.registries)
        session = ClientSession(BoundedClient(URL, self.agent), lambda: succeed(None))
        self.target = ProbeTarget(URL, lambda: session, canary, timeout=3.0)
        if probed:
            assert self.probe().verdict is GOOD
        self.clock.advance(100)
        self.registries.table |= Registries({**table, **changes}).table
        self.asked_before = len(self.registries.paths)
        self.changes = 0

    def probe(self) -> Result:
        return self._finish(probe(self.target, evolve(DEEP, canary_seen=True), self.clock))

    def check(self, **depth: bool) -> Result:
        return self._finish(check(self.target, ProbeDepth(**depth), self.clock, self._note_change))

    def validity(self, need: Need) -> Validity:
        return self.target.proofs.validity(need, self.clock.seconds(), 2.0)

    @property
    def asked(self) -> list[str]:
        """The methods and paths of the check's requests."""
        asked = zip(self.registries.methods, self.registries.paths, strict=True)
        return [f"{method} {path.partition('?')[0]}" for method, path in asked][self.asked_before :]

    def _note_change(self) -> None:
        self.changes += 1

    def _finish(self, work: Any) -> Result:
        results: list[Result] = []
        Deferred.fromCoroutine(work).addCallback(results.append)
        for seconds in (3.0, 3.0, CONFIRMATION_TIME, 0.0):
            for _ in range(12):
                self.agent.flush()
            if not results:
                self.clock.advance(seconds)
        return results[0]


def test_everything_is_asked_at_once_with_the_last_token() -> None:
    checked = Checked(WHOLE, {})
    result = checked.check(canary_seen=True)
    assert (result.verdict, result.step, result.reason) == (GOOD, Step.CDN, "all steps passed")
    assert set(result.passed) == {Step.PING, Step.TOKEN, Step.MANIFEST, Step.BLOB, Step.CDN}
    assert result.canary is not None
    assert result.canary.present
    assert not result.deep  # the probes that fetch the canary's blob go on as before
    assert set(checked.asked[:4]) == {"GET /v2/", "GET /token", f"HEAD {LATEST}", f"GET {BLOB}"}
    assert len(checked.asked) == result.requests == 5
    assert checked.validity(Need.PULL) is checked.validity(Need.BLOB) is Validity.FRESH
    assert checked.changes >= 4
    assert not any(path.startswith("GET") and "/manifests/" in path for path in checked.asked)


def test_without_an_earlier_challenge_it_asks_in_turn() -> None:
    checked = Checked(WHOLE, {}, probed=False)
    assert checked.check().verdict is GOOD
    assert checked.asked == ["GET /v2/", "GET /token", f"HEAD {LATEST}"]
    assert checked.validity(Need.PULL) is checked.validity(Need.BLOB) is Validity.FRESH  # no blob is known yet


@pytest.mark.parametrize(
    ("changes", "step", "failed"),
    [
        ({"/v2/": (500, {}, b"")}, Step.PING, [Need.PULL]),
        ({"/token": (500, {}, b"")}, Step.TOKEN, [Need.PULL]),
        ({f"HEAD {LATEST}": (500, {}, b"")}, Step.MANIFEST, [Need.PULL]),
        ({f"HEAD {LATEST}": unauthorized()}, Step.MANIFEST, [Need.PULL]),
        ({BLOB: (500, {}, b"")}, Step.BLOB, [Need.BLOB]),
        ({BLOB: unauthorized()}, Step.BLOB, [Need.BLOB]),
        ({"/blob": (503, {}, b"")}, Step.CDN, [Need.BLOB]),
        ({"/v2/": (500, {}, b""), "/blob": (503, {}, b"")}, Step.PING, [Need.PULL, Need.BLOB]),
    ],
)
def test_a_step_that_fails_fails_what_needs_it(changes: Table, step: Step, failed: list[Need]) -> None:
    checked = Checked(WHOLE, changes)
    result = checked.check(canary_seen=True, confirm=True)
    assert (result.verdict, result.step) == (BAD, step)
    assert result.confirmations is not None
    assert result.confirmations.all_failed
    assert [need for need in Need if checked.validity(need) is Validity.FAILED] == failed
    assert [need for need in Need if checked.validity(need) is Validity.FRESH] == [
        need for need in Need if need not in failed
    ]


def test_a_check_that_hangs_fails_after_the_timeout() -> None:
    checked = Checked(WHOLE, {"/v2/": [None] * 9, "/token": [None] * 9})
    result = checked.check()
    assert (result.verdict, result.step, result.reason) == (BAD, Step.PING, "timeout")
    assert result.confirmations is None
    assert result.latency == 3.0


def test_an_old_token_is_replaced_and_asked_with_again() -> None:
    checked = Checked(
        WHOLE,
        {
            f"HEAD {LATEST}": [unauthorized(), FOUND],
            BLOB: [unauthorized(), (307, {"Location": "http://cdn.test/blob"}, b"")],
        },
    )
    result = checked.check(canary_seen=True)
    assert result.verdict is GOOD
    assert checked.asked.count(f"HEAD {LATEST}") == checked.asked.count(f"GET {BLOB}") == 2
    assert checked.validity(Need.PULL) is checked.validity(Need.BLOB) is Validity.FRESH


def test_a_new_realm_is_asked_for_a_token_at_once() -> None:
    moved = 'Bearer realm="http://tokens.test/new",service="registry.test"'
    checked = Checked(WHOLE, {"/v2/": unauthorized(moved), "/token": (500, {}, b""), "/new": TOKEN})
    result = checked.check()
    assert "GET /new" in checked.asked
    assert checked.validity(Need.PULL) is Validity.FRESH
    assert result.verdict is GOOD


def test_a_token_server_that_refuses_leaves_the_old_token_s_refusal_a_failure() -> None:
    checked = Checked(WHOLE, {"/token": (500, {}, b""), f"HEAD {LATEST}": unauthorized()})
    result = checked.check(canary_seen=True)
    assert (result.verdict, result.step) == (BAD, Step.TOKEN)
    assert checked.asked.count(f"HEAD {LATEST}") == 1


@pytest.mark.parametrize("content", [f"HEAD {LATEST}", BLOB])
def test_the_refusal_of_an_old_token_says_nothing_if_the_token_server_limits_this_machine(content: str) -> None:
    """The token has run out, and no other can be had: a probe would stop at the token server."""
    checked = Checked(WHOLE, {"/token": (429, {}, b""), content: unauthorized()})
    result = checked.check(canary_seen=True, confirm=True)
    assert (result.verdict, result.step) == (LIMITED, Step.TOKEN)
    assert all(checked.validity(need) is not Validity.FAILED for need in Need)


@pytest.mark.parametrize("changes", [{"/v2/": (429, {}, b"")}, {"/token": (429, {"Retry-After": "9"}, b"")}])
def test_a_rate_limit_of_this_machine_is_an_answer(changes: Table) -> None:
    checked = Checked(WHOLE, changes)
    result = checked.check()
    assert result.verdict is LIMITED
    assert checked.validity(Need.PULL) is Validity.FRESH


def test_a_rate_limit_for_the_manifest_proves_as_much_as_the_manifest() -> None:
    """After a start no blob is known yet. The registry stays active for redirects."""
    checked = Checked(WHOLE, {f"HEAD {LATEST}": (429, {}, b"")}, probed=False)
    assert checked.check().verdict is LIMITED
    assert checked.validity(Need.PULL) is checked.validity(Need.BLOB) is Validity.FRESH


def test_no_pulls_left_is_a_rate_limit_for_serving_alone() -> None:
    checked = Checked(WHOLE, {f"HEAD {LATEST}": found(INDEX, RateLimit_Remaining="0;w=21600")})
    result = checked.check()
    assert (result.verdict, result.reason) == (LIMITED, "no pulls left")
    assert checked.validity(Need.PULL) is Validity.FRESH


def test_a_canary_that_is_gone_does_not_doubt_the_registry() -> None:
    checked = Checked(WHOLE, {f"HEAD {LATEST}": REFUSED, BLOB: REFUSED})
    result = checked.check(canary_seen=True)
    assert result.verdict is GOOD
    assert result.canary is not None
    assert not result.canary.present
    assert checked.validity(Need.PULL) is checked.validity(Need.BLOB) is Validity.FRESH


def test_another_canary_s_blob_is_not_asked_for() -> None:
    other = "sha256:" + "1" * 64
    checked = Checked(WHOLE, {f"HEAD {LATEST}": found(other), BLOB: REFUSED})
    assert checked.target.memory.blob == SMALL
    assert checked.check(canary_seen=True).verdict is GOOD
    assert checked.target.memory.blob == ""
    assert checked.validity(Need.BLOB) is Validity.FRESH


def test_a_probe_looks_for_the_blob_again_after_a_check_has_forgotten_it() -> None:
    """The canary may get its former digest back, or the registry's copies may differ for a while."""
    checked = Checked(WHOLE, {f"HEAD {LATEST}": found("sha256:" + "1" * 64), BLOB: REFUSED})
    checked.check(canary_seen=True)
    checked.registries.table |= {f"HEAD {LATEST}": FOUND, BLOB: Registries(WHOLE).table[BLOB]}
    result = checked.probe()
    assert (result.verdict, result.step) == (GOOD, Step.CDN)
    assert checked.target.memory.blob == SMALL


def test_a_blob_that_is_gone_from_the_same_canary_is_a_failure() -> None:
    checked = Checked(WHOLE, {BLOB: REFUSED})
    result = checked.check(canary_seen=True)
    assert (result.verdict, result.step) == (BAD, Step.BLOB)


def test_a_blob_that_was_never_served_says_nothing() -> None:
    checked = Checked(WHOLE, {BLOB: REFUSED})
    assert checked.check(canary_seen=False).verdict is GOOD
    assert checked.validity(Need.BLOB) is Validity.FRESH


@pytest.mark.parametrize(
    "table",
    [{"/v2/": (200, {}, b"{}")}, {"/v2/": unauthorized('Basic realm="x"')}, {"/v2/": unauthorized(), "/token": TOKEN}],
)
@pytest.mark.parametrize("probed", [True, False])
def test_without_a_canary_the_first_steps_stand_for_all(table: Table, probed: bool) -> None:
    checked = Checked(table, {}, canary=None, probed=probed)
    assert checked.check().verdict is GOOD
    assert checked.validity(Need.PULL) is checked.validity(Need.BLOB) is Validity.FRESH


def test_a_registry_that_sends_blobs_itself_has_no_cdn_to_prove() -> None:
    checked = Checked(WHOLE, {BLOB: (206, {}, b"x")})
    assert checked.check().verdict is GOOD
    assert checked.validity(Need.BLOB) is Validity.FRESH


def test_a_check_that_cannot_reach_the_registry_stops_there() -> None:
    checked = Checked({"/v2/": (500, {}, b"")}, {}, probed=False)
    result = checked.check()
    assert (result.verdict, result.step) == (Verdict.BAD, Step.PING)
    assert checked.asked == ["GET /v2/"]
