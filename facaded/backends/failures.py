"""Failures of backends: exceptions, and the texts that describe a response's status."""

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectingCancelledError

from facaded.net.client import ResponseHead, causes
from facaded.policy.health import LONGEST_RETRY_AFTER, Step
from facaded.policy.reasons import spell

NOT_FOUND_STATUSES = (401, 403, 404)
"""Statuses of a registry that does not have the requested content, or does not give it to this client."""

RATE_LIMITED = 429

RESTING = "rate-limited, waiting for its Retry-After"
"""Why a backend was not asked."""


class NotFoundError(Exception):
    """The backend works but does not give the content: it has none, denies access, or refuses the request (4xx).

    `status` is the response's status, `challenges` its WWW-Authenticate values.
    """

    def __init__(self, reason: str, status: int = 404, challenges: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.challenges = challenges


class FailingError(Exception):
    """The backend failed. `backend_wide` is True if the failure affects all its repositories.

    `step` is the step of a pull that failed, None if it is the one that the caller took. `status` is the response's
    status, 0 without a response, and `retry_after` its Retry-After in seconds, at most LONGEST_RETRY_AFTER.
    """

    def __init__(
        self, reason: str, backend_wide: bool, step: Step | None = None, status: int = 0, retry_after: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.backend_wide = backend_wide
        self.step = step
        self.status = status
        self.retry_after = min(retry_after, LONGEST_RETRY_AFTER)

    @property
    def limited(self) -> bool:
        """Whether the backend limits the rate of this machine."""
        return self.status == RATE_LIMITED


class UnaskedError(FailingError):
    """The backend was not asked: this machine could not, or has too many requests in progress.

    It says nothing of the backend's health.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason, backend_wide=False)


class CircuitOpenError(UnaskedError):
    """The backend was not asked, because `open_step` fails and another request is trying whether it still does."""

    def __init__(self, open_step: Step) -> None:
        super().__init__(f"failing ({open_step.value}), so it gets one request at a time")
        self.open_step = open_step


class CrowdedError(UnaskedError):
    """The backend was not asked, because too many requests to it are in progress or wait.

    `source` is the one that has its share of them; empty if there is no room for anybody.
    """

    def __init__(self, reason: str, source: str = "") -> None:
        super().__init__(reason)
        self.source = source


class ReservedError(UnaskedError):
    """The backend was not asked, because its last pulls are kept for other sources than `source`, which had its share.

    `retry_after` is the number of seconds after which the source may ask again.
    """

    def __init__(self, reason: str, source: str, retry_after: float) -> None:
        super().__init__(reason)
        self.source = source
        self.retry_after = retry_after


class OverRateError(Exception):
    """No backend is asked, because the client's source sends too many requests; see `ReservedError.retry_after`."""

    def __init__(self, reason: str, retry_after: float) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class TokenError(Exception):
    """The token server failed, or the ping that names it. The text says how.

    `step` is the one of the two that failed; for `status` and `retry_after` see FailingError.
    """

    def __init__(self, reason: str, step: Step = Step.TOKEN, status: int = 0, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.step = step
        self.status = status
        self.retry_after = retry_after


class NoRedirectError(FailingError):
    """The backend serves a blob itself. `public_url` is the blob's URL there if it needs no token."""

    def __init__(self, public_url: str | None) -> None:
        super().__init__("serves blobs itself instead of redirecting", backend_wide=False)
        self.public_url = public_url


class NoListError(FailingError):
    """The backend answered a request for a list with a redirect to a web page.

    It may do so for any repository and says nothing of other requests, so it makes the backend suspect of nothing.
    """


class RealmError(Exception):
    """A challenge has a realm that facaded does not send requests to. The text says why."""


class PasswordFileError(TokenError):
    """The password file of facaded's account cannot be read."""


class TokenRefusedError(Exception):
    """The token server works, but issues no token for this repository: it answered `status`, 401 or 403."""

    def __init__(self, status: int) -> None:
        super().__init__(f"token server: answered {status}")
        self.status = status


class AccountRefusedError(TokenRefusedError):
    """The token server refused a request that carried facaded's own account."""


def describe_status(head: ResponseHead) -> str:
    """Describe the status of a failed request: `answered 503`, or `rate-limited (429), retry in 30 s`."""
    if head.status != RATE_LIMITED:
        return f"answered {head.status}"
    retry_after = head.retry_after()
    return f"rate-limited (429), retry in {spell(retry_after)}" if retry_after else "rate-limited (429)"


def is_cancelled(error: BaseException) -> bool:
    """Return whether a request was cancelled, as when a client disconnects. Timeouts must be told apart before."""
    return isinstance(error, CancelledError | ConnectingCancelledError) or any(
        reason.check(CancelledError) for reason in causes(error)
    )
