"""Requests to one backend, each with the token for its repository.

`AuthorizedClient` returns responses, and raises NotFoundError or FailingError.

Source: Docker's token authentication specification (GET with `service` and `scope`, and Basic if there are
credentials), and RFC 9110 §11 for registries that require Basic only.
"""

import base64
import functools
import re
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from attrs import frozen
from publicsuffixlist import PublicSuffixList
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from facaded.backends.failures import FailingError, NotFoundError, describe_status
from facaded.net import urls
from facaded.net.client import (
    REDIRECTS,
    BoundedClient,
    LocationError,
    Response,
    ResponseHead,
    StreamedResponse,
    TooLargeError,
    describe_error,
)
from facaded.net.expiring import ExpiringMap
from facaded.net.json_objects import read_object
from facaded.net.single_flight import SingleFlight
from facaded.oci import www_authenticate
from facaded.oci.www_authenticate import Challenge
from facaded.policy.health import Quota

BODY_SIZE = 64 << 10
"""Largest response of a token server or to a ping, in bytes: tokens have a few kilobytes."""

DEFAULT_LIFE = 60.0
"""Lifetime in seconds of a token without expires_in (Docker's specification)."""

LONGEST_LIFE = 3600.0
"""Longest time in seconds that a token is used, even if its expires_in is longer."""

MARGIN = 0.2
"""The fraction of a token's lifetime, at its end, in which it is not used: requests take time and clocks differ."""

TOKENS = 1000
"""Tokens cached for one backend; the least recently used are evicted first."""

PUBLIC_TIME = 600.0
"""Seconds for which a repository counts as public after an anonymous request for it succeeded."""

ANSWER_TIME = 4.0
"""Timeout in seconds from the start of a request, including its connection, to the head of its response."""

NO_HEADERS: Mapping[str, str] = {}

T = TypeVar("T")

_RATE = re.compile(r"(\d{1,15})(?:;w=(\d{1,9}))?")


class RealmError(Exception):
    """A challenge has a realm that facaded does not send requests to. The text says why."""


class TokenError(Exception):
    """The token server failed. The text says how."""


class TokenRefusedError(Exception):
    """The token server works, but issues no token for this repository."""


@frozen
class Credentials:
    """facaded's own account at a backend.

    `realm` is a token server outside the backend's domain that may receive it too.
    """

    username: str
    password_file: Path
    realm: str | None = None

    def basic(self) -> str:
        """Return the Authorization value for Basic. Raises TokenError if the password file cannot be read."""
        try:
            with self.password_file.open("rb") as file:
                password = file.read(4096).strip()
        except OSError:
            raise TokenError("facaded cannot read password_file") from None
        return "Basic " + base64.b64encode(self.username.encode() + b":" + password).decode("ascii")


@frozen
class Authorization:
    """The Authorization value for a request, or None. `fresh` is True if it was obtained for this request."""

    value: str | None
    fresh: bool


class Authorizer(Protocol):
    """Chooses the Authorization of each request: `Tokens` or `ClientAuthorization`."""

    async def authorize(self, name: str) -> Authorization:
        """See `Tokens.authorize`."""

    def drop(self, name: str, challenges: tuple[str, ...]) -> None:
        """See `Tokens.drop`."""

    async def challenge(self, name: str | None) -> str | None:
        """See `Tokens.challenge`."""

    def is_anonymous(self, name: str) -> bool:
        """See `Tokens.is_anonymous`."""

    def mark_public(self, name: str) -> None:
        """See `Tokens.mark_public`."""


