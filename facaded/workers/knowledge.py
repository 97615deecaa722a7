"""What backends and CDNs have answered one process, told to the others: failures, tags, pulls left, what they lack."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, TypeVar

from attrs import field, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from facaded.backends.cdn_results import CdnKey, CdnNews, CdnResults
from facaded.backends.quotas import Quotas
from facaded.backends.recent_answers import SUSPECT_TIME, Avoidance, RecentAnswers
from facaded.backends.seen_hosts import HOST_LENGTH
from facaded.backends.tags import TagCache, TaggedRead, TagNews
from facaded.config.sections import Backend
from facaded.net.json_documents import SCHEMA, InvalidDocumentError, from_object, to_json
from facaded.net.text import printable
from facaded.oci.referrers import MOST_REFERRERS
from facaded.policy.elsewhere import Elsewhere, ListedDigest
from facaded.policy.health import LONGEST_RETRY_AFTER, Quota
from facaded.policy.quota_reserve import window
from facaded.workers.knowledge_body import (
    KIND,
    MOST_ENTRIES,
    AvoidanceEntry,
    CdnEntry,
    KnowledgeBody,
    ListedEntry,
    QuotaEntry,
    TagEntry,
    settings_key,
)

COLLECTING_TIME = 0.02
"""Seconds after a message for which news is collected, so that a busy process sends 50 messages a second at most.

