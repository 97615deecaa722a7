"""Pulls, as answered requests show them: recently pulled images, and redirects that may have failed."""

from collections.abc import Callable

from facaded.oci.requests import is_digest
from facaded.policy.recent_pulls import RecentPulls
from facaded.policy.repeated_requests import RepeatedRequests
from facaded.web.answered_requests import AnsweredRequest, Kind, Outcome

PULL_STATUSES = (200, 304, 307)
"""The statuses of a manifest that was served or redirected."""


class Pulls:
    """Follows answered requests.

    `recent` holds the recently pulled images. A client that repeats the request for a manifest soon after it was
    redirected may have failed at the backend: then `hint` is called with the backend's name. `seconds` returns
    monotonic time.
    """

    def __init__(self, seconds: Callable[[], float], hint: Callable[[str], None]) -> None:
        self.recent = RecentPulls()
        self._seconds = seconds
        self._hint = hint
        self._redirects = RepeatedRequests()

    def follow(self, answered: AnsweredRequest) -> None:
        """Record an answered request; it is a `Subscriber`."""
        decision = answered.decision
        if decision.kind is not Kind.MANIFEST or answered.status not in PULL_STATUSES:
            return
        if decision.outcome not in (Outcome.REDIRECTED, Outcome.SERVED):
            return  # images that clients pull with their own credentials are private, and not recorded
        if not is_digest(decision.reference):
            self.recent.add(decision.repository, decision.reference)
        if decision.outcome is Outcome.REDIRECTED and decision.backend is not None:
            redirect, usual = f"{decision.backend} {answered.path}", answered.client.requests_per_manifest
            if self._redirects.record(answered.address, answered.method, redirect, self._seconds(), usual):
                self._hint(decision.backend)
