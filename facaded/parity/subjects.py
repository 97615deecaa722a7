"""Subjects: the images to compare, named by a person or pulled recently by clients."""

from collections.abc import Iterable

from attrs import frozen

from facaded.oci.requests import Image, parse_image
from facaded.policy.decision import Rules
from facaded.policy.repositories import listed


@frozen
class Subject:
    """What to compare: one reference, or all tags of a repository if `reference` is None.

    `recent` is true if a client pulled the image and no person named it. Clients also request images that do not exist.
    """

    name: str
    reference: str | None
    recent: bool = False


def read(text: str, rules: Rules, recent: bool = False) -> Subject:
    """Parse the name of an image. Raises ValueError with a sentence that says why it cannot be compared."""
    image = parse_image(text)
    if not listed(rules.repositories, image.name):
        raise ValueError(f"{image.name} is not in `repositories`: add it there, or compare another image")
    all_tags = "@" not in text and ":" not in text
    return Subject(image.name, None if all_tags else image.reference, recent)


def usual(canary: Image | None, recent: Iterable[object], rules: Rules) -> list[Subject]:
    """Return what to compare if no image is named: the canary, and the images that the daemon reports as pulled.

    Images that `rules` do not allow are left out: the daemon may run with other settings.
    """
    subjects = [Subject(canary.name, canary.reference)] if canary else []
    for text in recent:
        try:
            subjects.append(read(str(text), rules, recent=True))
        except ValueError:
            continue
    return subjects


def incomparable(rules: Rules) -> str | None:
    """Return a sentence that says why no image can be compared; None if images can be."""
    if rules.private:
        return f'nothing to compare: with auth = "client", {rules.private} is the only backend'
    if len(rules.backends) == 1:
        return f"nothing to compare: {next(iter(rules.backends))} is the only backend"
    if all(len(route.backends) == 1 for route in rules.routes):
        remedy = "" if rules.repositories else ": set `repositories` so that others may serve them too"
        return f"nothing to compare: each image comes from one backend{remedy}"
    return None
