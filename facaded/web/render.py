"""Renders answers as HTTP: redirects, refusals, the page, and fetched content with the headers that clients need."""

from collections.abc import Callable, Mapping

from attrs import evolve

from facaded.backends.manifests import Manifest
from facaded.backends.registry import Listing
from facaded.backends.served_content import (
    BlobBytes,
    BlobRedirect,
    BlobSize,
    NotServed,
    PingAccepted,
    Served,
    Unauthorized,
)
from facaded.backends.shares import OverLimit
from facaded.net.client import StreamedResponse
from facaded.net.text import printable
from facaded.oci import errors
from facaded.oci.errors import Code, Refusal
from facaded.oci.frozen_values import frozen
from facaded.oci.requests import Blob, ManifestRead, PageFile, Ping, Read
from facaded.policy.decision import OwnChallenge, OwnToken, Page, Pong, Redirect, Rules
from facaded.web import own_token, page

RETRY_AFTER = "5"
"""Seconds after which a client may retry if all backends failed: a "not found" response is cached for as long."""

ALWAYS = {"Cache-Control": "no-store", "Vary": "User-Agent, Accept, Authorization"}
"""Headers of every answer. No answer may be cached, because the next one may be different."""

REGISTRY = {"Docker-Distribution-Api-Version": "registry/2.0", **ALWAYS}

JSON = {"Content-Type": "application/json"}

RETRY = {**JSON, "Retry-After": RETRY_AFTER}
"""Headers of a 503, whose document has the code UNAVAILABLE. All measured clients retry by the status alone, see "What
clients do after a 503" in facaded/manual/answers.md; with TOOMANYREQUESTS some would call an outage a rate limit."""


@frozen
class Rendered:
    """An answer as HTTP.

    `backend` is where it comes from, or None; `always` are the headers that do not depend on the answer. `length` is
    the length of the body that a GET would have, if `body` is not that body. `streamed` is a body to relay instead.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    backend: str | None = None
    length: int | None = None
    streamed: StreamedResponse | None = None
    always: Mapping[str, str] = REGISTRY

    @property
    def all_headers(self) -> Mapping[str, str]:
        """The headers of the answer, including those of every answer."""
        if self.backend is None:
            return {**self.always, **self.headers}
        return {**self.always, "X-Facaded-Backend": self.backend, **self.headers}


def render(
    answer: Redirect | Pong | OwnChallenge | OwnToken | Page | Refusal, rules: Rules, challenge: Callable[[], str]
) -> Rendered:
    """Return an answer that needs nothing from a backend. `challenge` returns the facade's own challenge."""
    match answer:
        case Redirect():
            return render_redirect(answer)
        case Pong():
            return Rendered(200, JSON, b"{}")
        case OwnChallenge():
            message = "authentication required: anybody gets a token from the realm of this challenge"
            document = errors.document(Code.UNAUTHORIZED, message)
            return Rendered(401, {**JSON, "WWW-Authenticate": challenge()}, document)
        case OwnToken():
            return Rendered(200, JSON, own_token.DOCUMENT)
        case Page():
            return Rendered(200, page.HEADERS, page.render(answer.host, answer.image, rules), always=ALWAYS)
        case Refusal():
            allow = {"Allow": ", ".join(answer.allow)} if answer.allow else {}
            return Rendered(answer.status, JSON | allow, errors.document(answer.code, answer.message))


def render_page_file(request: PageFile, if_none_match: str) -> Rendered:
    """Return a file of the page. `if_none_match` is the value of that header, empty without one."""
    file = page.read_file(request.path)
    status = 304 if file.is_known_by(if_none_match) else 200
    return Rendered(status, file.headers, b"" if status == 304 else file.content, always={})


def render_redirect(redirect: Redirect) -> Rendered:
    """Return the answer that sends a client to a backend."""
    return Rendered(307, {"Location": redirect.location}, backend=redirect.backend)


def render_forwarded(
    request: Ping | Read, served: Served | NotServed | Unauthorized | PingAccepted, backend: str, if_none_match: str
) -> Rendered:
    """Return the answer to a request that was forwarded with the client's own Authorization; see `render_served`."""
    match served:
        case Unauthorized(challenge):
            message = "authentication required: log in to this registry first, for example with docker login"
            return Rendered(401, {**JSON, "WWW-Authenticate": challenge}, errors.document(Code.UNAUTHORIZED, message))
        case PingAccepted():
            return Rendered(200, JSON, b"{}", backend)
        case NotServed(over_limit=limit) if limit is not None:
            return _render_over_limit(limit)
        case NotServed() if isinstance(request, Ping):
            return _render_failures(served)
        case _:
            assert not isinstance(request, Ping)
            return render_served(request, served, backend, None, if_none_match)


