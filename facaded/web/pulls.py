"""Recent pulls, as answered requests show them."""

from facaded.policy.recent_pulls import RecentPulls
from facaded.web.answered_requests import AnsweredRequest, Kind, Outcome

PULL_STATUSES = (200, 304, 307)
"""The statuses of a manifest that was served or redirected."""


class Pulls:
    """Follows answered requests; `recent` holds the recently pulled images."""

    def __init__(self) -> None:
        self.recent = RecentPulls()

    def follow(self, answered: AnsweredRequest) -> None:
        """Record an answered request; it is a `Subscriber`.

        Images that clients pull with their own credentials are private, and not recorded.
        """
        decision = answered.decision
        if decision.kind is not Kind.MANIFEST or ":" in decision.reference:
            return  # a tag has no colon, a digest has one
        if answered.status in PULL_STATUSES and decision.outcome in (Outcome.REDIRECTED, Outcome.SERVED):
            self.recent.add(decision.repository, decision.reference)
