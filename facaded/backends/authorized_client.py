"""Requests to one backend, with an Authorization and within a time.

`AuthorizedClient` returns responses, and raises NotFoundError or FailingError.
"""

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NoReturn, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from facaded.backends.failures import (
    FailingError,
    NotFoundError,
    RealmError,
    TokenError,
    TokenRefusedError,
    UnaskedError,
    describe_status,
    is_cancelled,
)
from facaded.backends.request_gate import RequestGate
from facaded.backends.tokens import Authorization
from facaded.net.client import (
    REDIRECTS,
    BoundedClient,
    LocationError,
    ResponseHead,
    StreamedResponse,
    TooLargeError,
    describe_error,
    is_local_error,
)
from facaded.policy.health import Quota, Step

ANSWER_TIME = 4.0
"""Timeout in seconds from the start of a request, including its connection, to the head of its response."""

NO_HEADERS: Mapping[str, str] = {}

T = TypeVar("T")

_RATE = re.compile(r"(\d{1,15})(?:;w=(\d{1,9}))?")


class Authorizer(Protocol):
    """Chooses the Authorization of each request: `Tokens` or `ClientAuthorization`."""

    async def authorize(self, name: str) -> Authorization:
        """See `Tokens.authorize`."""

    def drop(self, name: str, challenges: tuple[str, ...], sent: str | None = None) -> None:
        """See `Tokens.drop`."""

    async def challenge(self, name: str | None, refusal: tuple[str, ...] = ()) -> str | None:
        """See `Tokens.challenge`."""

    def is_anonymous(self, name: str) -> bool:
        """See `Tokens.is_anonymous`."""

    def mark_public(self, name: str) -> None:
        """See `Tokens.mark_public`."""


class ClientAuthorization:
    """The Authorization that a client sent. It is forwarded unchanged, and no token is obtained."""

    def __init__(self, value: str | None) -> None:
        self._authorization = Authorization(value, fresh=True)

    async def authorize(self, name: str) -> Authorization:
        return self._authorization

    async def challenge(self, name: str | None, refusal: tuple[str, ...] = ()) -> str | None:
        return None

    def drop(self, name: str, challenges: tuple[str, ...], sent: str | None = None) -> None:
        """Nothing to do."""

    def is_anonymous(self, name: str) -> bool:
        return self._authorization.value is None

    def mark_public(self, name: str) -> None:
        """Nothing to do."""


