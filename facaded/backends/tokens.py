"""Requests to one backend, each with the token for its repository.

`AuthorizedClient` returns responses, and raises NotFoundError or FailingError.

Source: Docker's token authentication specification (GET with `service` and `scope`, and Basic if there are
credentials), and RFC 9110 §11 for registries that require Basic only.
"""

import base64
import functools
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from attrs import frozen
from publicsuffixlist import PublicSuffixList

from facaded.backends.failures import TokenError, describe_status
from facaded.net import urls
from facaded.net.client import (
    BoundedClient,
    Response,
)
from facaded.net.expiring import ExpiringMap
from facaded.net.json_objects import read_object
from facaded.net.single_flight import SingleFlight
from facaded.oci import www_authenticate
from facaded.oci.www_authenticate import Challenge

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


class RealmError(Exception):
    """A challenge has a realm that facaded does not send requests to. The text says why."""


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
