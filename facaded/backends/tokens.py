"""Requests to one backend, each with the token that its repository needs.

What comes back to `AuthorizedClient`'s users is a response, NotThereError or FailingError.

Source: Docker's token authentication specification (GET with `service` and `scope`, Basic if there are
credentials), and RFC 9110 §11 for registries that want Basic alone.
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

from facaded.backends.failures import FailingError, NotThereError
from facaded.net import urls
from facaded.net.client import (
    REDIRECTS,
    BoundedClient,
    LocationError,
    Response,
    ResponseHead,
    StreamedResponse,
    TooLargeError,
    reason,
)
from facaded.net.expiring import ExpiringMap
from facaded.net.json_objects import read_object
from facaded.net.single_flight import SingleFlight
from facaded.oci import www_authenticate
from facaded.oci.www_authenticate import Challenge
from facaded.policy.health import Quota

BODY_SIZE = 64 << 10
"""Bytes read of a token server's answer, or of a ping's: tokens have a few kilobytes."""

DEFAULT_LIFE = 60.0
"""Seconds that a token lives whose server does not say (Docker's specification)."""

LONGEST_LIFE = 3600.0
"""Seconds that a token is kept, whatever its server says."""

MARGIN = 0.2
"""The part of a token's life in which it is no longer used, for a request's time and a clock's error."""

TOKENS = 1000
"""Tokens that are kept of one backend; the least recently used goes first."""

PUBLIC_TIME = 600.0
"""Seconds for which a repository that answered an anonymous request is known to be public."""

ANSWER_TIME = 4.0
"""Seconds from the beginning of a request to the head of its answer, the connection's making included."""

NO_HEADERS: Mapping[str, str] = {}

T = TypeVar("T")

_RATE = re.compile(r"(\d{1,15})(?:;w=(\d{1,9}))?")


class RealmError(Exception):
    """A challenge leads nowhere that a token may be asked for. The text says why."""


class TokenError(Exception):
    """The token server does not work. The text says how."""


class TokenRefusedError(Exception):
    """The token server works, and gives no token for this repository."""


@frozen
class Credentials:
    """The facade's own account at a backend, and the realm it may be sent to besides the backend's own domain."""

    username: str
    password_file: Path
    realm: str | None = None

    def basic(self) -> str:
        """An Authorization value. Raises TokenError if the password cannot be read."""
        try:
            with self.password_file.open("rb") as file:
                password = file.read(4096).strip()
        except OSError:
            raise TokenError("facaded cannot read its password") from None
        return "Basic " + base64.b64encode(self.username.encode() + b":" + password).decode("ascii")


@frozen
class Authorization:
    """What to send for a repository: an Authorization value or nothing; `fresh` if it was got for this request."""

    value: str | None
    fresh: bool


class Authorizer(Protocol):
    """What says which Authorization a request has: `Tokens`, or `ClientAuthorization`."""

    async def authorize(self, name: str) -> Authorization:
        """See `Tokens.authorize`."""

    def drop(self, name: str, challenged: tuple[str, ...]) -> None:
        """See `Tokens.drop`."""

    async def challenge(self, name: str | None) -> str | None:
        """See `Tokens.challenge`."""

    def is_anonymous(self, name: str) -> bool:
        """See `Tokens.is_anonymous`."""

    def is_public(self, name: str) -> None:
        """See `Tokens.is_public`."""


class Tokens:
    """The tokens of one backend. `seconds` gives monotonic time.

    With `credentials`, they are used for a repository only while it is known to be public, unless `publish_private`.
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
        self._challenged = False
        self._tokens: ExpiringMap[tuple[str, bool], str] = ExpiringMap(TOKENS)
        self._public: ExpiringMap[str, bool] = ExpiringMap(TOKENS)
        self._asking: SingleFlight[object, Authorization] = SingleFlight()

    async def authorize(self, name: str) -> Authorization:
        """What to send with a read of the backend's repository `name`.

        Raises TokenRefusedError, TokenError or RealmError, or what Twisted raises when there is no connection.
        """
        if not self._challenged:
            await self._asking.get("challenge", self._ping)
        found = self._challenge
        if found is None:
            return Authorization(None, fresh=False)
        own = self._may_use_credentials(name)
        if found.scheme != "bearer":
            value = (
                self._credentials.basic() if self._credentials and own and self._may_receive(self._client.url) else None
            )
            return Authorization(value, fresh=False)
        kept = self._tokens.get((name, own), self._seconds())
        if kept is not None:
            return Authorization(f"Bearer {kept}", fresh=False)
        return await self._asking.get((name, own), lambda: self._ask_as_may_be(found, name, own))

    async def challenge(self, name: str | None) -> str | None:
        """The WWW-Authenticate value that tells a client of the facade to authenticate as the backend wants it.

        The scope is that of a pull of `name`, or none. None if the backend wants no authentication. Raises as
        `authorize` does.
        """
        if not self._challenged:
            await self._asking.get("challenge", self._ping)
        found = self._challenge
        if found is None:
            return None
        known = {key: found.parameters[key] for key in ("realm", "service") if key in found.parameters}
        if found.scheme == "bearer":
            token_url(found, self._client.url, None)
            await self._client.check_target(known.get("realm", ""))
            known |= {"scope": f"repository:{name}:pull"} if name else {}
        return www_authenticate.write(Challenge(found.scheme, known))

    def drop(self, name: str, challenged: tuple[str, ...]) -> None:
        """A token was refused with these WWW-Authenticate values.

        The next request gets a new one, by the new challenge.
        """
        for own in (False, True):
            self._tokens.discard((name, own))
        self._adopt(challenged)

    def is_public(self, name: str) -> None:
        """An anonymous request for the repository `name` was answered well."""
        self._public.put(name, True, self._seconds() + PUBLIC_TIME)

    def is_anonymous(self, name: str) -> bool:
        """Whether the next request for `name` goes without the facade's credentials."""
        return not self._may_use_credentials(name)

    async def _ping(self) -> Authorization:
        answer = await self._client.ask("GET", f"{self._client.url}/v2/", headers={}, limit=BODY_SIZE)
        if answer.status not in (200, 401):
            raise TokenError(f"GET /v2/ answered {answer.status}")
        self._challenged = True
        self._adopt(answer.values("WWW-Authenticate") if answer.status == 401 else ())
        return Authorization(None, fresh=True)

    def _adopt(self, challenged: tuple[str, ...]) -> None:
        challenges = [each for value in challenged for each in www_authenticate.parse(value)]
        preferred = [each for each in challenges if each.scheme == "bearer"] + challenges
        if preferred:
            self._challenge = preferred[0]

    async def _ask_as_may_be(self, bearer: Challenge, name: str, own: bool) -> Authorization:
        """Ask with the account, and if it is refused anonymously: what anybody may pull needs no account."""
        try:
            return await self._ask(bearer, name, own)
        except TokenRefusedError:
            if not own:
                raise
            if self._publish_private:
                raise TokenError("the token server refuses facaded's account") from None
            return await self._ask(bearer, name, own=False)

    async def _ask(self, bearer: Challenge, name: str, own: bool) -> Authorization:
        url = token_url(bearer, self._client.url, f"repository:{name}:pull")
        headers = {"Accept": "application/json"}
        if own and self._credentials and self._may_receive(url):
            headers["Authorization"] = self._credentials.basic()
        answer = await self._client.ask("GET", url, headers=headers, limit=BODY_SIZE)
        if answer.status in (401, 403):
            raise TokenRefusedError(f"the token server answered {answer.status}")
        if answer.status != 200:
            raise TokenError(f"token server: answered {answer.status}")
        token = read_token(answer)
        if token is None:
            raise TokenError("token server: 200 without a token")
        self._tokens.put((name, own), token[0], self._seconds() + token[1] * (1 - MARGIN))
        return Authorization(f"Bearer {token[0]}", fresh=True)

    def _may_use_credentials(self, name: str) -> bool:
        if self._credentials is None:
            return False
        return self._publish_private or self._public.get(name, self._seconds()) is not None

    def _may_receive(self, url: str) -> bool:
        """Credentials go to the backend's host, under its registrable domain, or to the realm that the settings
        name.
        """
        realm, backend = urlsplit(url), urlsplit(self._client.url)
        if self._credentials and self._credentials.realm and url.partition("?")[0] == self._credentials.realm:
            return True
        theirs, ours = realm.hostname or "", backend.hostname or ""
        if theirs == ours:
            return True
        suffixes = _public_suffixes()
        domain = suffixes.privatesuffix(ours)
        return domain is not None and not ours.replace(".", "").isdigit() and suffixes.privatesuffix(theirs) == domain


class ClientAuthorization:
    """The Authorization that a client has sent: it is forwarded as it is, and no other is asked for."""

    def __init__(self, value: str | None) -> None:
        self._authorization = Authorization(value, fresh=True)

    async def authorize(self, name: str) -> Authorization:
        return self._authorization

    async def challenge(self, name: str | None) -> str | None:
        return None

    def drop(self, name: str, challenged: tuple[str, ...]) -> None:
        """Nothing is kept."""

    def is_anonymous(self, name: str) -> bool:
        return self._authorization.value is None

    def is_public(self, name: str) -> None:
        """Nothing is kept."""


class AuthorizedClient:
    """Asks one backend through `client`, with what `authorizer` says; `clock` bounds the time.

    `quota` is how many pulls are left, as the backend said last; None if it does not count them. `note_quota` is called
    with that and with whose they are, "address" or "account".
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
        """The same backend, asked with another Authorization."""
        return AuthorizedClient(self._client, authorizer, self._clock)

    def url(self, path: str) -> str:
        """The backend's URL of a path."""
        return f"{self._client.url}{path}"

    async def fetch(
        self, method: str, url: str, name: str, headers: Mapping[str, str] = NO_HEADERS
    ) -> StreamedResponse:
        """Ask for something of the backend's repository `name`, and once more with a new token if that is refused.

        Returns a response with 200 or a redirect; where `headers` have a Range, also 206 or 416. Its body is unread.
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
                raise _problem(response)
            self._authorizer.drop(name, response.values("WWW-Authenticate"))
        raise _problem(response)

    async def read(self, response: StreamedResponse, limit: int) -> bytes:
        """A response's body, `limit` bytes at most."""
        try:
            return await Deferred.fromCoroutine(response.read(limit)).addTimeout(ANSWER_TIME, self._clock)
        except TooLargeError as error:
            raise FailingError(str(error), backend_wide=False) from None
        except Exception as error:
            raise FailingError(reason(error), backend_wide=True) from None

    async def open_anonymously(self, url: str, headers: Mapping[str, str] = NO_HEADERS) -> StreamedResponse:
        """A GET without a token, and its response whatever its status; the body is not read."""
        response = await self._within_time(self._client.open("GET", url, headers))
        response.abandon()
        return response

    async def follow(self, base: str, location: str) -> tuple[str, bool]:
        """Where a Location that `base` answered leads a client, and whether that is on the backend's own host."""
        try:
            url = self._client.location(base, location)
        except LocationError as error:
            raise FailingError(str(error), backend_wide=False) from None
        own = self._client.is_own(url)
        if not own:
            await self._within_time(self._client.check_target(url))
        return url, own

    async def challenge(self, name: str | None) -> str | None:
        """How the backend wants a pull of `name` authenticated; None if it does not."""
        return await self._within_time(self._authorizer.challenge(name))

    def learn(self, challenged: tuple[str, ...]) -> None:
        """The backend has answered 401 with these WWW-Authenticate values."""
        self._authorizer.drop("", challenged)

    async def _within_time(self, work: Coroutine[Deferred[Any], Any, T]) -> T:
        """Bound the time of some work, and sort what can go wrong with it."""
        try:
            return await Deferred.fromCoroutine(work).addTimeout(ANSWER_TIME, self._clock)
        except TokenRefusedError as error:
            raise NotThereError(str(error)) from None
        except (TokenError, RealmError) as error:
            raise FailingError(str(error), backend_wide=True) from None
        except Exception as error:
            raise FailingError(reason(error), backend_wide=True) from None

    def _note(self, response: StreamedResponse, name: str, anonymous: bool) -> None:
        if response.status == 200 and anonymous:
            self._authorizer.is_public(name)
        if (quota := read_quota(response)) is not None:
            self.quota = quota
            self._note_quota("address" if anonymous else "account", quota)


@functools.cache
def _public_suffixes() -> PublicSuffixList:
    """The public suffix list. It takes 2 MiB, and is needed for accounts alone."""
    return PublicSuffixList()


def token_url(bearer: Challenge, registry_url: str, scope: str | None) -> str:
    """Where to ask for a token of `scope`; the challenge's own scope is never used again: GHCR puts a placeholder
    there.

    A realm is http or https, and https if the registry is. Raises RealmError if there is no such realm.
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


def read_token(answer: Response) -> tuple[str, float] | None:
    """The token of a token server's answer, and its life in seconds; None if there is none that a header can carry."""
    grant = read_object(answer.body)
    if grant is None:
        return None
    token = next((grant[key] for key in ("token", "access_token") if isinstance(grant.get(key), str)), "")
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        return None
    life = grant.get("expires_in")
    seconds = float(life) if isinstance(life, int) and not isinstance(life, bool) else DEFAULT_LIFE
    return token, max(min(seconds, LONGEST_LIFE), 0.0)


def read_quota(head: ResponseHead) -> Quota | None:
    """The pulls that are left, as Docker Hub says it: `ratelimit-remaining: 76;w=21600`. None if it does not say."""
    remaining = _RATE.fullmatch(head.value("RateLimit-Remaining"))
    if not remaining:
        return None
    limit = _RATE.fullmatch(head.value("RateLimit-Limit"))
    return Quota(int(remaining[1]), int(limit[1]) if limit else None, float(remaining[2] or 0))


def _problem(response: StreamedResponse) -> NotThereError | FailingError:
    if 400 <= response.status < 500 and response.status not in (408, 429):
        return NotThereError(f"answered {response.status}", response.status, response.values("WWW-Authenticate"))
    return FailingError(f"answered {response.status}", backend_wide=response.status == 429)
