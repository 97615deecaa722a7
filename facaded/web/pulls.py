"""Pulls, as answered requests show them: recently pulled images, and redirects that may have failed."""

from collections.abc import Callable

from facaded.oci.requests import is_digest
from facaded.policy.recent_pulls import RecentPulls
from facaded.policy.repeated_requests import RETRY_PAUSE, RepeatedRequests
from facaded.web.answered_requests import AnsweredRequest, Kind, Outcome

PULL_STATUSES = (200, 304, 307)
"""The statuses of a manifest that was served or redirected."""

REDIRECT_STATUS = 307
"""The status of a redirect: to a backend, or to where a backend redirects requests for a blob."""


class Pulls:
    """Follows answered requests.

    `recent` holds the recently pulled images. A client that repeats the request for a manifest or a blob soon after it
    was redirected may have failed at the backend or its CDN: then `hint` is called with the backend's name. `seconds`
    returns monotonic time.
    """

    def __init__(self, seconds: Callable[[], float], hint: Callable[[str], None]) -> None:
        self.recent = RecentPulls()
        self._seconds = seconds
        self._hint = hint
        self._redirects = RepeatedRequests()

    def follow(self, answered: AnsweredRequest) -> None:
        """Record an answered request; it is a `Subscriber`."""
        if answered.decision.kind is Kind.MANIFEST:
            self._follow_manifest(answered)
        elif answered.decision.kind is Kind.BLOB:
            self._follow_blob(answered)

    def _follow_manifest(self, answered: AnsweredRequest) -> None:
        decision = answered.decision
        if answered.status not in PULL_STATUSES or decision.outcome not in (Outcome.REDIRECTED, Outcome.SERVED):
            return  # images that clients pull with their own credentials are private, and not recorded
        if not is_digest(decision.reference):
            self.recent.add(decision.repository, decision.reference)
        if decision.outcome is Outcome.REDIRECTED and decision.backend is not None:
            redirect, usual = f"{decision.backend} {answered.path}", answered.client.requests_per_manifest
            if self._redirects.record(answered.address, answered.method, redirect, self._seconds(), usual):
                self._hint(decision.backend)

    def _follow_blob(self, answered: AnsweredRequest) -> None:
        """Give a hint for a blob that a client asks for again from the same byte on.

        Other parts of the same blob are parallel requests, as of containerd since 2.1, or resume a download, as Docker
        does.
        """
        backend = answered.decision.backend
        if answered.status != REDIRECT_STATUS or backend is None or answered.first_byte is None:
            return
        redirect = f"{backend} {answered.path} {answered.first_byte}"
        if self._redirects.record(answered.address, answered.method, redirect, self._seconds(), pause=RETRY_PAUSE):
            self._hint(backend)