class Tokens:
    """The tokens of one backend, which are obtained when they are needed and cached.

    `seconds` returns monotonic time. `credentials` are used for a repository only while it is known to be public, or
    always with `publish_private`.
    """

    def __init__(
        self,
        client: BoundedClient,
        seconds: Callable[[], float],
        credentials: Credentials | None = None,
        publish_private: bool = False,
    ) -> None:
        self._client = client
        self._seconds = seconds
        self._credentials = credentials
        self._publish_private = publish_private
        self._challenge: Challenge | None = None
        self._pinged = False
        self._tokens: ExpiringMap[tuple[str, bool], str] = ExpiringMap(TOKENS)
        self._public: ExpiringMap[str, bool] = ExpiringMap(TOKENS)
        self._requests: SingleFlight[object, Authorization] = SingleFlight()

    async def authorize(self, name: str) -> Authorization:
        """Return the Authorization for a read of the backend's repository `name`.

        Raises TokenRefusedError, TokenError or RealmError, or what Twisted raises when there is no connection.
        """
        if not self._pinged:
            await self._requests.get("challenge", self._ping)
        challenge = self._challenge
        if challenge is None:
            return Authorization(None, fresh=False)
        with_account = self._may_use_credentials(name)
        if challenge.scheme != "bearer":
            return Authorization(self._basic_or_none() if with_account else None, fresh=False)
        token = self._tokens.get((name, with_account), self._seconds())
        if token is not None:
            return Authorization(f"Bearer {token}", fresh=False)
        return await self._requests.get(
            (name, with_account), lambda: self._request_with_fallback(challenge, name, with_account)
        )

    async def challenge(self, name: str | None) -> str | None:
        """Return the WWW-Authenticate value that makes a client authenticate to the backend.

        Its scope is a pull of `name`; without a name there is none. Returns None if the backend requires no
        authentication. Raises as `authorize` does.
        """
        if not self._pinged:
            await self._requests.get("challenge", self._ping)
        challenge = self._challenge
        if challenge is None:
            return None
        parameters = {key: challenge.parameters[key] for key in ("realm", "service") if key in challenge.parameters}
        if challenge.scheme == "bearer":
            build_token_url(challenge, self._client.url, None)  # checks the realm
            await self._client.check_target(parameters.get("realm", ""))
            parameters |= {"scope": f"repository:{name}:pull"} if name else {}
        return www_authenticate.write(Challenge(challenge.scheme, parameters))

    def drop(self, name: str, challenges: tuple[str, ...]) -> None:
        """Remove the tokens for `name` after a 401 response with these WWW-Authenticate values.

        The next request obtains a new token from the realm of the new challenge.
        """
        for with_account in (False, True):
            self._tokens.discard((name, with_account))
        self._store_challenge(challenges)

    def mark_public(self, name: str) -> None:
        """Note that an anonymous request for the repository `name` succeeded."""
        self._public.put(name, True, self._seconds() + PUBLIC_TIME)

    def is_anonymous(self, name: str) -> bool:
        """Return whether the next request for `name` is sent without facaded's credentials."""
        return not self._may_use_credentials(name)

    async def _ping(self) -> Authorization:
        response = await self._client.ask("GET", f"{self._client.url}/v2/", headers={}, limit=BODY_SIZE)
        if response.status not in (200, 401):
            raise TokenError(f"GET /v2/: {describe_status(response)}")
        self._pinged = True
        self._store_challenge(response.values("WWW-Authenticate") if response.status == 401 else ())
        return Authorization(None, fresh=True)

    def _store_challenge(self, values: tuple[str, ...]) -> None:
        challenges = [challenge for value in values for challenge in www_authenticate.parse(value)]
        preferred = [challenge for challenge in challenges if challenge.scheme == "bearer"] + challenges
        if preferred:
            self._challenge = preferred[0]

    async def _request_with_fallback(self, bearer: Challenge, name: str, with_account: bool) -> Authorization:
        """Request a token with the account, or anonymously if that is refused: public images need no account."""
        try:
            return await self._request_token(bearer, name, with_account)
        except TokenRefusedError:
            if not with_account:
                raise
            if self._publish_private:
                raise TokenError("the token server rejected facaded's account") from None
            return await self._request_token(bearer, name, with_account=False)

    async def _request_token(self, bearer: Challenge, name: str, with_account: bool) -> Authorization:
        url = build_token_url(bearer, self._client.url, f"repository:{name}:pull")
        headers = {"Accept": "application/json"}
        if with_account and self._credentials and self._may_receive(url):
            headers["Authorization"] = self._credentials.basic()
        response = await self._client.ask("GET", url, headers=headers, limit=BODY_SIZE)
        if response.status in (401, 403):
            raise TokenRefusedError(f"token server: answered {response.status}")
        if response.status != 200:
            raise TokenError(f"token server: {describe_status(response)}")
        token = read_token(response)
        if token is None:
            raise TokenError("token server: no token in the response")
        self._tokens.put((name, with_account), token[0], self._seconds() + token[1] * (1 - MARGIN))
        return Authorization(f"Bearer {token[0]}", fresh=True)

    def _basic_or_none(self) -> str | None:
        return self._credentials.basic() if self._credentials and self._may_receive(self._client.url) else None

    def _may_use_credentials(self, name: str) -> bool:
        if self._credentials is None:
            return False
        return self._publish_private or self._public.get(name, self._seconds()) is not None

    def _may_receive(self, url: str) -> bool:
        """Return whether credentials may be sent to `url`.

        It must be on the backend's host, under its registrable domain, or the realm in the settings.
        """
        realm, backend = urlsplit(url), urlsplit(self._client.url)
        if self._credentials and self._credentials.realm and url.partition("?")[0] == self._credentials.realm:
            return True
        realm_host, backend_host = realm.hostname or "", backend.hostname or ""
        if realm_host == backend_host:
            return True
        if backend_host.replace(".", "").isdigit():
            return False
        suffixes = _load_public_suffixes()
        domain = suffixes.privatesuffix(backend_host)
        return domain is not None and suffixes.privatesuffix(realm_host) == domain


