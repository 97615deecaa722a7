"""How a pull is explained: the document, and how a person reads it."""

from collections.abc import Callable, Mapping
from typing import Any

from facaded.oci.clients import called
from facaded.policy.answers import Rules, Situation
from facaded.policy.explain import explain, split_image
from facaded.policy.health import Purpose


def document(
    image: str, client: str, rules: Rules, situation: Situation, in_charge: Callable[[tuple[str, ...], Purpose], str]
) -> dict[str, Any]:
    """What a pull of `image` by `client` is answered. `in_charge` says of a route's backends who is, and why.

    Raises ValueError with a sentence if there can be no such image or client.
    """
    host, parsed = split_image(image)
    requests = explain(host, parsed, called(client), rules, situation)
    purpose = requests[-1].purpose
    return {
        "image": str(parsed),
        "client": client,
        "requests": [{"request": each.request, "answer": each.answer, "why": each.why} for each in requests],
        "refused": purpose is None,
        "why": in_charge(rules.routes[rules.route(parsed.name)].backends, purpose) if purpose else None,
    }


def text(explained: Mapping[str, Any]) -> str:
    """The document for a terminal: three lines for each request, for the addresses are long."""
    lines = [f"{explained['image']} by {explained['client']}"]
    for each in explained["requests"]:
        lines += ["", each["request"], f"    {each['answer']}", f"    {each['why']}"]
    return "\n".join([*lines, "", explained["why"]] if explained["why"] else lines)
