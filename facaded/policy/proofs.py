"""Proofs: what a backend has answered lately, on which a redirect relies.

A redirect's success cannot be seen from here, so it needs proofs that its target works: one for each step of a pull.
Pure; times are monotonic seconds.
"""

from enum import Enum

from facaded.oci.requests import Blob, Ping, Read
from facaded.policy.health import Step

LONGEST_WAIT = 1.0
"""The longest that a request waits for a check, in seconds, and a check is waited for: then the request is served."""

CHECK_PAUSE = 1.0
"""Minimum seconds from the start of a check of a backend to the start of the next."""


class Need(Enum):
    """What a redirect needs: proofs of these steps.

    The client itself follows the redirect of a blob, with the token that it has by then.
    """

    PULL = (Step.PING, Step.TOKEN, Step.MANIFEST)
    BLOB = (Step.BLOB, Step.CDN)

    def __init__(self, *steps: Step) -> None:
        self.steps = steps


def need_of(request: Ping | Read) -> Need:
    """Return what the redirect of a request needs."""
    return Need.BLOB if isinstance(request, Blob) else Need.PULL
