"""WWW-Authenticate: read from a backend, written for a client.

Source: RFC 9110 §11.6.1, and Docker's token authentication specification for `Bearer` with realm, service and scope.
"""

import re
from collections.abc import Mapping

from attrs import field, frozen

HEADER_LENGTH = 8192
"""Characters read of one header value. A longer one is no challenge."""

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"[ \t,]*({_WORD})(?:[ \t]+|(?=,)|$)")
_PARAMETER = re.compile(rf'[ \t,]*({_WORD})[ \t]*=[ \t]*(?:({_WORD})|"((?:[^"\\]|\\.)*)")[ \t]*(?=,|$)', re.DOTALL)
_TOKEN68 = re.compile(r"[ \t]*([A-Za-z0-9._~+/-]+=*)[ \t]*(?=,|$)")
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


@frozen
class Challenge:
    """One challenge: its scheme in lower case, and its parameters with lower-case names and unquoted values."""

    scheme: str
    parameters: Mapping[str, str] = field(factory=dict)


def parse(value: str) -> tuple[Challenge, ...]:
    """Read the challenges of one WWW-Authenticate value.

    Never raises. Reading stops at the first thing that is not a challenge; what stood before it is returned. Of a
    parameter that is repeated the first counts.
    """
    found: list[Challenge] = []
    at = 0
    while len(value) <= HEADER_LENGTH and (scheme := _SCHEME.match(value, at)):
        parameters, at = _parameters(value, scheme.end())
        found.append(Challenge(scheme[1].lower(), parameters))
    return tuple(found)


def write(challenge: Challenge) -> str:
    """The header value of one challenge, every parameter quoted, as registry clients expect.

    Raises ValueError if a value has a control character, which no header may carry.
    """
    if any(
        ord(character) < 0x20 or ord(character) == 0x7F
        for value in challenge.parameters.values()
        for character in value
    ):
        raise ValueError("a challenge's parameter has a control character")
    quoted = (
        f'{name}="{value.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}"'
        for name, value in challenge.parameters.items()
    )
    return f"{challenge.scheme.capitalize()} {','.join(quoted)}".rstrip()


def _parameters(value: str, at: int) -> tuple[dict[str, str], int]:
    parameters: dict[str, str] = {}
    while parameter := _PARAMETER.match(value, at):
        name, token, quoted = parameter.groups()
        parameters.setdefault(name.lower(), token if token is not None else _QUOTED_PAIR.sub(r"\1", quoted))
        at = parameter.end()
    if not parameters and (token68 := _TOKEN68.match(value, at)):
        at = token68.end()
    return parameters, at
