"""Parity: what it means that backends have the same images, and how a difference is put into words."""

from collections.abc import Mapping, Sequence
from enum import Enum

from attrs import evolve, field, frozen

from facaded.oci.indexes import Entry
from facaded.oci.requests import Image, parse_image
from facaded.policy.answers import Rules
from facaded.policy.repositories import listed

ALL_TAGS = "(all tags)"
"""Stands for the reference in a row about a list of tags."""

SHOWN = 5
"""Names in one enumeration for a person."""


class Outcome(Enum):
    """What became of an image at one backend, compared with the first backend that has it."""

    SAME = "same"
    DIFFERS = "differs"
    NOT_THERE = "not there"
    FAILING = "failing"
    NOT_ASKED = "not asked"


@frozen
class Side:
    """What one backend has of an image. `words` say how it differs or fails."""

    outcome: Outcome
    words: str = ""
    digest: str = ""
    platforms: tuple[str, ...] = ()
    referrers: tuple[str, ...] = ()


@frozen
class Row:
    """One reference, and what each backend of its route has of it, preferred first."""

    name: str
    reference: str
    sides: Mapping[str, Side]

    @property
    def verdict(self) -> Outcome:
        """The outcome over all backends: not there if none has it, failing if one could not be compared, and not asked
        if there were no two to compare.
        """
        asked = [side.outcome for side in self.sides.values() if side.outcome is not Outcome.NOT_ASKED]
        outcomes = set(asked)
        if len(asked) < 2 and outcomes <= {Outcome.SAME}:
            return Outcome.NOT_ASKED
        if Outcome.DIFFERS in outcomes or {Outcome.SAME, Outcome.NOT_THERE} <= outcomes:
            return Outcome.DIFFERS
        return next((each for each in (Outcome.FAILING, Outcome.NOT_THERE) if each in outcomes), Outcome.SAME)


@frozen
class Report:
    """What was found. `notes` are sentences about what was not compared."""

    backends: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()

    def with_verdict(self, *verdicts: Outcome) -> tuple[Row, ...]:
        """The rows that have one of these verdicts."""
        return tuple(row for row in self.rows if row.verdict in verdicts)

    @property
    def is_bad_news(self) -> bool:
        """Whether something differs, or could not be compared."""
        return any(row.verdict not in (Outcome.SAME, Outcome.NOT_ASKED) for row in self.rows)

    @property
    def equal(self) -> bool | None:
        """Whether all that was compared is the same; None if nothing was."""
        if self.is_bad_news:
            return False
        return True if self.with_verdict(Outcome.SAME) else None


@frozen
class Wanted:
    """What is to be compared: one reference, or without one all tags of a repository.

    `lately` if nobody named it here: a client did, which may ask for what is not there.
    """

    name: str
    reference: str | None
    lately: bool = False


@frozen
class Index:
    """What is known of a manifest: its entries if it is an index; `known` is false if it could not be read."""

    digest: str
    entries: tuple[Entry, ...] | None = None
    known: bool = True
    failures: Mapping[str, Side] = field(factory=dict)

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platforms of an index, each once."""
        return tuple(dict.fromkeys(entry.platform for entry in self.entries or () if entry.platform))

    def of_platform(self, platform: str | None) -> frozenset[str]:
        """The digests of one platform's manifests, or of the attestations."""
        return frozenset(entry.digest for entry in self.entries or () if entry.platform == platform)


@frozen
class Held:
    """What a backend has of a manifest besides itself. `referrers` is None if they were not read."""

    lacking: tuple[Entry, ...]
    referrers: frozenset[str] | None


def read(text: str, rules: Rules, lately: bool = False) -> Wanted:
    """Read an image that is to be compared. Raises ValueError with a sentence that says why it cannot be."""
    image = parse_image(text)
    if not listed(rules.repositories, image.name):
        raise ValueError(f"{image.name} is not among the `repositories` of the settings")
    whole = "@" not in text and ":" not in text
    return Wanted(image.name, None if whole else image.reference, lately)


def usual(canary: Image | None, lately: object, rules: Rules) -> list[Wanted]:
    """What is compared if nobody names an image: the canary, and what a daemon says was pulled lately.

    The daemon may run with other settings than these: what they do not have is left out.
    """
    found = [Wanted(canary.name, canary.reference)] if canary else []
    for text in lately if isinstance(lately, list) else ():
        try:
            found.append(read(str(text), rules, lately=True))
        except ValueError:
            continue
    return found


def incomparable(rules: Rules) -> str | None:
    """Why there is nothing to compare whatever the image is, as a sentence, or None if there may be."""
    if rules.private:
        return f'nothing to compare: with auth = "client", {rules.private} alone is asked'
    if len(rules.backends) == 1:
        return f"nothing to compare: {next(iter(rules.backends))} is the only backend"
    if all(len(route.backends) == 1 for route in rules.routes):
        why = "" if rules.repositories else ": name your `repositories` in the settings, then others may stand in"
        return f"nothing to compare: each image is had from one backend alone{why}"
    return None


def copies(index: Index, held: Mapping[str, Held | Side]) -> dict[str, Side]:
    """What those have that say the same digest, by what they hold of it."""
    sets = [each.referrers for each in held.values() if isinstance(each, Held) and each.referrers is not None]
    every = frozenset[str]().union(*sets)
    sides: dict[str, Side] = {}
    for backend, each in held.items():
        if isinstance(each, Side):
            sides[backend] = evolve(each, digest=index.digest, platforms=index.platforms)
            continue
        lacks = _lacking(each, len(every))
        outcome = Outcome.DIFFERS if lacks else Outcome.SAME
        said = f"lacks {lacks}" if lacks else ""
        referrers = tuple(sorted(each.referrers or ()))
        sides[backend] = Side(outcome, said, index.digest, index.platforms, referrers)
    return sides


def difference(ours: Index, theirs: Index) -> str:
    """How a manifest differs from the one that it is held against."""
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


def _lacking(held: Held, referrers: int) -> str:
    lacks = list(dict.fromkeys(entry.platform for entry in held.lacking if entry.platform))
    if attestations := sum(entry.platform is None for entry in held.lacking):
        lacks.append(counted(attestations, "attestation"))
    if held.referrers is not None and (fewer := referrers - len(held.referrers)):
        lacks.append(f"{fewer} of {counted(referrers, 'referrer')}")
    return _some(lacks)


def _some(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def counted(number: int, thing: str) -> str:
    """A number of things, as a person writes it."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
