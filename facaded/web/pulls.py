"""What answered requests tell of pulls: which images were pulled recently, and which clients came back."""

from collections.abc import Callable

from facaded.oci.requests import is_digest
from facaded.policy.recent_pulls import RecentPulls
from facaded.policy.repeated_requests import RepeatedRequests
from facaded.web.answered import Answered, Kind, Outcome

PULL_STATUSES = (200, 304, 307)
"""Of a manifest that was served, or whose client was sent to a backend."""


class Pulls:
    """Follows answered requests.

    A client that comes back for a manifest it was just redirected to has perhaps not got it there: then `hint` is
    called with the backend's name. `seconds` gives monotonic time, `recent` keeps the images that were pulled.
    """

    def __init__(self, seconds: Callable[[], float], hint: Callable[[str], None]) -> None:
        self.recent = RecentPulls()
        self._seconds = seconds
        self._hint = hint
        self._hints = RepeatedRequests()

    def follow(self, answered: Answered) -> None:
        """Take note of an answered request."""
        decision = answered.decision
        if decision.kind is not Kind.MANIFEST or answered.status not in PULL_STATUSES:
            return
        if decision.outcome not in (Outcome.REDIRECTED, Outcome.SERVED):
            return  # what clients read with credentials of their own is nobody's business
        if not is_digest(decision.reference):
            self.recent.add(decision.repository, decision.reference)
        if decision.outcome is Outcome.REDIRECTED and decision.backend is not None:
            what, usual = f"{decision.backend} {answered.path}", answered.client.requests_per_manifest
            if self._hints.record(answered.address, answered.method, what, self._seconds(), usual):
                self._hint(decision.backend)