class ClientAuthorization:
    """The Authorization that a client sent. It is forwarded unchanged, and no token is obtained."""

    def __init__(self, value: str | None) -> None:
        self._authorization = Authorization(value, fresh=True)

    async def authorize(self, name: str) -> Authorization:
        return self._authorization

    async def challenge(self, name: str | None) -> str | None:
        return None

    def drop(self, name: str, challenges: tuple[str, ...]) -> None:
        """Nothing to do."""

    def is_anonymous(self, name: str) -> bool:
        return self._authorization.value is None

    def mark_public(self, name: str) -> None:
        """Nothing to do."""


class AuthorizedClient:
    """Sends requests to one backend through `client`, with the Authorization from `authorizer` and a timeout.

    `quota` are the pulls that are left, from the last response; None if the backend does not count pulls. `note_quota`
    is called with their owner, "address" or "account", and each new quota.
    """

    def __init__(
        self,
        client: BoundedClient,
        authorizer: Authorizer,
        clock: IReactorTime,
        note_quota: Callable[[str, Quota], None] = lambda *_: None,
    ) -> None:
        self.quota: Quota | None = None
        self._client = client
        self._authorizer = authorizer
        self._clock = clock
        self._note_quota = note_quota

    def on_behalf_of(self, authorizer: Authorizer) -> "AuthorizedClient":
        """Return a client of the same backend with another Authorization."""
        return AuthorizedClient(self._client, authorizer, self._clock)

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
            authorization = await self._within_time(self._authorizer.authorize(name))
            sent = {**headers, "Authorization": authorization.value} if authorization.value else headers
            response = await self._within_time(self._client.open(method, url, sent))
            self._note(response, name, anonymous)
            if response.status in (200, *REDIRECTS) or ("Range" in headers and response.status in (206, 416)):
                return response
            response.abandon()
            if response.status != 401 or authorization.fresh:
                raise _error_from(response)
            self._authorizer.drop(name, response.values("WWW-Authenticate"))
        raise _error_from(response)

    async def read(self, response: StreamedResponse, limit: int) -> bytes:
        """Read a response's body, at most `limit` bytes."""
        try:
            return await Deferred.fromCoroutine(response.read(limit)).addTimeout(ANSWER_TIME, self._clock)
        except TooLargeError as error:
            raise FailingError(str(error), backend_wide=False) from None
        except Exception as error:
            raise FailingError(describe_error(error), backend_wide=True) from None

    async def open_anonymously(self, url: str, headers: Mapping[str, str] = NO_HEADERS) -> StreamedResponse:
        """Send a GET without a token, and return its response with any status; the body is not read."""
        response = await self._within_time(self._client.open("GET", url, headers))
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

    async def challenge(self, name: str | None) -> str | None:
        """Return the WWW-Authenticate value for a pull of `name`; None if the backend requires no authentication."""
        return await self._within_time(self._authorizer.challenge(name))

    def learn_challenge(self, challenges: tuple[str, ...]) -> None:
        """Store the WWW-Authenticate values of a 401 response."""
        self._authorizer.drop("", challenges)

    async def _within_time(self, work: Coroutine[Deferred[Any], Any, T]) -> T:
        """Run `work` with a timeout, and raise its errors as NotFoundError or FailingError."""
        try:
            return await Deferred.fromCoroutine(work).addTimeout(ANSWER_TIME, self._clock)
        except TokenRefusedError as error:
            raise NotFoundError(str(error)) from None
        except (TokenError, RealmError) as error:
            raise FailingError(str(error), backend_wide=True) from None
        except Exception as error:
            raise FailingError(describe_error(error), backend_wide=True) from None

    def _note(self, response: StreamedResponse, name: str, anonymous: bool) -> None:
        if response.status == 200 and anonymous:
            self._authorizer.mark_public(name)
        if (quota := read_quota(response)) is not None:
            self.quota = quota
            self._note_quota("address" if anonymous else "account", quota)


