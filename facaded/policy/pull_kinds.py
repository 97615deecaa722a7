"""The kinds of pulls that are counted, and the requests that they consist of."""

from enum import Enum
from typing import NamedTuple, TypeAlias

from facaded.oci.clients import Family


class PullKind(Enum):
    """What is counted. The values are in JSON documents and in the file of the history."""

    IMAGE = "pull"
    CHECK = "check"
    SIGNATURE = "signature"

    __hash__ = object.__hash__  # pulls are counted by it, and the hash of Enum is in Python


CHECKERS = frozenset({Family.WATCHTOWER, Family.DIUN, Family.RENOVATE})
"""Families that look for updates, and pull nothing themselves."""

VERIFIERS = frozenset({Family.COSIGN, Family.NOTATION})
"""Families that verify signatures. Cosign reads the images too; notation only looks up their digests."""


class PullKey(NamedTuple):
    """What is counted together. `repository` and `reference` are empty for names beyond a bound.

    `reference` is a tag, or a digest that was pulled without a tag; it is empty for signatures and attestations.
    `is_proven` is whether a backend has shown that the name exists: it was served, or its client went on to ask for
    what the manifest names.
    """

    repository: str
    reference: str
    family: Family
    kind: PullKind
    is_proven: bool

    @property
    def unnamed(self) -> "PullKey":
        """The key without names: what is counted beyond a bound."""
        return PullKey("", "", self.family, self.kind, is_proven=False)


CountKey: TypeAlias = tuple[str, str, Family, PullKind, bool]
"""The content of a `PullKey`, which takes longer to create."""

ManifestRequest: TypeAlias = tuple[float, str, bool, bool, bool]
"""A request for a manifest or for referrers that was served or redirected: a tuple, because one is created for each.

It has the time in seconds since the epoch; the tag or digest, or the subject of referrers; whether the client wanted
the manifest itself (GET); whether it was redirected; and whether it asked for referrers, or by a tag of signatures.
"""


def kind_of(family: Family, is_get: bool, is_signature: bool) -> PullKind:
    """Return what a request that nothing follows is counted as."""
    if is_signature or family in VERIFIERS:
        return PullKind.SIGNATURE
    return PullKind.IMAGE if is_get and family not in CHECKERS else PullKind.CHECK
