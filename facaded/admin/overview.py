"""The overview: the document at /status.json, and what the status page shows.

Its times are seconds since the epoch, its durations seconds. It has no addresses of clients: the admin listener may be
reached by more people than the control socket.
"""

from attrs import field, frozen

from facaded.admin.day_strip import ConditionSpan
from facaded.admin.request_rates import RequestRate
from facaded.admin.status import Headline, Status
from facaded.history.past import PastChange
from facaded.history.queries import PullSum
from facaded.net.json_documents import Document


@frozen
class StepOverview:
    """A step of the probes of a backend: how long it took last, when it last passed, and whether it failed last."""

    step: str
    latency: float | None
    last_success: float | None
    failed: bool


@frozen
class BackendOverview:
    """What the status document does not have about a backend that a route uses.

    `next_probe` is null while a probe is in progress. `sent` and `failed` are its requests within `window` seconds.
    `day` is what it was like in the last 24 hours, as far as the history tells.
    """

    name: str
    next_probe: float | None
    sent: int
    failed: int
    window: float
    steps: tuple[StepOverview, ...]
    day: tuple[ConditionSpan, ...]


@frozen
class PullOverview:
    """The pulls of the last `days`, and the images that were pulled most, the most frequent one first."""

    days: int
    total: PullSum
    images: tuple[PullSum, ...]


@frozen
class RateOverview:
    """The requests a second over the last `window` seconds, of all processes."""

    window: float
    per_second: float
    rates: tuple[RequestRate, ...]


@frozen
class Overview(Document):
    """What the status page shows, as it was at the time `at`.

    `status` is the document of `facaded status --json` without what clients are known by. `changes` are the last ones,
    the latest first. `history` says why there is no history, and is empty if there is one; `pulls` is null then.
    """

    at: float
    headline: Headline
    status: Status
    backends: tuple[BackendOverview, ...]
    changes: tuple[PastChange, ...]
    requests: RateOverview
    pulls: PullOverview | None
    history: str = field(default="")
