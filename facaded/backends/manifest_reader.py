"""The manifests of one backend: from the cache, else by the digest of a tag, verified."""

from copy import copy
from functools import partial

from attrs import evolve

from facaded.backends.authorized_client import NO_HEADERS, AuthorizedClient
from facaded.backends.failures import FailingError, NotFoundError, ReservedError
from facaded.backends.joined_requests import JoinedRequests
from facaded.backends.manifests import MANIFEST_SIZE, Accept, Manifest, ManifestCache, digest_of, read_manifest
from facaded.backends.media_types import is_manifest_type, manifest_type, sent_type
from facaded.backends.shares import FACADED, Asker
from facaded.backends.tags import LastDigest
from facaded.net.text import whole_number
from facaded.oci.requests import ManifestRead, is_digest
from facaded.policy.health import Step
from facaded.policy.repositories import Rename, renamed


class ManifestReader:
    """Reads the manifests of the backend `name` through `client`. Raises as `Registry` does."""

    def __init__(self, name: str, client: AuthorizedClient, renames: tuple[Rename, ...], cache: ManifestCache) -> None:
        self._name = name
        self._client = client
        self._gate = client.gate
        self._renames = renames
        self._cache = cache
        self._works: JoinedRequests[Manifest] = JoinedRequests(client.gate)
        self._asker: Asker = FACADED

    def asked_by(self, asker: Asker) -> "ManifestReader":
        """Return this reader for the requests of `asker`, with the same cache and requests in progress."""
        reader = copy(self)
        reader._asker = asker
        return reader

    def cached(self, read: ManifestRead, accept: Accept) -> Manifest | None:
        """Return a manifest from the cache; a tag's only if its digest at this backend is fresh."""
        digest: str | None = read.reference
        if not is_digest(read.reference):
            digest = self._cache.tags.fresh(self._name, accept.of_tag(read))
        return self._cache.manifest(read.name, digest, accept) if digest is not None else None

    def last_digest(self, read: ManifestRead, accept: Accept) -> LastDigest | None:
        """Return the last known digest of a tag, whichever backend it was learned from."""
        return None if is_digest(read.reference) else self._cache.tags.last(accept.of_tag(read))

    def is_scarce(self, read: ManifestRead) -> bool:
        """Return whether so few pulls are left that a cached manifest is better than a new one."""
        return self._asker.is_scarce(self._name, self._client.owner(backend_name(self._renames, read.name)))

    async def read(self, read: ManifestRead, accept: Accept, with_body: bool) -> Manifest:
        """Return a manifest; its body is None if `with_body` is False."""
        if cached := self.cached(read, accept):
            return cached
        key = (read.name, read.reference, accept.value, with_body)
        step = Step.BODY if with_body and is_digest(read.reference) else Step.MANIFEST
        work = partial(self._fetch_manifest, read, accept, with_body)
        while True:
            try:
                return await self._works.get(key, self._asker, step, work, partial(self.cached, read, accept))
            except ReservedError as error:
                if error.source in ("", self._asker.source):
                    raise  # else it joined the request of a source that was refused, which says nothing of its own

    async def _fetch_manifest(self, read: ManifestRead, accept: Accept, with_body: bool) -> Manifest:
        name = backend_name(self._renames, read.name)
        if is_digest(read.reference):
            return await self._fetch(read, name, read.reference, accept, with_body)
        tag, tags = accept.of_tag(read), self._cache.tags
        try:
            manifest = await self._fetch_tagged(read, name, accept, with_body)
        except NotFoundError as error:
            if error.status == 404:  # a refusal (401, 403) may be a fault of the registry
                tags.forget(self._name, tag)
            raise
        if manifest.is_signed:
            tags.forget_last(self._name, tag)
        else:
            tags.confirm(self._name, tag, manifest.digest)
        return manifest

    async def _fetch_tagged(self, read: ManifestRead, name: str, accept: Accept, with_body: bool) -> Manifest:
        tag, tags = accept.of_tag(read), self._cache.tags
        digest = tags.fresh(self._name, tag)
        if digest is not None:
            try:
                return await self._fetch(read, name, digest, accept, with_body)
            except NotFoundError:
                tags.drop(self._name, tag)  # the tag may have moved, and the old manifest may be deleted
        head = await self._head(read, name, read.reference, accept)
        if head.is_signed and head.digest and head.length and not with_body:
            return head
        if not head.digest or head.is_signed:
            manifest = await self._get(read, name, read.reference, accept)
            if not manifest.is_signed:
                tags.store(self._name, tag, manifest.digest)
            return manifest
        tags.store(self._name, tag, head.digest)
        if not with_body and head.length:
            return head
        if cached := self._cache.manifest(read.name, head.digest, accept):
            return evolve(cached, step=head.step)
        try:
            return await self._fetch(read, name, head.digest, accept, with_body)
        except NotFoundError:
            raise FailingError("has the tag but not its manifest", backend_wide=False) from None

    async def _fetch(self, read: ManifestRead, name: str, reference: str, accept: Accept, with_body: bool) -> Manifest:
        fetch = self._get if with_body else self._head
        return await fetch(read, name, reference, accept)

    async def _head(self, read: ManifestRead, name: str, reference: str, accept: Accept) -> Manifest:
        """Send a HEAD for a manifest. The digest of a tag's is empty if the response is not usable."""
        url = self._client.url(ManifestRead(name, reference).path)
        head = await self._gate.take(
            Step.MANIFEST, url, lambda: self._client.fetch("HEAD", url, name, accept_headers(accept))
        )
        if head.status != 200:
            raise FailingError(f"answered {head.status} to the HEAD of a manifest", backend_wide=False)
        digest, length = head.value("Docker-Content-Digest"), whole_number(head.value("Content-Length"))
        usable = is_manifest_type(sent_type(head))
        if is_digest(reference):
            if is_digest(digest) and digest != reference and _algorithm(digest) == _algorithm(reference):
                raise FailingError("Docker-Content-Digest is not the requested digest", backend_wide=False)
            if not (length and usable) or digest not in ("", reference):
                return await self._get(read, name, reference, accept)  # the body can be checked
            digest = reference
        digest = digest if usable and is_digest(digest) else ""
        return Manifest(sent_type(head), digest, length or 0, None, Step.MANIFEST)

    async def _get(self, read: ManifestRead, name: str, reference: str, accept: Accept) -> Manifest:
        url = self._client.url(ManifestRead(name, reference).path)
        return await self._gate.take(Step.BODY, url, lambda: self._read_manifest(read, url, reference, accept))

    async def _read_manifest(self, read: ManifestRead, url: str, reference: str, accept: Accept) -> Manifest:
        name = backend_name(self._renames, read.name)
        with self._asker.pull(self._name, self._client.owner(name)):
            response = await self._client.fetch("GET", url, name, accept_headers(accept))
        if response.status != 200:
            response.abandon()
            raise FailingError(f"answered {response.status} to the GET of a manifest", backend_wide=False)
        body = await self._client.read(response, MANIFEST_SIZE)
        document = read_manifest(body)
        media_type = manifest_type(response, document)
        if document is None or media_type is None:
            sent = sent_type(response) or "no media type"
            raise FailingError(f"answered with something that is no manifest ({sent})", backend_wide=False)
        header = response.value("Docker-Content-Digest")
        expected = dict.fromkeys(digest for digest in (reference, header) if is_digest(digest))
        manifest = Manifest(media_type, next(iter(expected), "") or digest_of(body), len(body), body)
        if manifest.is_signed and not is_digest(reference):
            return evolve(manifest, step=Step.BODY)  # it cannot be checked or asked for again, so it is not kept
        if any(digest_of(body, _algorithm(digest)) != digest for digest in expected):
            raise FailingError("manifest does not match its digest", backend_wide=False)
        self._cache.store(read.name, manifest, document)
        return evolve(manifest, step=Step.BODY)


def _algorithm(digest: str) -> str:
    return digest.partition(":")[0]


def backend_name(renames: tuple[Rename, ...], name: str) -> str:
    """Return the backend's name of the facade's repository `name`. Raises NotFoundError if it has none."""
    own = renamed(renames, name) if renames else name
    if own is None:
        raise NotFoundError("no rename of this backend matches the repository")
    return own


def accept_headers(accept: Accept) -> dict[str, str]:
    """Return the Accept header to send to a backend; none if the client sent none."""
    return {"Accept": accept.value} if accept.value else dict(NO_HEADERS)
