"""Failures of backends: exceptions, and the texts that describe a response's status."""

from facaded.net.client import ResponseHead
from facaded.policy.failover import spell

NOT_FOUND_STATUSES = (401, 403, 404)
"""Statuses of a registry that does not have the requested content, or does not give it to this client."""


class NotFoundError(Exception):
    """The backend works but does not give the content: it has none, denies access, or refuses the request (4xx).

    `status` is the response's status, `challenges` its WWW-Authenticate values.
    """

    def __init__(self, reason: str, status: int = 404, challenges: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.challenges = challenges


class FailingError(Exception):
    """The backend failed. `backend_wide` is True if the failure affects all its repositories."""

    def __init__(self, reason: str, backend_wide: bool) -> None:
        super().__init__(reason)
        self.backend_wide = backend_wide


class NoRedirectError(FailingError):
    """The backend serves a blob itself. `public_url` is the blob's URL there if it needs no token."""

    def __init__(self, public_url: str | None) -> None:
        super().__init__("serves blobs itself instead of redirecting", backend_wide=False)
        self.public_url = public_url


class NoListError(FailingError):
    """The backend answered a request for a list with a redirect to a web page: it does not support that list.

    GHCR does so for referrers (artifacthub/hub issue 4785).
    """


class RealmError(Exception):
    """A challenge has a realm that facaded does not send requests to. The text says why."""


class TokenError(Exception):
    """The token server failed. The text says how."""


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
    if head.status != 429:
        return f"answered {head.status}"
    retry_after = head.retry_after()
    return f"rate-limited (429), retry in {spell(retry_after)}" if retry_after else "rate-limited (429)"
