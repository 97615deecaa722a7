"""Answers to challenges that an operator publishes through the control socket: `facaded check` tests the ports so.

They are separate from those of the daemon's own orders, which come first: a test never disturbs a real order.
"""

import re

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from facaded.tls.acme.settings import ChallengeKind, refusal
from facaded.tls.challenges import Challenges, OrderChallenges
from facaded.tls.server_certificate import UnusableError

ANSWER_TIME = 300.0
"""Seconds after which answers are withdrawn unless more have been published: a killed command cannot do it."""

MOST_ANSWERS = 200
"""The most answers at a time: a certificate has at most a hundred names, and there are two kinds of challenge."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
_KEY_AUTHORIZATION = re.compile(r"[A-Za-z0-9_-]{1,128}\.[A-Za-z0-9_-]{1,128}")


class OperatorAnswers:
    """The answers of an operator, in `challenges`, for ANSWER_TIME after the last one. `clock` times that."""

    def __init__(self, clock: IReactorTime, challenges: Challenges) -> None:
        self.challenges = challenges
        self._clock = clock
        self._published = OrderChallenges(self.challenges)
        self._count = 0
        self._end: IDelayedCall | None = None

    def publish(self, kind: ChallengeKind, name: str, token: str, key_authorization: str) -> None:
        """Answer a challenge. Raises UnusableError if it is malformed, or if there are too many."""
        if not _TOKEN.fullmatch(token) or not _KEY_AUTHORIZATION.fullmatch(key_authorization):
            raise UnusableError("token, key_authorization: expected base64url as in RFC 8555 §8.1")
        if reason := refusal(name):
            raise UnusableError(reason)
        if self._count >= MOST_ANSWERS:
            raise UnusableError(f"more than {MOST_ANSWERS} answers: withdraw them first")
        self._count += 1
        self._published.publish(kind, name, token, key_authorization)
        self._cancel_end()
        self._end = self._clock.callLater(ANSWER_TIME, self.withdraw)

    def withdraw(self) -> None:
        """Withdraw all of them."""
        self._cancel_end()
        self._count = 0
        self._published.withdraw()

    def _cancel_end(self) -> None:
        if self._end is not None and self._end.active():
            self._end.cancel()
        self._end = None
