"""How a person reads an explanation."""

from facaded.explain.explanation import Explanation


def text(explanation: Explanation) -> str:
    """Write an explanation for a terminal: three lines for each request, because the addresses are long."""
    lines = [f"{explanation.image} by {explanation.client}"]
    for each in explanation.requests:
        lines += ["", each.request, f"    {each.answer}", f"    {each.why}"]
    return "\n".join([*lines, "", explanation.why] if explanation.why else lines)
