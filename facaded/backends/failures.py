"""How a backend can fail to give what it is asked for."""


class NotThereError(Exception):
    """The backend works, and does not have what was asked, or not for this client, or refuses the request as it is.

    `status` is its answer's, `challenged` its WWW-Authenticate values.
    """

    def __init__(self, said: str, status: int = 404, challenged: tuple[str, ...] = ()) -> None:
        super().__init__(said)
        self.status = status
        self.challenged = challenged


class FailingError(Exception):
    """The backend failed. `backend_wide` if the failure concerns all its repositories, not only the one asked for."""

    def __init__(self, said: str, backend_wide: bool) -> None:
        super().__init__(said)
        self.backend_wide = backend_wide


NOT_THERE = (401, 403, 404)
"""Statuses with which a registry answers for what it does not have, or not for this client."""


class NoRedirectError(FailingError):
    """The backend hands out a blob's bytes itself. `public_url` is where it gives them to anybody, if it does."""

    def __init__(self, public_url: str | None) -> None:
        super().__init__("hands out blobs itself", backend_wide=False)
        self.public_url = public_url


class NoListError(FailingError):
    """The backend answers a list with a redirect to a page for people: it has no such list.

    GHCR does so for referrers (artifacthub/hub issue 4785).
    """