The first news after that is sent at once: Skopeo asks for the first blob within 20 ms of the manifest, on another
connection, and the process that gets it must know then which backend has failed for the manifest.
"""

LONGEST_AVOIDANCE = max(SUSPECT_TIME, LONGEST_RETRY_AFTER)
"""Seconds for which a message may say that a backend is avoided."""

QUOTA_REPORTS = 20
"""Reports of a quota that stays as it is within its window: other processes forget it a twentieth too early at most."""

LOG_INTERVAL = 60.0
"""Least seconds between two log lines about messages that cannot be read: one of another version sends many."""

Key = TypeVar("Key", bound=Hashable)
Entry = TypeVar("Entry")

_log = Logger()


@frozen
class _Followed:
    """What is followed, for the backends of `names`; `key` stands for what these names mean."""

    recent: RecentAnswers
    tags: TagCache
    quotas: Quotas
    elsewhere: Elsewhere
    cdns: CdnResults
    names: frozenset[str]
    key: str


@frozen
class _News:
    """What was not sent yet, the latest about each subject."""

    avoidances: dict[tuple[object, ...], Avoidance] = field(factory=dict)
    tags: dict[TaggedRead, TagNews] = field(factory=dict)
    quotas: dict[tuple[str, str], tuple[Quota, float]] = field(factory=dict)
    elsewhere: dict[tuple[str, str], ListedDigest] = field(factory=dict)
    cdns: dict[CdnKey, CdnNews] = field(factory=dict)


class Knowledge:
    """Tells other processes what this one learns from backends, and takes over what they have learned.

    `send` is called with a message (see `KnowledgeBody`) when there is news, and COLLECTING_TIME after the last one at
    the earliest. What came from another process is never sent again.

    A process keeps to itself what it can ask for again: "not found" answers, fresh digests, lists, tokens, and the
    addresses of blobs; also how many pulls each source had.
    """

    def __init__(self, clock: IReactorTime, send: Callable[[dict[str, Any]], None]) -> None:
        self._clock = clock
        self._send = send
        self._followed: _Followed | None = None
        self._news = _News()
        self._reported: dict[tuple[str, str], tuple[Quota, float]] = {}
        self._timer: IDelayedCall | None = None
        self._sent_at = -COLLECTING_TIME
        self._logged = -LOG_INTERVAL

    def follow(
        self,
        recent: RecentAnswers,
        tags: TagCache,
        quotas: Quotas,
        elsewhere: Elsewhere,
        cdns: CdnResults,
        backends: Iterable[Backend],
    ) -> None:
        """Tell what these learn, instead of earlier ones, and let them learn from others. `backends` are in force.

        What earlier ones have learned is sent before.
        """
        self.stop()
        settings = tuple(backends)
        names = frozenset(backend.name for backend in settings)
        self._followed = _Followed(recent, tags, quotas, elsewhere, cdns, names, settings_key(settings))
        recent.follower, tags.follower = self._note_avoidance, self._note_tag
        quotas.follower, elsewhere.follower = self._note_quota, self._note_listed
        cdns.follower = self._note_cdn

    def stop(self) -> None:
        """Send what was collected, and follow nothing more."""
        self._flush()
        if self._followed is not None:
            followed = self._followed
            followed.recent.follower = followed.tags.follower = None
            followed.quotas.follower = followed.elsewhere.follower = followed.cdns.follower = None
        self._followed = None
        self._reported.clear()

    def receive(self, body: dict[str, Any]) -> None:
        """Take over what another process has learned; its body has been read from JSON.

        It is ignored if it cannot be read, which is logged, or if it is about other backends, as during a reload.
        """
        if (followed := self._followed) is None:
            return
        try:
            if body.get("schema", SCHEMA) != SCHEMA:
                raise InvalidDocumentError("it has another schema")
            message = from_object(body, KnowledgeBody)
        except InvalidDocumentError as error:
            self._log_invalid(str(error))
            return
        if message.backends == followed.key and message.names <= followed.names:
            self._learn(followed, message)

    def known(self) -> Iterator[dict[str, Any]]:
        """Return all that is known now, as messages, for a process that has just started."""
        if (followed := self._followed) is None:
            return iter(())
        quotas = [
            ((name, owner), noted)
            for name in sorted(followed.names)
            for owner, noted in followed.quotas.of(name).items()
        ]
        elsewhere = followed.elsewhere.known(self._clock.seconds())
        cdns = [news for news in followed.cdns.known() if _can_tell(news)]
        return _messages(followed.key, followed.recent.known(), followed.tags.known(), quotas, elsewhere, cdns)

    def _learn(self, followed: _Followed, message: KnowledgeBody) -> None:
        now = self._clock.seconds()
        for avoidance in message.avoidances:
            followed.recent.learn(avoidance.content(now, LONGEST_AVOIDANCE))
        for tag in message.tags:
            followed.tags.learn(tag.content(now))
        for entry in message.quotas:
            self._reported[entry.backend, entry.owner] = entry.quota, now
            followed.quotas.learn(entry.backend, entry.owner, entry.quota, min(entry.at, now))
        for listed in message.elsewhere:
            followed.elsewhere.learn(listed.content(now), now)
        for cdn in message.cdns:
            followed.cdns.learn(cdn.content(now))

    def _note_avoidance(self, avoidance: Avoidance) -> None:
        key = avoidance.backend, avoidance.scope, avoidance.rests
        self._note(self._news.avoidances, key, avoidance)

    def _note_tag(self, news: TagNews) -> None:
        self._note(self._news.tags, news.read, news)

    def _note_quota(self, backend: str, owner: str, quota: Quota, at: float) -> None:
        reported, reported_at = self._reported.get((backend, owner), (None, 0.0))
        if quota != reported or at - reported_at >= window(quota) / QUOTA_REPORTS:
            self._reported[backend, owner] = quota, at
            self._note(self._news.quotas, (backend, owner), (quota, at))

    def _note_listed(self, listed: ListedDigest) -> None:
        self._note(self._news.elsewhere, (listed.repository, listed.digest), listed, MOST_REFERRERS)

    def _note_cdn(self, news: CdnNews) -> None:
        if _can_tell(news):
            self._note(self._news.cdns, news.key, news)

    def _note(self, entries: dict[Key, Entry], key: Key, entry: Entry, most: int = MOST_ENTRIES) -> None:
        """Collect the latest entry about a subject; of too many, the oldest is dropped."""
        entries.pop(key, None)
        entries[key] = entry
        if len(entries) > most:
            del entries[next(iter(entries))]
        if self._timer is None:
            pause = self._sent_at + COLLECTING_TIME - self._clock.seconds()
            self._timer = self._clock.callLater(max(0, pause), self._send_news)

    def _send_news(self) -> None:
        self._timer = None
        self._sent_at = self._clock.seconds()
        self._flush()

    def _flush(self) -> None:
        """Send what was collected at once."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        news, self._news = self._news, _News()
        if self._followed is not None:
            parts = list(news.avoidances.values()), list(news.tags.values()), list(news.quotas.items())
            listed, cdns = list(news.elsewhere.values()), list(news.cdns.values())
            for message in _messages(self._followed.key, *parts, listed, cdns):
                self._send(message)

    def _log_invalid(self, reason: str) -> None:
        now = self._clock.seconds()
        if now - self._logged >= LOG_INTERVAL:
            self._logged = now
            text = "another facaded process sent what this one cannot read, so it is ignored: {reason}"
            _log.warn(text, reason=printable(reason))


def _can_tell(news: CdnNews) -> bool:
    """Return whether the name of a CDN's host is one: a registry may send any."""
    return 0 < len(news.key[2]) <= HOST_LENGTH


def _messages(
    key: str,
    avoidances: list[Avoidance],
    tags: list[TagNews],
    quotas: list[tuple[tuple[str, str], tuple[Quota, float]]],
    elsewhere: list[ListedDigest],
    cdns: list[CdnNews],
) -> Iterator[dict[str, Any]]:
    """Yield this news in messages with MOST_ENTRIES of each kind at most; none without news."""
    most = max(len(avoidances), len(tags), len(quotas), len(elsewhere), len(cdns))
    for start in range(0, most, MOST_ENTRIES):
        part = slice(start, start + MOST_ENTRIES)
        body = KnowledgeBody(
            key,
            tuple(map(AvoidanceEntry.of, avoidances[part])),
            tuple(map(TagEntry.of, tags[part])),
            tuple(QuotaEntry.of(*owned, *noted) for owned, noted in quotas[part]),
            tuple(map(ListedEntry.of, elsewhere[part])),
            tuple(map(CdnEntry.of, cdns[part])),
        )
        yield {"kind": KIND, **to_json(body)}
