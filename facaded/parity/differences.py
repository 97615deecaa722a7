"""Differences between copies of an image, and their description in words. Pure."""

from collections.abc import Mapping, Sequence

from attrs import evolve, field, frozen

from facaded.oci.indexes import Entry
from facaded.parity.findings import Finding, Side

NAMES = 5
"""The most names in an enumeration for a person: more make a table cell too long to read."""


@frozen
class Index:
    """The content of a manifest: its entries if it is an index.

    `known` is false if it could not be read, and `failures` are the sides of the backends that failed to send it.
    """

    digest: str
    entries: tuple[Entry, ...] | None = None
    known: bool = True
    failures: Mapping[str, Side] = field(factory=dict)

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platforms of an index, without duplicates."""
        return tuple(dict.fromkeys(entry.platform for entry in self.entries or () if entry.platform))

    def of_platform(self, platform: str | None) -> frozenset[str]:
        """Return the digests of one platform's manifests, or of the attestations."""
        return frozenset(entry.digest for entry in self.entries or () if entry.platform == platform)


@frozen
class Contents:
    """What a backend has along with a manifest.

    `missing` are the entries of the index that it lacks. `referrers` is None if they were not read.
    """

    missing: tuple[Entry, ...]
    referrers: frozenset[str] | None


def compare_contents(index: Index, contents_by_backend: Mapping[str, Contents | Side]) -> dict[str, Side]:
    """Compare backends that have the same manifest by what they have along with it."""
    all_referrers: frozenset[str] = frozenset()
    for contents in contents_by_backend.values():
        if isinstance(contents, Contents) and contents.referrers is not None:
            all_referrers |= contents.referrers
    sides: dict[str, Side] = {}
    for backend, contents in contents_by_backend.items():
        if isinstance(contents, Side):
            sides[backend] = evolve(contents, digest=index.digest, platforms=index.platforms)
            continue
        missing = _describe_missing(contents, len(all_referrers))
        finding = Finding.DIFFERS if missing else Finding.SAME
        reason = f"lacks {missing}" if missing else ""
        referrers = tuple(sorted(contents.referrers or ()))
        sides[backend] = Side(finding, reason, index.digest, index.platforms, referrers)
    return sides


def describe_difference(standard: Index, other: Index) -> str:
    """Return in words how the manifest `other` differs from `standard`."""
    if not (standard.known and other.known):
        return "another digest"
    if standard.entries is None:
        return "another manifest" if other.entries is None else f"an index: {_enumerate(other.platforms)}"
    if other.entries is None:
        copied = next((entry.platform for entry in standard.entries if entry.digest == other.digest), None)
        return f"only {copied}" if copied else "another manifest, not an index"
    missing = [platform for platform in standard.platforms if platform not in other.platforms]
    extra = [platform for platform in other.platforms if platform not in standard.platforms]
    common = [platform for platform in standard.platforms if platform in other.platforms]
    changed = [platform for platform in common if standard.of_platform(platform) != other.of_platform(platform)]
    differences = [
        f"{verb} {_enumerate(platforms)}"
        for verb, platforms in (("lacks", missing), ("also has", extra), ("another", changed))
        if platforms
    ]
    if not differences and standard.of_platform(None) != other.of_platform(None):
        differences = ["the same platforms, other attestations"]
    return "; ".join(differences) or "another index of the same manifests"


def counted(number: int, thing: str) -> str:
    """Return a number of things in words: `1 tag`, `2 tags`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _describe_missing(contents: Contents, referrers: int) -> str:
    """Return in words what a backend lacks; `referrers` is how many there are at all backends together."""
    missing = list(dict.fromkeys(entry.platform for entry in contents.missing if entry.platform))
    if attestations := sum(entry.platform is None for entry in contents.missing):
        missing.append(counted(attestations, "attestation"))
    if contents.referrers is not None and (fewer := referrers - len(contents.referrers)):
        missing.append(f"{fewer} of {counted(referrers, 'referrer')}")
    return _enumerate(missing)


def _enumerate(names: Sequence[str]) -> str:
    more = len(names) - NAMES
    return ", ".join(names[:NAMES]) + (f" and {more} more" if more > 0 else "")
