"""Subjects: the images that are compared, as a person names them or as they were pulled."""

from collections.abc import Iterable

from attrs import frozen

from facaded.oci.requests import Image, parse_image
from facaded.policy.decision import Rules
from facaded.policy.repositories import listed


@frozen
class Subject:
    """What to compare: one reference, or without one all tags of a repository.

    It is `recent` if nobody named it on the command line, but a client pulled it. Clients may ask for what is not
    there.
    """

    name: str
    reference: str | None
    recent: bool = False


def read(text: str, rules: Rules, recent: bool = False) -> Subject:
    """Read the name of an image. Raises ValueError with a sentence that says why it cannot be compared."""
    image = parse_image(text)
    if not listed(rules.repositories, image.name):
        raise ValueError(f"{image.name} is not among the `repositories` of the settings")
    whole = "@" not in text and ":" not in text
    return Subject(image.name, None if whole else image.reference, recent)


def usual(canary: Image | None, recent: Iterable[object], rules: Rules) -> list[Subject]:
    """Return what to compare if nobody names an image: the canary, and the images that a daemon says were pulled.

    The daemon may run with other settings than these: images that these settings do not allow are left out.
    """
    found = [Subject(canary.name, canary.reference)] if canary else []
    for text in recent:
        try:
            found.append(read(str(text), rules, recent=True))
        except ValueError:
            continue
    return found


def incomparable(rules: Rules) -> str | None:
    """Say why there is nothing to compare, whatever the image is; None if there may be."""
    if rules.private:
        return f'nothing to compare: with auth = "client", {rules.private} alone is asked'
    if len(rules.backends) == 1:
        return f"nothing to compare: {next(iter(rules.backends))} is the only backend"
    if all(len(route.backends) == 1 for route in rules.routes):
        why = "" if rules.repositories else ": name your `repositories` in the settings, then others may stand in"
        return f"nothing to compare: each image comes from one backend alone{why}"
    return None