@functools.cache
def _load_public_suffixes() -> PublicSuffixList:
    """Return the public suffix list. It takes 2 MiB of memory, and is only needed for accounts."""
    return PublicSuffixList()


def build_token_url(bearer: Challenge, registry_url: str, scope: str | None) -> str:
    """Return the URL to request a token for `scope`. The challenge's own scope is ignored: GHCR's is a placeholder.

    The realm must be http or https, and https if the registry's URL is. Raises RealmError if it is not.
    """
    realm = bearer.parameters.get("realm", "")
    try:
        parts = urls.check(realm, secure=registry_url.startswith("https:"))
    except urls.UrlError as error:
        raise RealmError(f"the challenge's realm is {error}") from None
    query = parse_qsl(parts.query, keep_blank_values=True)
    if service := bearer.parameters.get("service"):
        query.append(("service", service))
    if scope:
        query.append(("scope", scope))
    return parts._replace(query=urlencode(query), fragment="").geturl()


def read_token(response: Response) -> tuple[str, float] | None:
    """Return the token of a token server's response and its lifetime in seconds.

    Returns None if there is no token, or one with characters that a header cannot contain.
    """
    document = read_object(response.body)
    if document is None:
        return None
    token = next((document[key] for key in ("token", "access_token") if isinstance(document.get(key), str)), "")
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        return None
    expires_in = document.get("expires_in")
    if not isinstance(expires_in, int) or isinstance(expires_in, bool):
        expires_in = DEFAULT_LIFE
    return token, max(min(float(expires_in), LONGEST_LIFE), 0.0)


def read_quota(head: ResponseHead) -> Quota | None:
    """Return the pulls that are left from Docker Hub's header `ratelimit-remaining: 76;w=21600`; None without it."""
    remaining = _RATE.fullmatch(head.value("RateLimit-Remaining"))
    if not remaining:
        return None
    limit = _RATE.fullmatch(head.value("RateLimit-Limit"))
    return Quota(int(remaining[1]), int(limit[1]) if limit else None, float(remaining[2] or 0))


def _error_from(response: StreamedResponse) -> NotFoundError | FailingError:
    reason = describe_status(response)
    if 400 <= response.status < 500 and response.status not in (408, 429):
        return NotFoundError(reason, response.status, response.values("WWW-Authenticate"))
    return FailingError(reason, backend_wide=response.status == 429)
