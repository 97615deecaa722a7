"""Recent pulls, and counts of pulls, as answered requests show them."""

from collections.abc import Iterator, Sequence

from facaded.oci.referrers import is_referrers_tag
from facaded.policy.pull_counts import BLOB_REQUEST, AskerKey, PullCounts
from facaded.policy.pull_kinds import ManifestRequest
from facaded.policy.recent_pulls import IMAGES, RecentPulls
from facaded.web.answered_requests import AnsweredRequest, Kind, Outcome

NOT_MODIFIED = 304

PULL_STATUSES = (307, 200, NOT_MODIFIED)
"""The statuses of a manifest that was served or redirected."""

REDIRECTED, SERVED = Outcome.REDIRECTED, Outcome.SERVED
"""How its request was answered."""

MANIFEST, BLOB, REFERRERS = Kind.MANIFEST, Kind.BLOB, Kind.REFERRERS
"""Names of their own: to look a member up in its class takes Python longer than all else here."""


class Pulls:
    """What answered requests show; `recent` holds the recently pulled images, and `counts` is the number of pulls.

    Nothing is counted without a history, which `is_counting` says.
    """

    def __init__(self, *, is_counting: bool = True) -> None:
        self.recent = RecentPulls()
        self.counts = PullCounts()
        self.is_counting = is_counting

    def follow(self, batch: Sequence[AnsweredRequest]) -> None:
        """Record the images of answered requests; it is a `BatchSubscriber`.

        Images that clients pull with their own credentials are private, and not recorded.
        """
        latest: dict[tuple[str, str], None] = {}
        for answered in reversed(batch):
            decision = answered.decision
            if decision.kind is not MANIFEST or ":" in decision.reference:
                continue  # a tag has no colon, a digest has one
            if answered.status in PULL_STATUSES and (decision.outcome is REDIRECTED or decision.outcome is SERVED):
                latest[decision.repository, decision.reference] = None
                if len(latest) == IMAGES:
                    break
        for name, tag in reversed(latest):
            self.recent.add(name, tag)

    def count(self, batch: Sequence[AnsweredRequest]) -> None:
        """Count the pulls of answered requests; it is a `BatchSubscriber`, and takes longest."""
        if self.is_counting:
            self.counts.follow(_read(batch))


def _read(batch: Sequence[AnsweredRequest]) -> Iterator[tuple[AskerKey, ManifestRequest | None]]:
    """Return what counts of answered requests, as `PullCounts` takes it, which is called for each of them."""
    for answered in batch:
        decision = answered.decision
        kind = decision.kind
        if kind is MANIFEST or kind is REFERRERS:
            outcome, status = decision.outcome, answered.status
            if outcome is REDIRECTED or (outcome is SERVED and status in PULL_STATUSES):
                reference = decision.reference
                yield (
                    (answered.address, answered.client.family, decision.repository),
                    (
                        answered.at,
                        reference,
                        answered.method == "GET" and status != NOT_MODIFIED,
                        outcome is REDIRECTED,
                        kind is REFERRERS or ("-" in reference and is_referrers_tag(reference)),
                    ),
                )
        elif kind is BLOB:
            yield (answered.address, answered.client.family, decision.repository), BLOB_REQUEST
