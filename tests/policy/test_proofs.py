"""Proofs: how long a redirect may rely on what a backend has answered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.oci.requests import Blob, ManifestRead, Ping, Tags
from facaded.policy.health import Step
from facaded.policy.proofs import Need, Proofs, Validity, need_of

TRUST = 2.0
DIGEST = "sha256:" + "0" * 64


def proven(need: Need, at: float = 0.0) -> Proofs:
    proofs = Proofs()
    proofs.note_pass(at, *need.steps)
    return proofs


def test_a_blob_needs_the_cdn_and_all_else_a_token_and_a_manifest() -> None:
    assert need_of(Blob("org/app", DIGEST)) is Need.BLOB
    assert {need_of(request) for request in (Ping(), ManifestRead("org/app", "latest"), Tags("org/app"))} == {Need.PULL}
    assert Need.PULL.steps == (Step.PING, Step.TOKEN, Step.MANIFEST)
    assert Need.BLOB.steps == (Step.BLOB, Step.CDN)


@pytest.mark.parametrize(
    ("age", "validity"),
    [(0, Validity.FRESH), (1, Validity.FRESH), (1.1, Validity.AGEING), (2, Validity.AGEING), (2.1, Validity.STALE)],
)
def test_proofs_are_renewed_after_half_of_trust_and_stale_after_all_of_it(age: float, validity: Validity) -> None:
    assert proven(Need.PULL).validity(Need.PULL, age, TRUST) is validity


def test_what_was_never_proven_is_stale() -> None:
    assert Proofs().validity(Need.PULL, 0, TRUST) is Validity.STALE
    assert proven(Need.PULL).validity(Need.BLOB, 0, TRUST) is Validity.STALE


def test_a_step_last_passed_at_its_last_proof_even_if_it_has_failed_since() -> None:
    proofs = proven(Need.PULL, 3.0)
    proofs.note_failure(Step.PING)
    assert (proofs.passed_at(Step.PING), proofs.passed_at(Step.CDN)) == (3.0, None)


def test_the_oldest_proof_counts() -> None:
    proofs = proven(Need.PULL)
    proofs.note_pass(5, Step.PING, Step.TOKEN)
    assert proofs.validity(Need.PULL, 5, TRUST) is Validity.STALE
    proofs.note_pass(5, Step.MANIFEST)
    assert proofs.validity(Need.PULL, 5, TRUST) is Validity.FRESH


def test_a_failure_counts_until_the_step_passes_again_and_for_its_own_need() -> None:
    proofs = proven(Need.PULL)
    proofs.note_pass(0, *Need.BLOB.steps)
    proofs.note_failure(Step.CDN)
    assert proofs.validity(Need.BLOB, 1, TRUST) is Validity.FAILED
    assert proofs.validity(Need.PULL, 1, TRUST) is Validity.FRESH
    proofs.note_pass(1.5, Step.CDN)
    assert proofs.validity(Need.BLOB, 1.5, TRUST) is Validity.AGEING  # the other step's proof is older


def test_a_step_that_only_ever_failed_has_failed() -> None:
    proofs = Proofs()
    proofs.note_failure(Step.PING)
    assert proofs.validity(Need.PULL, 100, TRUST) is Validity.FAILED
    assert not proofs.has_answered


def test_the_proofs_of_a_slow_backend_last_twice_as_long_as_its_check() -> None:
    """Otherwise those of a registry that answers in 1.5 s would be stale before the next check, of 3 s, has them."""
    proofs = Proofs()
    proofs.note_pass(1.5, *Need.PULL.steps)
    proofs.note_pass(3, *Need.BLOB.steps)
    proofs.note_check(started=0, now=3)
    assert proofs.validity(Need.PULL, 1.5 + 6, TRUST) is Validity.AGEING
    assert proofs.validity(Need.PULL, 1.5 + 6.1, TRUST) is Validity.STALE
    proofs.note_pass(10.1, *Step)
    proofs.note_check(started=10, now=10.1)
    assert proofs.validity(Need.PULL, 12.2, TRUST) is Validity.STALE


def test_no_check_takes_so_long_that_its_proofs_last_for_more_than_ten_seconds() -> None:
    proofs = Proofs()
    proofs.note_pass(20, *Step)
    proofs.note_check(started=0, now=20)
    assert proofs.validity(Need.PULL, 30, TRUST) is Validity.AGEING
    assert proofs.validity(Need.PULL, 30.1, TRUST) is Validity.STALE


def test_a_check_that_did_not_prove_everything_says_nothing_of_the_time_that_one_takes() -> None:
    proofs = proven(Need.PULL, at=1)
    proofs.note_check(started=0, now=9)
    assert proofs.validity(Need.PULL, 9, TRUST) is Validity.STALE
    assert proofs.proven_since(Need.PULL, 1)
    assert not proofs.proven_since(Need.PULL, 1.1)


EVENTS = st.lists(st.tuples(st.sampled_from(Step), st.booleans(), st.floats(0, 3)), max_size=20)


@given(EVENTS, st.sampled_from(Need), st.floats(0, 5))
def test_no_proofs_are_good_unless_each_step_passed_within_trust_and_has_not_failed_since(
    events: list[tuple[Step, bool, float]], need: Need, wait: float
) -> None:
    proofs, now = Proofs(), 0.0
    last: dict[Step, tuple[bool, float]] = {}
    for step, good, pause in events:
        now += pause
        if good:
            proofs.note_pass(now, step)
        else:
            proofs.note_failure(step)
        last[step] = good, now
    now += wait
    good = all(last.get(step, (False, 0))[0] and now - last[step][1] <= TRUST for step in need.steps)
    assert (proofs.validity(need, now, TRUST) in (Validity.FRESH, Validity.AGEING)) == good