def render_served(
    read: Read, served: Served | NotServed, preferred: str, bad_state: str | None, if_none_match: str
) -> Rendered:
    """Return the answer to `read` from what the backends answered.

    `preferred` is the first backend of the route; `bad_state` is its state if it is down or limited, else None.
    `if_none_match` is the value of that header, empty without one.
    """
    if isinstance(served, NotServed):
        return _render_not_served(read, served)
    rendered = evolve(_render_content(read, served, if_none_match), backend=served.backend)
    if "Warning" in rendered.headers:
        return rendered
    bad_state = bad_state or ("failing" if preferred in served.failures else None)
    if not bad_state or served.backend == preferred:
        return rendered
    warning = {"Warning": f'299 - "{preferred} is {bad_state}; served by {served.backend}"'}
    return evolve(rendered, headers={**rendered.headers, **warning})


def _render_content(read: Read, served: Served, if_none_match: str) -> Rendered:
    match served.content:
        case Manifest() as manifest:
            tag = f'"{manifest.digest}"'
            headers = {"Docker-Content-Digest": manifest.digest, "ETag": tag, "Content-Type": manifest.media_type}
            if tag in (condition.strip().removeprefix("W/") for condition in if_none_match.split(",")):
                return Rendered(304, headers)
            return Rendered(200, headers, manifest.body or b"", length=manifest.length)
        case Listing() as listing:
            headers = {"Content-Type": listing.media_type}
            if listing.next_query is not None:
                headers["Link"] = f'<{read.path}?{listing.next_query}>; rel="next"'
            if listing.filters:
                headers["OCI-Filters-Applied"] = listing.filters
            if listing.incomplete:
                headers["Warning"] = f'299 - "referrers may be missing: {", ".join(listing.incomplete)} failed"'
            return Rendered(200, headers, listing.body)
        case BlobRedirect(location):
            return Rendered(307, {"Location": location})
        case BlobBytes(opened):
            passed = ("Content-Range", "Accept-Ranges", "ETag")
            headers = {name: printable(opened.value(name)) for name in passed if opened.value(name)}
            headers |= {"Content-Length": str(opened.length)} if opened.length is not None else {}
            headers |= {"Content-Type": "application/octet-stream"}
            return Rendered(opened.status, headers, streamed=opened)
        case BlobSize(size):
            assert isinstance(read, Blob)
            headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": read.digest}
            return Rendered(200, headers, length=size)


def _render_over_limit(limit: OverLimit) -> Rendered:
    headers = {**JSON, "Retry-After": str(limit.retry_after)}
    return Rendered(429, headers, errors.document(Code.TOOMANYREQUESTS, limit.message))


def render_unread() -> Rendered:
    """Return the answer in place of a large one, when too much is kept for clients that read slowly."""
    message = f"too many answers wait for clients that read slowly: try again in {RETRY_AFTER} s"
    return Rendered(503, RETRY, errors.document(Code.UNAVAILABLE, message))


def _render_not_served(read: Read, not_served: NotServed) -> Rendered:
    if not_served.over_limit is not None:
        return _render_over_limit(not_served.over_limit)
    if not_served.failures:
        return _render_failures(not_served)
    if not_served.refused:
        message = "the registry behind this one refused the request as invalid: check its parameters"
        return Rendered(400, JSON, errors.document(Code.UNSUPPORTED, message))
    match read:
        case ManifestRead():
            code, missing = Code.MANIFEST_UNKNOWN, f"{read.name} has no manifest {read.reference}"
        case Blob():
            code, missing = Code.BLOB_UNKNOWN, f"{read.name} has no blob {read.digest}"
        case _:  # not NAME_UNKNOWN, after which ORAS and notation do not look for the fallback tag
            code, missing = Code.MANIFEST_UNKNOWN, f"there is no repository {read.name}"
    return Rendered(404, JSON, errors.document(code, f"{missing}, or it is not public"))


def _render_failures(not_served: NotServed) -> Rendered:
    if not_served.blob_source:
        message = (
            f"{not_served.blob_source} serves blobs itself instead of redirecting to a CDN: "
            "the operator of this registry must set relay_blobs = true for that backend"
        )
        return Rendered(502, JSON, errors.document(Code.UNSUPPORTED, message))
    sentences = [f"{name} failed ({reason})" for name, reason in not_served.failures.items()]
    sentences += [f"{name} does not have it" for name in not_served.not_found]
    message = f"{'; '.join(sentences)}: try again in {RETRY_AFTER} s"
    return Rendered(503, RETRY, errors.document(Code.UNAVAILABLE, message))