class AuthorizedClient:
    """Sends requests to one backend through `client`, with the Authorization from `authorizer` and a timeout.

    `quota` are the pulls that are left, from the last response; None if the backend does not count pulls. `note_quota`
    is called with their owner, "address" or "account", and each new quota. `gate` bounds the requests, for all clients
    of this backend; it is also that of the authorizer's requests.
    """

    def __init__(
        self,
        client: BoundedClient,
        authorizer: Authorizer,
        clock: IReactorTime,
        note_quota: Callable[[str, Quota], None] = lambda *_: None,
        gate: RequestGate | None = None,
    ) -> None:
        self.gate = gate or RequestGate()
        self.quota: Quota | None = None
        self._client = client
        self._authorizer = authorizer
        self._clock = clock
        self._note_quota = note_quota

    def on_behalf_of(self, authorizer: Authorizer) -> "AuthorizedClient":
        """Return a client of the same backend with another Authorization."""
        return AuthorizedClient(self._client, authorizer, self._clock, gate=self.gate)

    def owner(self, name: str) -> str:
        """Return whose quota the next request for `name` uses: "address" or "account"."""
        return "address" if self._authorizer.is_anonymous(name) else "account"

    def url(self, path: str) -> str:
        """Return the backend's URL for a path."""
        return f"{self._client.url}{path}"

    async def fetch(
        self, method: str, url: str, name: str, headers: Mapping[str, str] = NO_HEADERS
    ) -> StreamedResponse:
        """Send a request for the backend's repository `name`, and repeat it with a new token after a 401.

        Returns a response with an unread body and the status 200 or a redirect's; if `headers` has a Range, also 206 or
        416.
        """
        for _ in range(2):
            anonymous = self._authorizer.is_anonymous(name)
            authorization = await self._run_authorizer(self._authorizer.authorize(name))
            sent = {**headers, "Authorization": authorization.value} if authorization.value else headers
            response = await self._within_time(self._client.open(method, url, sent))
            self._note(response, name, anonymous)
            if response.status in (200, *REDIRECTS) or ("Range" in headers and response.status in (206, 416)):
                return response
            response.abandon()
            if response.status != 401 or authorization.fresh:
                raise _error_from(response)
            self._authorizer.drop(name, response.values("WWW-Authenticate"), authorization.value)
        raise _error_from(response)

    async def read(self, response: StreamedResponse, limit: int) -> bytes:
        """Read a response's body, at most `limit` bytes."""
        try:
            return await Deferred.fromCoroutine(response.read(limit)).addTimeout(ANSWER_TIME, self._clock, _time_out)
        except TooLargeError as error:
            raise FailingError(str(error), backend_wide=False) from None
        except Exception as error:
            raise _failure(error) from None

    async def open_anonymously(
        self, url: str, headers: Mapping[str, str] = NO_HEADERS, on_new_connection: bool = False
    ) -> StreamedResponse:
        """Send a GET without a token, and return its response with any status; the body is not read."""
        client = self._client.on_new_connections() if on_new_connection else self._client
        response = await self._within_time(client.open("GET", url, headers))
        response.abandon()
        return response

    async def follow(self, base: str, location: str) -> tuple[str, bool]:
        """Return the URL of a Location in a response from `base`, and whether it is on the backend's own host."""
        try:
            url = self._client.location(base, location)
        except LocationError as error:
            raise FailingError(str(error), backend_wide=False) from None
        own = self._client.is_own(url)
        if not own:
            await self._within_time(self._client.check_target(url))
        return url, own

    async def challenge(self, name: str | None, refusal: tuple[str, ...] = ()) -> str | None:
        """Return the WWW-Authenticate value for a pull of `name`; None if the backend requires no authentication.

        `refusal` are the values of a 401 response to the client's own Authorization; see `Tokens.challenge`.
        """
        return await self._run_authorizer(self._authorizer.challenge(name, refusal))

    def learn_challenge(self, challenges: tuple[str, ...]) -> None:
        """Store the WWW-Authenticate values of a 401 response to a request without an Authorization."""
        self._authorizer.drop("", challenges)

    async def _run_authorizer(self, work: Coroutine[Deferred[Any], Any, T]) -> T:
        """Run the authorizer's `work` with a timeout, and raise its errors as NotFoundError or FailingError."""
        try:
            return await Deferred.fromCoroutine(work).addTimeout(ANSWER_TIME, self._clock, _time_out)
        except TokenRefusedError as error:
            raise NotFoundError(str(error), error.status) from None
        except TokenError as error:
            raise FailingError(str(error), True, error.step, error.status, error.retry_after) from None
        except TimeoutError:
            self.gate.note_timeout(self.gate.token_step, self.gate.token_subject)
            raise FailingError("timeout", True, self.gate.token_step) from None
        except RealmError as error:
            raise FailingError(str(error), True, Step.TOKEN) from None
        except Exception as error:
            raise _failure(error) from None

    async def _within_time(self, work: Coroutine[Deferred[Any], Any, T]) -> T:
        """Run `work` with a timeout, and raise its errors as FailingError."""
        try:
            return await Deferred.fromCoroutine(work).addTimeout(ANSWER_TIME, self._clock, _time_out)
        except Exception as error:
            raise _failure(error) from None

    def _note(self, response: StreamedResponse, name: str, anonymous: bool) -> None:
        if response.status == 200 and anonymous:
            self._authorizer.mark_public(name)
        if (quota := read_quota(response)) is not None:
            self.quota = quota
            self._note_quota("address" if anonymous else "account", quota)


def read_quota(head: ResponseHead) -> Quota | None:
    """Return the pulls that are left from Docker Hub's header `ratelimit-remaining: 76;w=21600`; None without it."""
    remaining = _RATE.fullmatch(head.value("RateLimit-Remaining"))
    if not remaining:
        return None
    limit = _RATE.fullmatch(head.value("RateLimit-Limit"))
    return Quota(int(remaining[1]), int(limit[1]) if limit else None, float(remaining[2] or 0))


def _time_out(outcome: object, seconds: float) -> NoReturn:
    """Tell a timeout apart from a client that disconnects, which cancels the request too."""
    raise TimeoutError(seconds, "timeout")


def _failure(error: Exception) -> FailingError | CancelledError:
    """Return the failure of a request that got no complete response."""
    if is_cancelled(error):
        return CancelledError()
    if isinstance(error, UnaskedError):
        return error
    if is_local_error(error):
        return UnaskedError(f"this machine could not send the request: {describe_error(error)}")
    return FailingError(describe_error(error), backend_wide=True)


def _error_from(response: StreamedResponse) -> NotFoundError | FailingError:
    reason, status = describe_status(response), response.status
    if 400 <= status < 500 and status not in (408, 429):
        return NotFoundError(reason, status, response.values("WWW-Authenticate"))
    return FailingError(reason, backend_wide=status == 429, status=status, retry_after=response.retry_after())
