"""An explanation as text for a person."""

import textwrap

from facaded.explain.explanation import Explanation

WIDTH = 80
"""Columns of the narrowest terminal in common use."""

INDENT = "    "


def text(explanation: Explanation) -> str:
    """Format an explanation for a terminal: each request, its answer, and the reason.

    Sentences are wrapped to `WIDTH` columns; lines with a URL are not broken.
    """
    family = f" (family {explanation.family})" if explanation.family not in ("", explanation.client) else ""
    lines = [f"{explanation.image} by {explanation.client}{family}"]
    for request in explanation.requests:
        lines += ["", request.request, *_wrap(request.answer, INDENT), *_wrap(request.why, INDENT)]
    for sentences in (explanation.asked_again, explanation.backends):
        if sentences:
            lines += ["", *(line for sentence in sentences for line in _wrap(sentence, ""))]
    if explanation.why:
        lines += ["", *_wrap(explanation.why, "")]
    return "\n".join(lines)


def _wrap(sentence: str, indent: str) -> list[str]:
    if "://" in sentence:
        return [indent + sentence]
    return textwrap.wrap(
        sentence,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
