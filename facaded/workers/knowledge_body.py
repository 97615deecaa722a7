"""The message with which a process tells the others what backends have answered it."""

import hashlib
import math
import re
from collections.abc import Iterable
from typing import Any

from attrs import Attribute, field, frozen
from attrs.validators import and_, ge, in_, le, max_len, min_len

from facaded.backends.cdn_results import CdnNews
from facaded.backends.recent_answers import Avoidance
from facaded.backends.seen_hosts import HOST_LENGTH
from facaded.backends.tags import TaggedRead, TagNews
from facaded.config.sections import Backend
from facaded.net.json_documents import Document
from facaded.net.text import printable
from facaded.net.urls import DEFAULT_PORTS
from facaded.oci.requests import is_digest, is_name, is_tag
from facaded.policy.elsewhere import ELSEWHERE_TIME, ListedDigest
from facaded.policy.health import Quota

KIND = "knowledge"
"""The kind of the message."""

MOST_ENTRIES = 500
"""Entries of each kind in one message."""

MESSAGE_SIZE = 2_000_000
"""Bytes of a message at most: as many entries, with the longest names."""

MOST_PULLS = 10**15
"""A quota beyond this is invalid: rate-limit headers of backends are read up to 15 digits."""

_KEY = re.compile(r"[0-9a-f]{64}")


def _require_name(_: object, attribute: "Attribute[Any]", value: str | None) -> None:
    if value is not None and not is_name(value):
        raise ValueError(f"{attribute.name} is no repository")


def _require_tag(_: object, attribute: "Attribute[Any]", value: str) -> None:
    if not is_tag(value):
        raise ValueError(f"{attribute.name} is no tag")


def _require_digest(_: object, attribute: "Attribute[Any]", value: str | None) -> None:
    if value is not None and not is_digest(value):
        raise ValueError(f"{attribute.name} is no digest")


def _require_key(_: object, attribute: "Attribute[Any]", value: str | None) -> None:
    if value is not None and not _KEY.fullmatch(value):
        raise ValueError(f"{attribute.name} is no key: 64 hexadecimal digits")


def _require_count(_: object, attribute: "Attribute[Any]", value: int | None) -> None:
    if value is not None and not 0 <= value <= MOST_PULLS:
        raise ValueError(f"{attribute.name} is no number of pulls")


def _require_time(_: object, attribute: "Attribute[Any]", value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{attribute.name} is no time")


@frozen
class AvoidanceEntry:
    """An `Avoidance`. It has a repository, or the key of a list, or none for the whole backend."""

    backend: str
    until: float = field(validator=_require_time)
    rests: bool
    repository: str | None = field(validator=_require_name)
    list_key: str | None = field(validator=_require_key)

    @classmethod
    def of(cls, avoidance: Avoidance) -> "AvoidanceEntry":
        scope = avoidance.scope
        repository, list_key = (None, scope.hex()) if isinstance(scope, bytes) else (scope, None)
        return cls(avoidance.backend, avoidance.until, avoidance.rests, repository, list_key)

    def content(self, now: float, longest: float) -> Avoidance:
        """Return what the entry says; it ends in `longest` seconds at the latest."""
        scope = self.repository if self.list_key is None else bytes.fromhex(self.list_key)
        return Avoidance(self.backend, scope, min(self.until, now + longest), self.rests)


@frozen
class TagEntry:
    """A `TagNews`; `types` are in hexadecimal."""

    backend: str
    repository: str = field(validator=_require_name)
    tag: str = field(validator=_require_tag)
    types: str = field(validator=_require_key)
    digest: str | None = field(validator=_require_digest)
    at: float = field(validator=_require_time)

    @classmethod
    def of(cls, news: TagNews) -> "TagEntry":
        read = news.read
        return cls(news.backend, read.repository, read.tag, read.types.hex(), news.digest, news.at)

    def content(self, now: float) -> TagNews:
        """Return what the entry says; it is not of the future."""
        read = TaggedRead(self.repository, self.tag, bytes.fromhex(self.types))
        return TagNews(read, self.backend, self.digest, min(self.at, now))


@frozen
class QuotaEntry:
    """The pulls that are left to an owner at `at`."""

    backend: str
    owner: str = field(validator=in_(("address", "account")))
    remaining: int = field(validator=_require_count)
    limit: int | None = field(validator=_require_count)
    window: float = field(validator=_require_time)
    at: float = field(validator=_require_time)

    @classmethod
    def of(cls, backend: str, owner: str, quota: Quota, at: float) -> "QuotaEntry":
        return cls(backend, owner, quota.remaining, quota.limit, quota.window, at)

    @property
    def quota(self) -> Quota:
        return Quota(self.remaining, self.limit, self.window)


@frozen
class ListedEntry:
    """A `ListedDigest`."""

    repository: str = field(validator=_require_name)
    digest: str = field(validator=_require_digest)
    until: float = field(validator=_require_time)

    @classmethod
    def of(cls, listed: ListedDigest) -> "ListedEntry":
        return cls(listed.repository, listed.digest, listed.until)

    def content(self, now: float) -> ListedDigest:
        """Return what the entry says; it ends in ELSEWHERE_TIME at the latest."""
        return ListedDigest(self.repository, self.digest, min(self.until, now + ELSEWHERE_TIME))


@frozen
class CdnEntry:
    """A `CdnNews`."""

    backend: str
    scheme: str = field(validator=in_(tuple(DEFAULT_PORTS)))
    host: str = field(validator=and_(min_len(1), max_len(HOST_LENGTH)))
    port: int = field(validator=and_(ge(0), le(65535)))
    alive: bool
    ended: float = field(validator=_require_time)
    duration: float = field(validator=_require_time)
    reason: str = field(converter=printable)

    @classmethod
    def of(cls, news: CdnNews) -> "CdnEntry":
        return cls(*news.key, news.alive, news.ended, news.duration, news.reason)

    def content(self, now: float) -> CdnNews:
        """Return what the entry says; it is not of the future."""
        key = self.backend, self.scheme, self.host, self.port
        return CdnNews(key, self.alive, min(self.ended, now), self.duration, self.reason)


@frozen
class KnowledgeBody(Document):
    """What backends have answered one process; times are monotonic seconds, which all processes of a machine share.

    `backends` is the key of the settings of all backends, see `settings_key`: names stand for something else when they
    have changed.
    """

    backends: str
    avoidances: tuple[AvoidanceEntry, ...] = field(default=(), validator=max_len(MOST_ENTRIES))
    tags: tuple[TagEntry, ...] = field(default=(), validator=max_len(MOST_ENTRIES))
    quotas: tuple[QuotaEntry, ...] = field(default=(), validator=max_len(MOST_ENTRIES))
    elsewhere: tuple[ListedEntry, ...] = field(default=(), validator=max_len(MOST_ENTRIES))
    cdns: tuple[CdnEntry, ...] = field(default=(), validator=max_len(MOST_ENTRIES))

    @property
    def names(self) -> frozenset[str]:
        """The backends that it is about."""
        tags = (tag.backend for tag in self.tags)
        quotas = (quota.backend for quota in self.quotas)
        cdns = (cdn.backend for cdn in self.cdns)
        return frozenset((*(avoidance.backend for avoidance in self.avoidances), *tags, *quotas, *cdns))


def settings_key(backends: Iterable[Backend]) -> str:
    """Return a key for what the names of the backends stand for: their URLs and what they call the repositories."""
    meaning = [(backend.name, backend.url, backend.rename) for backend in backends]
    return hashlib.sha256(repr(meaning).encode()).hexdigest()
