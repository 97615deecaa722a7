"""Digests that not every backend lists are remembered for a while."""

from facaded.oci.requests import Blob, ManifestRead, Read, Referrers, Tags
from facaded.policy.elsewhere import ELSEWHERE_TIME, MOST_ELSEWHERE, Elsewhere

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
