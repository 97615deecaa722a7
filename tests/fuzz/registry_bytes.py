"""What hostile registries send, up to what is served: valid content, or a failure with a reason, and never an error."""

from urllib.parse import urlsplit

from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from facaded.backends.ladder import build_probe
from facaded.backends.manifests import Accept, Manifest, digest_of
from facaded.backends.registry import Listing
from facaded.backends.served_content import BlobRedirect, NotServed, PingAccepted, ReadOptions, Served, Unauthorized
from facaded.net.addresses import is_public
from facaded.oci import indexes, www_authenticate
from facaded.oci.indexes import INDEX
from facaded.oci.requests import Blob, Image, ManifestRead, Ping, Read, Referrers, Tags, is_digest
from facaded.policy.decision import Serve
from facaded.policy.health import ProbeDepth, Result
from tests.fuzz import seeds
from tests.fuzz.checking import Property, no_error_is_logged
from tests.fuzz.hostile_registry import URL, HostileRegistry, Lie, address_of, lies

READS: tuple[tuple[Read, bool], ...] = (
    (ManifestRead("org/app", "latest"), True),
    (ManifestRead("org/app", "latest"), False),
    (ManifestRead("org/app", seeds.MANIFEST_DIGEST), True),
    (ManifestRead("org/app", seeds.MANIFEST_DIGEST), False),
    (Blob("org/app", seeds.BLOB_DIGEST), True),
    (Blob("org/app", seeds.BLOB_DIGEST), False),
    (Tags("org/app"), True),
    (Referrers("org/app", seeds.MANIFEST_DIGEST), True),
)

PROBE_TIME = 3.0
"""Timeout of a probe in seconds, as in the settings' defaults."""


def check_content(fetched: Served | NotServed, read: Ping | Read) -> None:
    """What is served matches what was asked for, and every reason can be shown to a person."""
    if isinstance(fetched, NotServed):
        assert all(reason.isprintable() for reason in fetched.failures.values())
        return
    match fetched.content:
        case Manifest(digest=digest, body=body) if body is not None:
            assert is_digest(digest)
            assert digest_of(body, digest.partition(":")[0]) == digest
            assert isinstance(read, ManifestRead)
            assert digest == read.reference or not is_digest(read.reference)
        case BlobRedirect(location=location):
            assert location.isprintable()
            assert location.startswith(("http://", "https://"))
            assert is_public(address_of(urlsplit(location).hostname or "")), location


def check_served(example: tuple[list[Lie], tuple[Read, bool]]) -> None:
    """A read through a fetcher is served or not served."""
    told, (read, with_body) = example
    registry = HostileRegistry({lie.kind: lie for lie in told})
    options = ReadOptions(Accept.read((INDEX, seeds.MANIFEST_TYPE)), with_body)
    with no_error_is_logged():
        serve = Serve(read, ("hub",), "hub", united=isinstance(read, Referrers))
        serving = registry.fetcher().serve(serve, options)
        fetched = registry.run(Deferred.fromCoroutine(serving))
        registry.close()
    assert isinstance(fetched, Served | NotServed), fetched
    check_content(fetched, read)
    if isinstance(read, Referrers) and isinstance(fetched, Served):
        assert isinstance(fetched.content, Listing)
        assert indexes.read(fetched.content.body) is not None


def check_forwarded(example: tuple[tuple[list[Lie], tuple[Read, bool]], bool, str | None]) -> None:
    """A request with a client's own Authorization has an answer, and a challenge is one."""
    (told, (read, with_body)), pings, authorization = example
    registry, request = HostileRegistry({lie.kind: lie for lie in told}), Ping() if pings else read
    options = ReadOptions(Accept.read((INDEX, seeds.MANIFEST_TYPE)), with_body)
    with no_error_is_logged():
        forwarding = registry.fetcher().forward(request, "hub", authorization, options)
        fetched = registry.run(Deferred.fromCoroutine(forwarding))
        registry.close()
    if isinstance(fetched, Unauthorized):
        assert www_authenticate.parse(fetched.challenge)
        assert fetched.challenge.isprintable()
    elif not isinstance(fetched, PingAccepted):
        check_content(fetched, request)


def check_probe(example: tuple[list[Lie], ProbeDepth]) -> None:
    """A probe has a result with a reason, and leaves no connection."""
    told, depth = example
    registry = HostileRegistry({lie.kind: lie for lie in told})
    probe = build_probe(registry.reactor, URL, None, Image("org/app"), PROBE_TIME, has_account=False)
    with no_error_is_logged():
        result = registry.run(probe(depth))
        registry.close()
    assert isinstance(result, Result)
    assert result.reason.isprintable()
    assert result.retry_after >= 0


def _read_kinds(read: Read) -> tuple[str, ...]:
    """Return the kinds of request that a read takes."""
    match read:
        case ManifestRead():
            return ("HEAD", "manifest")
        case Blob():
            return ("blob", "CDN")
        case Referrers():
            return ("list", "HEAD", "manifest")
        case _:
            return ("list",)


LIES_TO_READS = st.one_of(*(st.tuples(lies(*_read_kinds(read[0])), st.just(read)) for read in READS))

LIES_TO_PROBES = lies("HEAD", "manifest", "blob", "CDN")

DEPTHS = st.builds(ProbeDepth, st.booleans(), st.booleans(), st.booleans(), st.booleans())

AUTHORIZATIONS = st.sampled_from([None, "Basic cHVibGlzaGVy", "Bearer t"])

PROPERTIES = (
    Property("served responses", LIES_TO_READS, check_served, 50),
    Property(
        "forwarded responses",
        st.tuples(LIES_TO_READS, st.booleans(), AUTHORIZATIONS),
        check_forwarded,
        40,
    ),
    Property("probes", st.tuples(LIES_TO_PROBES, DEPTHS), check_probe, 25),
)
