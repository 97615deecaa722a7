"""Tokens for the facade's own requests: of each backend, for each of its repositories.

Source: Docker's token authentication specification (GET with `service` and `scope`, Basic if there are
credentials), and RFC 9110 §11 for registries that want Basic alone.
"""

import base64
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from attrs import frozen
from publicsuffixlist import PublicSuffixList

from facaded.net import urls
from facaded.net.client import BoundedClient, Response
from facaded.net.expiring import ExpiringMap
from facaded.net.json_objects import read_object
from facaded.net.single_flight import SingleFlight
from facaded.oci import challenge
from facaded.oci.challenge import Challenge

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

_SUFFIXES = PublicSuffixList()


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


class Tokens:
    """The tokens of one backend. `seconds` gives monotonic time.

    With `credentials`, they are used for a repository only while it is known to be public, unless `publish_private`.
    """

    def __init__(
        self,
        registry: BoundedClient,
        seconds: Callable[[], float],
        credentials: Credentials | None = None,
        publish_private: bool = False,
    ) -> None:
        self._registry = registry
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
                self._credentials.basic()
                if self._credentials and own and self._may_receive(self._registry.url)
                else None
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
            token_url(found, self._registry.url, None)
            await self._registry.check_name(urlsplit(known.get("realm", "")).hostname or "")
            known |= {"scope": f"repository:{name}:pull"} if name else {}
        return challenge.write(Challenge(found.scheme, known))

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
        answer = await self._registry.ask("GET", f"{self._registry.url}/v2/", headers={}, limit=BODY_SIZE)
        if answer.status not in (200, 401):
            raise TokenError(f"GET /v2/ answered {answer.status}")
        self._challenged = True
        self._adopt(answer.values("WWW-Authenticate") if answer.status == 401 else ())
        return Authorization(None, fresh=True)

    def _adopt(self, challenged: tuple[str, ...]) -> None:
        challenges = [each for value in challenged for each in challenge.parse(value)]
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
        url = token_url(bearer, self._registry.url, f"repository:{name}:pull")
        headers = {"Accept": "application/json"}
        if own and self._credentials and self._may_receive(url):
            headers["Authorization"] = self._credentials.basic()
        answer = await self._registry.ask("GET", url, headers=headers, limit=BODY_SIZE)
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
        realm, backend = urlsplit(url), urlsplit(self._registry.url)
        if self._credentials and self._credentials.realm and url.partition("?")[0] == self._credentials.realm:
            return True
        theirs, ours = realm.hostname or "", backend.hostname or ""
        if theirs == ours:
            return True
        domain = _SUFFIXES.privatesuffix(ours)
        return domain is not None and not ours.replace(".", "").isdigit() and _SUFFIXES.privatesuffix(theirs) == domain


class Given:
    """The Authorization that a client has brought: it is forwarded as it is, and no other is asked for."""

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
