"""Digests that not every backend lists are remembered for a while."""

from facaded.oci.requests import Blob, ManifestRead, Read, Referrers, Tags
from facaded.policy.elsewhere import ELSEWHERE_TIME, MOST_ELSEWHERE, RENEWAL_TIME, Elsewhere, ListedDigest

DIGEST = "sha256:" + "1" * 64
OTHER = "sha256:" + "2" * 64


def test_a_noted_digest_is_remembered_for_its_repository_until_its_time_ends() -> None:
    elsewhere = Elsewhere()
    elsewhere.note("org/app", [DIGEST], 5)
    noted: tuple[Read, ...] = ManifestRead("org/app", DIGEST), Blob("org/app", DIGEST)
    assert all(elsewhere.has(read, 5 + ELSEWHERE_TIME - 1) for read in noted)
    others: tuple[Read, ...] = (
        ManifestRead("org/app", "latest"),
        ManifestRead("org/app", OTHER),
        Blob("org/other", DIGEST),
        Tags("org/app"),
        Referrers("org/app", DIGEST),
    )
    assert not any(elsewhere.has(read, 6) for read in others)
    assert not any(elsewhere.has(read, 5 + ELSEWHERE_TIME) for read in noted)


def test_the_tags_of_signatures_need_not_be_noted() -> None:
    assert Elsewhere().has(ManifestRead("org/app", f"sha256-{'1' * 64}.sig"), 0)


def test_the_table_is_bounded() -> None:
    elsewhere = Elsewhere()
    elsewhere.note("org/app", [DIGEST], 0)
    elsewhere.note("org/app", (f"sha256:{number:064x}" for number in range(MOST_ELSEWHERE)), 0)
    assert not elsewhere.has(ManifestRead("org/app", DIGEST), 1)


def test_a_digest_that_is_listed_again_and_again_is_remembered_anew_and_told_at_times() -> None:
    elsewhere, listed = Elsewhere(), list[ListedDigest]()
    elsewhere.follower = listed.append
    for now in (0.0, 1.0, RENEWAL_TIME - 1, RENEWAL_TIME, RENEWAL_TIME + 1):
        elsewhere.note("org/app", [DIGEST], now)
    ends = [ELSEWHERE_TIME, ELSEWHERE_TIME + RENEWAL_TIME]
    assert listed == [ListedDigest("org/app", DIGEST, until) for until in ends]
    assert elsewhere.known(ends[0]) == listed[1:]
    assert not elsewhere.has(Blob("org/app", DIGEST), ends[1])


def test_an_earlier_end_that_another_process_knows_changes_nothing() -> None:
    elsewhere, listed = Elsewhere(), list[ListedDigest]()
    elsewhere.follower = listed.append
    assert elsewhere.learn(ListedDigest("org/app", DIGEST, 900.0), 0.0)
    assert not elsewhere.learn(ListedDigest("org/app", DIGEST, 600.0), 0.0)
    assert elsewhere.known(0.0) == [ListedDigest("org/app", DIGEST, 900.0)]
    assert listed == []
