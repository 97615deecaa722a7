"""Answers as HTTP has them: redirects, refusals, the page, and what was fetched, with what every client needs of it."""

from collections.abc import Mapping

from attrs import evolve, frozen

from facaded.backends.fetcher import BlobBytes, BlobRedirect, BlobSize, NotServed, PingAccepted, Served, Unauthorized
from facaded.backends.manifests import Manifest
from facaded.backends.registry import Listing
from facaded.net.client import StreamedResponse
from facaded.net.text import printable
from facaded.oci import errors
from facaded.oci.errors import Code, Refusal
from facaded.oci.requests import Blob, ManifestRead, Ping, Read
from facaded.policy.decision import Page, Pong, Redirect, Rules
from facaded.web import page

RETRY_AFTER = "5"
"""Seconds after which a client may ask again what failed everywhere: what is not there is remembered as long."""

ALWAYS = {"Cache-Control": "no-store", "Vary": "User-Agent, Accept, Authorization"}
"""On every answer: nothing may be remembered, because the next answer may be another."""

REGISTRY = {"Docker-Distribution-Api-Version": "registry/2.0", **ALWAYS}

JSON = {"Content-Type": "application/json"}


@frozen
class Rendered:
    """An answer as HTTP has it.

    `backend` is the one that it is from, if there is one; `always` are the headers that do not depend on the answer.
    `length` is that of a body which only a GET would have; `relayed` is a body that is handed on as it comes.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    backend: str | None = None
    length: int | None = None
    relayed: StreamedResponse | None = None
    always: Mapping[str, str] = REGISTRY

    @property
    def head(self) -> Mapping[str, str]:
        """All headers of the answer."""
        if self.backend is None:
            return {**self.always, **self.headers}
        return {**self.always, "X-Facaded-Backend": self.backend, **self.headers}


def render(answer: Redirect | Pong | Page | Refusal, rules: Rules) -> Rendered:
    """An answer that needs no backend to be asked."""
    match answer:
        case Redirect():
            return Rendered(307, {"Location": answer.location}, backend=answer.backend)
        case Pong():
            return Rendered(200, JSON, b"{}")
        case Page():
            return Rendered(200, page.HEADERS, page.render(answer.host, rules), always=ALWAYS)
        case Refusal():
            allow = {"Allow": ", ".join(answer.allow)} if answer.allow else {}
            return Rendered(answer.status, JSON | allow, errors.document(answer.code, answer.message))


def render_forwarded(
    request: Ping | Read, served: Served | NotServed | Unauthorized | PingAccepted, backend: str, if_none_match: str
) -> Rendered:
    """An answer to a request that was forwarded with the client's own Authorization; see `render_served`."""
    match served:
        case Unauthorized(challenge):
            message = "authenticate: docker login, or the like, to this registry's own name"
            return Rendered(401, {**JSON, "WWW-Authenticate": challenge}, errors.document(Code.UNAUTHORIZED, message))
        case PingAccepted():
            return Rendered(200, JSON, b"{}", backend)
        case NotServed() if isinstance(request, Ping):
            return _failed(served)
        case _:
            assert not isinstance(request, Ping)
            return render_served(request, served, backend, None, if_none_match)


def render_served(
    read: Read, served: Served | NotServed, preferred: str, trouble: str | None, if_none_match: str
) -> Rendered:
    """An answer to `read` with what the backends said.

    `preferred` is the first backend of the route, `trouble` what is wrong with it if something is; `if_none_match` is
    the header's value, empty if there is none.
    """
    if isinstance(served, NotServed):
        return _not_served(read, served)
    rendered = evolve(_found(read, served, if_none_match), backend=served.backend)
    trouble = trouble or ("failing" if preferred in served.failures else None)
    if not trouble or served.backend == preferred:
        return rendered
    warning = {"Warning": f'299 - "{preferred} is {trouble}; served by {served.backend}"'}
    return evolve(rendered, headers={**rendered.headers, **warning})


def _found(read: Read, served: Served, if_none_match: str) -> Rendered:
    match served.content:
        case Manifest() as manifest:
            tag = f'"{manifest.digest}"'
            headers = {"Docker-Content-Digest": manifest.digest, "ETag": tag, "Content-Type": manifest.media_type}
            if tag in (each.strip().removeprefix("W/") for each in if_none_match.split(",")):
                return Rendered(304, headers)
            return Rendered(200, headers, manifest.body or b"", length=manifest.length)
        case Listing() as listing:
            headers = {"Content-Type": listing.media_type}
            if listing.next_query is not None:
                headers["Link"] = f'<{read.path}?{listing.next_query}>; rel="next"'
            if listing.filters:
                headers["OCI-Filters-Applied"] = listing.filters
            return Rendered(200, headers, listing.body)
        case BlobRedirect(location):
            return Rendered(307, {"Location": location})
        case BlobBytes(opened):
            passed = ("Content-Range", "Accept-Ranges", "ETag")
            headers = {name: printable(opened.value(name)) for name in passed if opened.value(name)}
            headers |= {"Content-Length": str(opened.length)} if opened.length is not None else {}
            headers |= {"Content-Type": "application/octet-stream"}
            return Rendered(opened.status, headers, relayed=opened)
        case BlobSize(size):
            assert isinstance(read, Blob)
            kind = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": read.digest}
            return Rendered(200, kind, length=size)


def _not_served(read: Read, not_served: NotServed) -> Rendered:
    if not_served.refused and not not_served.failures:
        return Rendered(
            400, JSON, errors.document(Code.UNSUPPORTED, "the registry behind this one refuses the request")
        )
    if not not_served.failures:
        code, what = {ManifestRead: (Code.MANIFEST_UNKNOWN, "manifest"), Blob: (Code.BLOB_UNKNOWN, "blob")}.get(
            type(read), (Code.NAME_UNKNOWN, "repository")
        )
        return Rendered(404, JSON, errors.document(code, f"{read.name} has no such {what}, or it is not public"))
    return _failed(not_served)


def _failed(failed: NotServed) -> Rendered:
    if failed.blob_source:
        message = (
            f"{failed.blob_source} hands out blobs itself: its operator must set relay_blobs = true on that backend"
        )
        return Rendered(502, JSON, errors.document(Code.UNSUPPORTED, message))
    said = [f"{name} fails ({how})" for name, how in failed.failures.items()]
    said += [f"{name} does not have it" for name in failed.not_found]
    message = f"{'; '.join(said)}: try again in {RETRY_AFTER} s"
    # Of the spec's codes this alone asks for another try: Docker takes UNSUPPORTED, DENIED and NAME_UNKNOWN as final.
    return Rendered(503, {**JSON, "Retry-After": RETRY_AFTER}, errors.document(Code.TOOMANYREQUESTS, message))
