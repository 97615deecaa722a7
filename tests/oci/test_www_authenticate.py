"""WWW-Authenticate headers: parsing and writing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.oci.www_authenticate import HEADER_LENGTH, MOST_CHALLENGES, MOST_PARAMETERS, Challenge, parse, write

DOCKER_HUB = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"'

READ = [
    (DOCKER_HUB, [Challenge("bearer", {"realm": "https://auth.docker.io/token", "service": "registry.docker.io"})]),
    (
        'bearer realm="a", scope="repository:o/i:pull,push"',
        [Challenge("bearer", {"realm": "a", "scope": "repository:o/i:pull,push"})],
    ),
    ("Basic realm=x", [Challenge("basic", {"realm": "x"})]),
    ("Basic", [Challenge("basic")]),
    ('Negotiate, Basic realm="a, b=c"', [Challenge("negotiate"), Challenge("basic", {"realm": "a, b=c"})]),
    (
        'Digest a="1", b=2, Basic realm="x"',
        [Challenge("digest", {"a": "1", "b": "2"}), Challenge("basic", {"realm": "x"})],
    ),
    ('Basic realm="a \\"q\\" b\\\\"', [Challenge("basic", {"realm": 'a "q" b\\'})]),
    ("Negotiate dG9rZW4=, Basic realm=x", [Challenge("negotiate"), Challenge("basic", {"realm": "x"})]),
    ('Bearer realm="a",realm="b"', [Challenge("bearer", {"realm": "a"})]),
    ('Bearer Realm = "a" , , Service=b', [Challenge("bearer", {"realm": "a", "service": "b"})]),
    ('Bearer realm="unclosed', [Challenge("bearer")]),
    ("", []),
    ('"quoted"', []),
    ("Basic " + "a" * HEADER_LENGTH, []),
    ("a " * 4000, [Challenge("a")] * MOST_CHALLENGES),
    (
        "Bearer " + ",".join(f"p{number}=1" for number in range(MOST_PARAMETERS)),
        [Challenge("bearer", {f"p{number}": "1" for number in range(MOST_PARAMETERS)})],
    ),
    ("Bearer " + "a=1," * MOST_PARAMETERS + "realm=x", [Challenge("bearer", {"a": "1"})]),
]


@pytest.mark.parametrize(("value", "challenges"), READ)
def test_challenges_are_parsed(value: str, challenges: list[Challenge]) -> None:
    assert list(parse(value)) == challenges


@given(st.text())
def test_parse_never_raises(value: str) -> None:
    assert parse(value) is not None


NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"))


@given(st.sampled_from(["bearer", "basic"]), st.dictionaries(NAMES, VALUES, max_size=5))
def test_a_written_challenge_is_parsed_back(scheme: str, parameters: dict[str, str]) -> None:
    challenge = Challenge(scheme, parameters)
    assert parse(write(challenge)) == (challenge,)


@pytest.mark.parametrize("value", ["a\r\nX: y", "\x00", "\x7f"])
def test_a_control_character_is_never_written(value: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        write(Challenge("bearer", {"realm": value}))
