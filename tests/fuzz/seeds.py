"""The corpus: what real clients and registries send.

Heads of requests are those of Docker 28, containerd 2.1, Podman 5, Skopeo 1.22, crane 0.20 and ORAS 1.3; responses are
those of Docker Hub, GHCR, Harbor and distribution.
"""

import hashlib
import json

from facaded.oci.indexes import INDEX, MANIFEST_TYPES

MANIFEST_TYPE = MANIFEST_TYPES[-1]
BLOB = b"a blob"


def digest_text(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


BLOB_DIGEST = digest_text(BLOB)
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": "application/json", "digest": BLOB_DIGEST, "size": len(BLOB)},
        "layers": [{"mediaType": "application/gzip", "digest": BLOB_DIGEST, "size": len(BLOB)}],
    }
).encode()
MANIFEST_DIGEST = digest_text(MANIFEST)

USER_AGENTS = (
    "docker/28.5.1 go/go1.24.8 kernel/6.1.0 os/linux arch/amd64 UpstreamClient(Docker-Client/28.5.1)",
    "containerd/v2.1.4",
    "containerd/1.6.20~ds1",
    "buildkit/v0.25",
    "containers/5.36.2 (github.com/containers/image)",
    "skopeo/1.22.0",
    "crane/v0.20.6 go-containerregistry/v0.20.6",
    "oras-go",
    "",
)

ACCEPT = ", ".join(MANIFEST_TYPES)

TARGETS = (
    "/v2/",
    "/v2/org/app/manifests/latest",
    "/v2/org/app/manifests/latest?ns=docker.example.com",
    f"/v2/org/app/manifests/{MANIFEST_DIGEST}",
    f"/v2/org/app/blobs/{BLOB_DIGEST}",
    f"/v2/org/app/manifests/sha256-{'0' * 64}.sig",
    "/v2/org/app/tags/list?n=1000",
    f"/v2/org/app/referrers/{MANIFEST_DIGEST}?artifactType=application%2Fvnd.example",
    "/v2/library/alpine/manifests/3.22",
    "/v2/org/app/blobs/uploads/",
    "/v2/_catalog",
    "/",
)


def head(method: str, target: str, *headers: str, body: bytes = b"") -> bytes:
    """Return a request as bytes."""
    lines = [f"{method} {target} HTTP/1.1", "Host: facade.test", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _requests() -> tuple[bytes, ...]:
    plain = [
        head(method, target, f"User-Agent: {agent}", f"Accept: {ACCEPT}", "Accept-Encoding: gzip")
        for agent in USER_AGENTS
        for method, target in (("HEAD", TARGETS[1]), ("GET", TARGETS[0]), ("GET", TARGETS[3]), ("GET", TARGETS[4]))
    ]
    others = [head("GET", target, "User-Agent: skopeo/1.22.0") for target in TARGETS]
    ranged = head("GET", TARGETS[4], "User-Agent: containerd/2.1.9", "Range: bytes=0-1023", "Connection: close")
    authorized = head("GET", TARGETS[1], "User-Agent: docker/28", "Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln")
    pushes = (
        head("POST", TARGETS[9], "Content-Length: 0"),
        head("PUT", TARGETS[1], "Content-Length: 5", body=b"hello"),
        head("PATCH", TARGETS[9], "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
        head("PUT", TARGETS[1], "Content-Length: 70000", "Expect: 100-continue"),
    )
    cached = head(
        "GET", TARGETS[1], f'If-None-Match: "{MANIFEST_DIGEST}"', f"Accept: {INDEX}", f"Accept: {MANIFEST_TYPE}"
    )
    return (*plain, *others, ranged, authorized, *pushes, cached, head("GET", "http://facade.test/v2/"))


REQUESTS = _requests()

HTTP_WORDS = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b"\x00",
    b"\xff",
    b"\x16",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"HEAD ",
    b"Host: b\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 70000\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Expect: 100-continue\r\n",
    b"Range: bytes=-1\r\n",
    b"Upgrade: h2c\r\n",
    b"Accept: */*\r\n",
    b"0\r\n\r\n",
    b"5;x=y\r\nhello\r\n",
    b"ffffffffffffffff\r\n",
    b" folded\r\n",
    b"%0d%0a",
    b"%2e%2e",
    b"?",
    b"#",
    b"@",
    b"/",
    b"..",
    b"sha256:",
    b"\xc3\xa9",
)

CHALLENGES = (
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"',
    'Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:user/image:pull"',
    'Basic realm="harbor"',
    'Bearer realm="https://a.test/token",error="insufficient_scope",scope="repository:org/app:pull,push"',
    'Negotiate, Basic realm="a\\"b", Digest realm=x, qop="auth,auth-int"',
    "Basic QWxhZGRpbg==",
)

CHALLENGE_WORDS = (b'"', b"\\", b",", b"=", b" ", b"\t", b"\r\n", b"\x00", b"Bearer ", b'realm="', b"realm=", b"a=b,")

INDEXES = (
    json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [
                {
                    "digest": MANIFEST_DIGEST,
                    "size": 1,
                    "platform": {"os": "linux", "architecture": "arm", "variant": "v7"},
                },
                {"digest": f"sha512:{'b' * 128}", "platform": {"os": "unknown", "architecture": "unknown"}},
                {"digest": BLOB_DIGEST, "artifactType": "application/vnd.example", "annotations": {"a": "b"}},
            ],
        }
    ).encode(),
    b'{"schemaVersion": 2, "manifests": []}',
    MANIFEST,
)

JSON_WORDS = (
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"NaN",
    b"-Infinity",
    b"\\ud800",
    b"\\u0000",
    b"9999999999999999999999",
    b'"digest"',
    b'"manifests"',
    b'"platform"',
)
