"""Differences between two copies of an image, and how they are put into words. Pure."""

from collections.abc import Mapping, Sequence

from attrs import evolve, field, frozen

from facaded.oci.indexes import Entry
from facaded.parity.findings import Finding, Side

NAMES = 5
"""Names in one enumeration for a person: more make a table's cell too long to read."""


@frozen
class Index:
    """What is known of a manifest: its entries if it is an index. `known` is false if it could not be read."""

    digest: str
    entries: tuple[Entry, ...] | None = None
    known: bool = True
    failures: Mapping[str, Side] = field(factory=dict)

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platforms of an index, each once."""
        return tuple(dict.fromkeys(entry.platform for entry in self.entries or () if entry.platform))

    def of_platform(self, platform: str | None) -> frozenset[str]:
        """Return the digests of one platform's manifests, or of the attestations."""
        return frozenset(entry.digest for entry in self.entries or () if entry.platform == platform)


@frozen
class Holding:
    """What a backend has of a manifest besides the manifest itself. `referrers` is None if they were not read."""

    lacking: tuple[Entry, ...]
    referrers: frozenset[str] | None


def copies(index: Index, holdings: Mapping[str, Holding | Side]) -> dict[str, Side]:
    """Compare backends that have a manifest of the same digest, by what else they have of it."""
    sets = [each.referrers for each in holdings.values() if isinstance(each, Holding) and each.referrers is not None]
    every = frozenset[str]().union(*sets)
    sides: dict[str, Side] = {}
    for backend, each in holdings.items():
        if isinstance(each, Side):
            sides[backend] = evolve(each, digest=index.digest, platforms=index.platforms)
            continue
        lacks = _lacking(each, len(every))
        finding = Finding.DIFFERS if lacks else Finding.SAME
        said = f"lacks {lacks}" if lacks else ""
        referrers = tuple(sorted(each.referrers or ()))
        sides[backend] = Side(finding, said, index.digest, index.platforms, referrers)
    return sides


def difference(ours: Index, theirs: Index) -> str:
    """Say how a manifest differs from the one that it is compared with."""
    if not (ours.known and theirs.known):
        return "another digest"
    if ours.entries is None:
        return "another manifest" if theirs.entries is None else f"an index: {_some(theirs.platforms)}"
    if theirs.entries is None:
        copied = next((entry.platform for entry in ours.entries if entry.digest == theirs.digest), None)
        return f"{copied} alone" if copied else "another manifest, no index"
    lacks = [each for each in ours.platforms if each not in theirs.platforms]
    more = [each for each in theirs.platforms if each not in ours.platforms]
    common = [each for each in ours.platforms if each in theirs.platforms]
    other = [each for each in common if ours.of_platform(each) != theirs.of_platform(each)]
    said = [
        f"{verb} {_some(names)}" for verb, names in (("lacks", lacks), ("has also", more), ("another", other)) if names
    ]
    if not said and ours.of_platform(None) != theirs.of_platform(None):
        said = ["the same platforms, other attestations"]
    return "; ".join(said) or "another index of the same manifests"


def counted(number: int, thing: str) -> str:
    """Write a number of things as a person does: `1 tag`, `2 tags`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _lacking(holding: Holding, referrers: int) -> str:
    lacks = list(dict.fromkeys(entry.platform for entry in holding.lacking if entry.platform))
    if attestations := sum(entry.platform is None for entry in holding.lacking):
        lacks.append(counted(attestations, "attestation"))
    if holding.referrers is not None and (fewer := referrers - len(holding.referrers)):
        lacks.append(f"{fewer} of {counted(referrers, 'referrer')}")
    return _some(lacks)


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMES
    return ", ".join(names[:NAMES]) + (f" and {more} more" if more > 0 else "")
