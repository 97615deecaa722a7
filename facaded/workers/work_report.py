"""A worker's report as a document: what it has counted since the one before, and what it is like now.

A document is checked when it is read: it has at most so many rows, counts within bounds, and texts that can be logged.
"""

from collections.abc import Mapping

from attrs import Attribute, field, frozen
from attrs.validators import and_, ge, le, max_len

from facaded.backends.measurements import TokenResult
from facaded.backends.reached_limits import SUBJECT_LENGTH
from facaded.backends.seen_hosts import HOST_LENGTH
from facaded.net.histograms import BOUNDS, Histogram
from facaded.net.json_documents import LEFT_OUT
from facaded.net.text import printable
from facaded.oci.clients import Family
from facaded.policy.asked_again import SHOWN
from facaded.policy.health import Step
from facaded.policy.limits import Limit
from facaded.policy.network_hosts import HostPurpose
from facaded.policy.pull_kinds import PullKind
from facaded.web.answered_requests import Kind, Outcome

REPORT = "report"
"""The kind of a message with what a worker has counted."""

MOST_ROWS = 100
"""Most rows of a kind in one report, which then has 256 KiB at most. What is more waits for the next one."""

MOST_LISTENERS = 8
"""Most listeners whose connections a report counts: there are two that clients use."""

MOST_COUNT = 10**15
"""The largest count in a report: with it, sums of many reports are exact as floating-point numbers too, or nearly."""

TEXT_LENGTH = 1000
"""Characters of the longest text in a report: a sentence with the longest name of a repository, or a digest, in it."""

_is_count = and_(ge(0), le(MOST_COUNT))
_is_positive = and_(ge(1), le(MOST_COUNT))


def _clean(text: str) -> str:
    return printable(text, TEXT_LENGTH)


def _clean_subject(text: str) -> str:
    return printable(text, SUBJECT_LENGTH)


def _clean_problem(text: str | None) -> str | None:
    return None if text is None else _clean(text)


def _are_few_counts(row: "FiguresRow", attribute: "Attribute[Mapping[str, int]]", numbers: Mapping[str, int]) -> None:
    if len(numbers) > MOST_LISTENERS or not all(0 <= number <= MOST_COUNT for number in numbers.values()):
        raise ValueError("numbers that are no connections")


def _is_histogram(row: "Durations", attribute: "Attribute[tuple[int, ...]]", counts: tuple[int, ...]) -> None:
    if len(counts) != len(BOUNDS) + 1 or not all(0 <= count <= MOST_COUNT for count in counts):
        raise ValueError("counts that are no histogram")


@frozen
class Durations:
    """A histogram of durations: see `Histogram`."""

    counts: tuple[int, ...] = field(validator=_is_histogram)
    seconds: float = field(validator=_is_count)

    @classmethod
    def of(cls, histogram: Histogram) -> "Durations":
        """Return the durations that a histogram has counted."""
        return cls(tuple(histogram.counts), histogram.seconds)

    @property
    def histogram(self) -> Histogram:
        """A new histogram that has counted these durations."""
        histogram = Histogram()
        histogram.counts, histogram.seconds = list(self.counts), self.seconds
        return histogram


@frozen
class RequestRow:
    """Answered requests that are counted together; see `request_metrics.RequestKey`."""

    kind: Kind
    answer: Outcome
    status: int
    family: Family
    backend: str | None
    durations: Durations


@frozen
class BackendRow:
    """Requests to a backend, for one step of pulls."""

    backend: str
    step: Step
    durations: Durations


@frozen
class TokenRow:
    """Requests for tokens of a backend."""

    backend: str
    result: TokenResult
    count: int = field(validator=_is_count)


@frozen
class LimitRow:
    """A limit that was reached `count` times, the last time by `subject`."""

    limit: Limit
    count: int = field(validator=_is_positive)
    subject: str = field(converter=_clean_subject)


@frozen
class HostRow:
    """A host that the backend at `backend_url` leads to."""

    backend_url: str
    purpose: HostPurpose
    host: str = field(validator=max_len(HOST_LENGTH), converter=_clean)
    port: int = field(validator=and_(ge(0), le(65535)))


@frozen
class AccountRow:
    """What is wrong with facaded's own account at a backend; null if it works for the repository."""

    backend: str
    repository: str = field(converter=_clean)
    problem: str | None = field(converter=_clean_problem)


@frozen
class ReturnRow:
    """A client that asked again; see `Return`."""

    source: str = field(converter=_clean)
    family: Family
    subject: str = field(converter=_clean)
    since: float = field(validator=_is_count)
    until: float = field(validator=_is_count)
    times: int = field(validator=_is_count)
    repository: str = field(converter=_clean)


@frozen
class PullRow:
    """An image that was pulled."""

    repository: str
    tag: str


@frozen
class CountRow:
    """Pulls that are counted together; see `PullKey`."""

    repository: str
    reference: str
    family: Family
    kind: PullKind
    is_proven: bool
    count: int = field(validator=_is_positive)


@frozen
class CacheRow:
    """How requests for manifests were answered; see `CacheUses`."""

    hits: int = field(default=0, validator=_is_count)
    confirmed: int = field(default=0, validator=_is_count)
    misses: int = field(default=0, validator=_is_count)


@frozen
class FiguresRow:
    """What a worker is like now: open connections by listener, bytes in its cache, and requests since its start."""

    connections: Mapping[str, int] = field(validator=_are_few_counts)
    cache_bytes: int = field(validator=_is_count)
    requests: int = field(validator=_is_count)


@frozen
class WorkReport:
    """A report. Those of a worker have the numbers 1, 2, 3; what has not changed since the one before is omitted.

    `returns` are the latest of the `asked_again` clients, and the last image of `pulls` was pulled last; `counts`
    are how often what was pulled. `lost_lines` are those of the log, and `relayed_bytes` those of blobs.
    """

    number: int = field(validator=_is_positive)
    requests: tuple[RequestRow, ...] = field(default=(), validator=max_len(MOST_ROWS), metadata=LEFT_OUT)
    backend_requests: tuple[BackendRow, ...] = field(default=(), validator=max_len(MOST_ROWS), metadata=LEFT_OUT)
    tokens: tuple[TokenRow, ...] = field(default=(), validator=max_len(MOST_ROWS), metadata=LEFT_OUT)
    cache: CacheRow = field(default=CacheRow(), metadata=LEFT_OUT)
    limits: tuple[LimitRow, ...] = field(default=(), validator=max_len(MOST_ROWS), metadata=LEFT_OUT)
    hosts: tuple[HostRow, ...] = field(default=(), validator=max_len(MOST_ROWS), metadata=LEFT_OUT)
    accounts: tuple[AccountRow, ...] = field(default=(), validator=max_len(MOST_ROWS), metadata=LEFT_OUT)
    asked_again: int = field(default=0, validator=_is_count, metadata=LEFT_OUT)
    returns: tuple[ReturnRow, ...] = field(default=(), validator=max_len(SHOWN), metadata=LEFT_OUT)
    pulls: tuple[PullRow, ...] = field(default=(), validator=max_len(MOST_ROWS), metadata=LEFT_OUT)
    counts: tuple[CountRow, ...] = field(default=(), validator=max_len(MOST_ROWS), metadata=LEFT_OUT)
    lost_lines: int = field(default=0, validator=_is_count, metadata=LEFT_OUT)
    relayed_bytes: int = field(default=0, validator=_is_count, metadata=LEFT_OUT)
    figures: FiguresRow | None = field(default=None, metadata=LEFT_OUT)
