"""Parsers of what clients and registries send: they return a value and never raise."""

from hypothesis import strategies as st

from facaded.oci import indexes, requests, www_authenticate
from facaded.oci.errors import Refusal
from facaded.oci.requests import (
    Blob,
    Home,
    ManifestRead,
    PageFile,
    Referrers,
    Tags,
    is_digest,
    is_name,
    is_query,
    is_tag,
)
from tests.fuzz import seeds
from tests.fuzz.checking import Property
from tests.fuzz.mutations import mostly_mutated, mutated_json

METHODS = st.sampled_from([b"GET", b"HEAD", b"PUT", b"", b"get"]) | st.binary(max_size=8)
TARGETS = mostly_mutated([target.encode() for target in seeds.TARGETS], seeds.HTTP_WORDS)
HOSTS = st.sampled_from([b"facade.test", b"", b"[::1]:80"]) | st.binary(max_size=20)


def check_request(example: tuple[bytes, bytes, bytes]) -> None:
    """A request is refused, or all of its parts match their grammar."""
    parsed = requests.parse(*example)
    if isinstance(parsed, Refusal):
        assert 400 <= parsed.status < 500
        return
    if not isinstance(parsed, Home | PageFile):
        query = f"?{parsed.query}" if parsed.query else ""
        assert requests.parse(b"GET", f"{parsed.path}{query}".encode()) == parsed
        assert is_query(parsed.query)
    if isinstance(parsed, ManifestRead | Blob | Tags | Referrers):
        assert is_name(parsed.name)
    if isinstance(parsed, Blob | Referrers):
        assert is_digest(parsed.digest)
    if isinstance(parsed, ManifestRead):
        assert is_digest(parsed.reference) or is_tag(parsed.reference)


def check_challenges(value: str) -> None:
    """Challenges that can be written are read back as they were."""
    for challenge in www_authenticate.parse(value):
        try:
            written = www_authenticate.write(challenge)
        except ValueError:
            continue
        assert written.isprintable() or not written.isascii()
        if len(written) <= www_authenticate.HEADER_LENGTH:
            assert www_authenticate.parse(written) == (challenge,)


def check_index(body: bytes) -> None:
    """The entries of an index have valid digests and printable platforms."""
    for entry in indexes.read(body) or ():
        assert is_digest(entry.digest)
        assert entry.platform is None or (entry.platform.isascii() and entry.platform.isprintable())


CHALLENGES = mostly_mutated([value.encode() for value in seeds.CHALLENGES], seeds.CHALLENGE_WORDS)


PROPERTIES = (
    Property("requests", st.tuples(METHODS, TARGETS, HOSTS), check_request, 80),
    Property(
        "challenges",
        st.text(max_size=80) | CHALLENGES.map(lambda value: value.decode("latin-1")),
        check_challenges,
        80,
    ),
    Property("indexes", mostly_mutated(seeds.INDEXES, seeds.JSON_WORDS) | mutated_json(seeds.INDEXES), check_index, 80),
)
