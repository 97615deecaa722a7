"""WWW-Authenticate headers: parse those of backends, write those for clients.

Source: RFC 9110 §11.6.1, and Docker's token authentication specification for `Bearer` with realm, service and scope.
"""

import re
from collections.abc import Mapping

from attrs import field, frozen

HEADER_LENGTH = 8192
"""Most characters of a header value; a longer one is read as no challenge."""

MOST_CHALLENGES = 10
"""Challenges of one header value that are read: registries send one or two."""

MOST_PARAMETERS = 20
"""Parameters of one challenge that are read: those of registries have up to five."""

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"[ \t,]*({_WORD})(?:[ \t]+|(?=,)|$)")
_PARAMETER = re.compile(rf'[ \t,]*({_WORD})[ \t]*=[ \t]*(?:({_WORD})|"((?:[^"\\]|\\.)*)")[ \t]*(?=,|$)', re.DOTALL)
_TOKEN68 = re.compile(r"[ \t]*([A-Za-z0-9._~+/-]+=*)[ \t]*(?=,|$)")
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


@frozen
class Challenge:
    """A challenge: the scheme in lower case, and the parameters with lower-case names and unquoted values."""

    scheme: str
    parameters: Mapping[str, str] = field(factory=dict)


def parse(value: str) -> tuple[Challenge, ...]:
    """Return the first challenges of a WWW-Authenticate value, up to the first part that is not one. Never raises.

    If a parameter is repeated, the first one counts.
    """
    challenges: list[Challenge] = []
    position = 0
    if len(value) > HEADER_LENGTH:
        return ()
    while len(challenges) < MOST_CHALLENGES and (scheme := _SCHEME.match(value, position)):
        parameters, position = _parameters(value, scheme.end())
        challenges.append(Challenge(scheme[1].lower(), parameters))
    return tuple(challenges)


def write(challenge: Challenge) -> str:
    """Return the header value of a challenge, with every parameter quoted, as registry clients expect.

    Raises ValueError if a value has a control character, which a header must not contain.
    """
    if any(
        ord(character) < 0x20 or ord(character) == 0x7F
        for value in challenge.parameters.values()
        for character in value
    ):
        raise ValueError("a parameter of the challenge has a control character")
    quoted = (
        f'{name}="{value.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}"'
        for name, value in challenge.parameters.items()
    )
    return f"{challenge.scheme.capitalize()} {','.join(quoted)}".rstrip()


def _parameters(value: str, position: int) -> tuple[dict[str, str], int]:
    """Return the parameters that begin at `position`, and where they end."""
    parameters: dict[str, str] = {}
    for _ in range(MOST_PARAMETERS):
        parameter = _PARAMETER.match(value, position)
        if parameter is None:
            break
        name, token, quoted = parameter.groups()
        parameters.setdefault(name.lower(), token if token is not None else _QUOTED_PAIR.sub(r"\1", quoted))
        position = parameter.end()
    if not parameters and (token68 := _TOKEN68.match(value, position)):
        position = token68.end()
    return parameters, position
