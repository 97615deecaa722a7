"""Parsing of requests: a table of those recognised, a table of those refused, and properties of both."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from facaded.oci import requests
from facaded.oci.errors import Code, Refusal
from facaded.oci.requests import (
    Blob,
    Home,
    Image,
    ManifestRead,
    PageFile,
    Ping,
    Referrers,
    Tags,
    TokenRequest,
    parse,
    parse_image,
)

SHA256 = "sha256:" + "a1" * 32
SHA512 = "sha512:" + "b2" * 64

RECOGNISED = [
    ("/", Home()),
    ("/v2", Ping()),
    ("/v2/", Ping()),
    ("/v2/?a=1", Ping("a=1")),
    ("/v2/app/manifests/latest", ManifestRead("app", "latest")),
    ("/v2/org/app/manifests/v1.2_3-rc", ManifestRead("org/app", "v1.2_3-rc")),
    (f"/v2/org/app/manifests/{SHA256}", ManifestRead("org/app", SHA256)),
    (f"/v2/org/app/manifests/{SHA512}", ManifestRead("org/app", SHA512)),
    (f"/v2/org/app/blobs/{SHA256}", Blob("org/app", SHA256)),
    ("/v2/org/app/tags/list?n=50&last=v1", Tags("org/app", "n=50&last=v1")),
    ("/v2/org/app/tags/list?" + "&" * 49, Tags("org/app", "&" * 49)),
    (f"/v2/org/app/referrers/{SHA256}?artifactType=a%2Fb", Referrers("org/app", SHA256, "artifactType=a%2Fb")),
    ("/v2/org/app/manifests/latest?ns=docker.example.com", ManifestRead("org/app", "latest")),
    ("/v2/org/app/manifests/latest?a=1&ns=x&nsx=2", ManifestRead("org/app", "latest", "a=1&nsx=2")),
    ("/v2/a.b/c__d/e-f---g/manifests/x", ManifestRead("a.b/c__d/e-f---g", "x")),
    ("/v2/manifests/manifests/manifests", ManifestRead("manifests", "manifests")),
    ("/v2/org/tags/list/manifests/list", ManifestRead("org/tags/list", "list")),
    (f"/v2/org/blobs/blobs/{SHA256}", Blob("org/blobs", SHA256)),
    (f"/v2/{'a' * 255}/manifests/x", ManifestRead("a" * 255, "x")),
    (f"/v2/app/manifests/{'t' * 128}", ManifestRead("app", "t" * 128)),
]

REFUSED = [
    ("GET", "/v2/_catalog", 404, Code.UNSUPPORTED),
    ("GET", "/v2/_catalog?n=1", 404, Code.UNSUPPORTED),
    ("GET", "/v2/org/app/tags/list?" + "&" * 50, 400, Code.UNSUPPORTED),
    ("GET", "/v1/", 404, Code.UNSUPPORTED),
    ("GET", "/v2x", 404, Code.UNSUPPORTED),
    ("GET", "*", 404, Code.UNSUPPORTED),
    ("GET", "/v2/org/app", 404, Code.UNSUPPORTED),
    ("GET", "/v2/org/app/tags/other", 404, Code.UNSUPPORTED),
    ("GET", "//evil.test/", 404, Code.UNSUPPORTED),
    ("GET", "@evil.test/", 404, Code.UNSUPPORTED),
    ("GET", ".evil.test/", 404, Code.UNSUPPORTED),
    ("GET", "/v2/org/../evil/manifests/latest", 400, Code.NAME_INVALID),
    ("GET", "/v2/org/./app/manifests/latest", 400, Code.NAME_INVALID),
    ("GET", "/v2/org/%2e%2e/evil/manifests/latest", 400, Code.NAME_INVALID),
    ("GET", "/v2/org%2fevil/manifests/latest", 400, Code.NAME_INVALID),
    ("GET", "/v2//evil.test/manifests/latest", 400, Code.NAME_INVALID),
    ("GET", "/v2/manifests/latest", 400, Code.NAME_INVALID),
    ("GET", "/v2/@evil.test/manifests/latest", 400, Code.NAME_INVALID),
    ("GET", "/v2/org/app\\evil/manifests/latest", 400, Code.NAME_INVALID),
    ("GET", "/v2/org\x00/app/manifests/latest", 400, Code.NAME_INVALID),
    ("GET", "/v2/org/app%0d%0aX:y/manifests/latest", 400, Code.NAME_INVALID),
    ("GET", "/v2/org/app\n/manifests/latest", 400, Code.NAME_INVALID),
    ("GET", "/v2/Org/app/manifests/latest", 400, Code.NAME_INVALID),
    ("GET", "/v2/-org/app/manifests/latest", 400, Code.NAME_INVALID),
    ("GET", "/v2/org/a___b/tags/list", 400, Code.NAME_INVALID),
    ("GET", f"/v2/{'a' * 300}/manifests/latest", 400, Code.NAME_INVALID),
    ("GET", f"/v2/{'a' * 256}/manifests/latest", 400, Code.NAME_INVALID),
    ("GET", "/v2/org/app/manifests/.hidden", 404, Code.MANIFEST_UNKNOWN),
    ("GET", "/v2/org/app/manifests/", 404, Code.MANIFEST_UNKNOWN),
    ("GET", "/v2/org/app/manifests/a%20b", 404, Code.MANIFEST_UNKNOWN),
    ("GET", f"/v2/org/app/manifests/{'t' * 129}", 404, Code.MANIFEST_UNKNOWN),
    ("GET", "/v2/org/app/manifests/sha256:abc", 400, Code.DIGEST_INVALID),
    ("GET", f"/v2/org/app/manifests/{SHA256}0", 400, Code.DIGEST_INVALID),
    ("GET", f"/v2/org/app/manifests/{SHA256.upper()}", 400, Code.DIGEST_INVALID),
    ("GET", f"/v2/org/app/manifests/md5:{'a' * 32}", 400, Code.DIGEST_INVALID),
    ("GET", "/v2/org/app/blobs/latest", 400, Code.DIGEST_INVALID),
    ("GET", f"/v2/org/app/blobs/{SHA256}%0a", 400, Code.DIGEST_INVALID),
    ("GET", "/v2/org/app/referrers/latest", 400, Code.DIGEST_INVALID),
    ("GET", "/v2/org/app/blobs/uploads/", 404, Code.BLOB_UPLOAD_UNKNOWN),
    ("GET", "/v2/org/app/blobs/uploads", 404, Code.BLOB_UPLOAD_UNKNOWN),
    ("GET", "/v2/org/app/blobs/uploads/0123", 404, Code.BLOB_UPLOAD_UNKNOWN),
    ("GET", "/v2/?a=%0d%0aLocation:x", 400, Code.UNSUPPORTED),
    ("GET", "/v2/?a=%7f", 400, Code.UNSUPPORTED),
    ("GET", "/v2/?a=%zz", 400, Code.UNSUPPORTED),
    ("GET", "/v2/?a=<b>", 400, Code.UNSUPPORTED),
    ("GET", "/v2/?a#b", 400, Code.UNSUPPORTED),
    ("GET", "http://evil.test/v2/", 421, Code.DENIED),
    ("GET", "HTTPS://evil.test", 421, Code.DENIED),
    ("GET", "http://registry.test@evil.test/v2/", 421, Code.DENIED),
    ("GET", "ftp://registry.test/v2/", 404, Code.UNSUPPORTED),
    ("GET", "/v2/?" + "a" * 9000, 414, Code.UNSUPPORTED),
    *((method, "/v2/org/app/blobs/uploads/", 405, Code.UNSUPPORTED) for method in ("POST", "PUT", "PATCH", "DELETE")),
    ("OPTIONS", "*", 405, Code.UNSUPPORTED),
    ("get", "/v2/", 405, Code.UNSUPPORTED),
    ("BREW", "/nowhere", 405, Code.UNSUPPORTED),
]


@pytest.mark.parametrize(("target", "request_"), RECOGNISED)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_target_that_matches_the_grammar_is_recognised(
    method: bytes, target: str, request_: requests.Request
) -> None:
    assert parse(method, target.encode()) == request_


@pytest.mark.parametrize(("method", "target", "status", "code"), REFUSED)
def test_anything_else_is_refused_with_an_error_code_of_the_spec(
    method: str, target: str, status: int, code: Code
) -> None:
    refusal = parse(method.encode(), target.encode(), b"registry.test")
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (status, code)
    assert (refusal.allow == ("GET", "HEAD")) == (status == 405)


def test_the_absolute_form_is_accepted_if_it_names_the_requested_host() -> None:
    assert parse(b"GET", b"http://Registry.test:8080/v2/", b"registry.TEST:8080") == Ping()
    assert isinstance(parse(b"GET", b"http://registry.test:8080/v2/", b"registry.test"), Refusal)


@given(st.binary(), st.binary(), st.binary())
@example(b"GET", b"http://[", b"[")
@example(b"GET", b"/v2/" + b"a-" * 3000, b"")
def test_parse_never_raises(method: bytes, target: bytes, host: bytes) -> None:
    assert parse(method, target, host) is not None


HOSTILE_TARGETS = st.lists(
    st.sampled_from(
        [
            "/",
            "v2",
            "org",
            "app",
            "manifests",
            "blobs",
            "tags",
            "list",
            "referrers",
            "uploads",
            "..",
            ".",
            "%2e",
            "%2F",
            "//",
            "\\",
            "@",
            "evil.test",
            ":",
            "?",
            "ns=",
            "&",
            "#",
            SHA256,
            "sha256:",
            "latest",
            "A",
            "-",
            "_",
            "\r\n",
        ]
    ),
    max_size=14,
).map(lambda parts: "/v2/" + "".join(parts))


def test_the_query_of_a_request_for_the_token_is_ignored() -> None:
    parsed = parse(b"GET", b"/token?service=docker.example.com&account=me")
    assert parsed == TokenRequest()
    assert TokenRequest().path == "/token"


@pytest.mark.parametrize(
    ("path", "parsed"),
    [
        ("/org/app", Home("org/app", is_browser=True)),
        ("/app", Home("app", is_browser=True)),
        ("/org/app:v1?x=y", Home("org/app:v1", is_browser=True)),
        (f"/org/app@{SHA256}", Home(f"org/app@{SHA256}", is_browser=True)),
        ("/", Home(is_browser=True)),
        ("/token", TokenRequest()),
        ("/v2/", Ping()),
    ],
)
def test_a_browser_may_ask_for_the_page_of_an_image(path: str, parsed: requests.Request) -> None:
    assert parse(b"GET", path.encode(), is_browser=True) == parsed


@pytest.mark.parametrize("path", ["/Org/app", "/org/app/", "//org", "/_catalog", "/org/app@sha256:1", "/a%2Fb", "/a:?"])
def test_what_is_no_image_is_not_found_by_a_browser_either(path: str) -> None:
    refusal = parse(b"GET", path.encode(), is_browser=True)
    assert isinstance(refusal, Refusal)
    assert refusal == parse(b"GET", path.encode())


@given(HOSTILE_TARGETS)
def test_below_v2_a_browser_is_answered_as_others_are(target: str) -> None:
    assert parse(b"GET", target.encode(), is_browser=True) == parse(b"GET", target.encode())


@given(HOSTILE_TARGETS)
def test_the_path_of_a_recognised_request_equals_the_target_s(target: str) -> None:
    """Nothing in the path is decoded, collapsed or added."""
    read = parse(b"GET", target.encode())
    if not isinstance(read, Refusal | Home | PageFile | Ping):
        assert read.path == target.partition("?")[0]
        assert set(read.query) <= set(target)


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("org/app", Image("org/app", "latest")),
        ("org/app:v1", Image("org/app", "v1")),
        (f"org/app@{SHA256}", Image("org/app", SHA256)),
    ],
)
def test_an_image_reference_is_parsed(text: str, image: Image) -> None:
    assert parse_image(text) == image


@pytest.mark.parametrize(
    "text", ["", "Org/app", "org/app:", "org/app:.x", "org/app@sha256:1", f"org/app:v1@{SHA256}", "h:5000/a:b"]
)
def test_a_bad_image_reference_raises_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        parse_image(text)


@pytest.mark.parametrize("text", ["org/app:v1", f"org/app@sha256:{'0' * 64}"])
def test_an_image_is_written_as_it_was_parsed(text: str) -> None:
    assert str(parse_image(text)) == text
