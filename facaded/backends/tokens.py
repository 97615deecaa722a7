"""Requests to one backend, each with the token for its repository.

`AuthorizedClient` returns responses, and raises NotFoundError or FailingError.

Source: Docker's token authentication specification (GET with `service` and `scope`, and Basic if there are
credentials), and RFC 9110 §11 for registries that require Basic only.
"""

from collections.abc import Callable
from contextlib import suppress
from urllib.parse import parse_qsl, urlencode

from attrs import frozen
from twisted.internet.defer import CancelledError

from facaded.backends.challenge_memory import BODY_SIZE, HANGING, ChallengeMemory, Remembered, choose_challenge
from facaded.backends.failures import (
    AccountRefusedError,
    PasswordFileError,
    RealmError,
    TokenError,
    TokenRefusedError,
    UnaskedError,
    describe_status,
    is_cancelled,
)
from facaded.backends.measurements import TokenResult
from facaded.backends.own_account import Credentials, NoteAccount, OwnAccount
from facaded.net import urls
from facaded.net.client import BoundedClient, Response, is_local_error
from facaded.net.expiring import ExpiringMap
from facaded.net.json_objects import read_object
from facaded.net.private_addresses import PrivateAddressError
from facaded.net.single_flight import SingleFlight
from facaded.oci import www_authenticate
from facaded.oci.www_authenticate import Challenge

DEFAULT_LIFE = 60.0
"""Lifetime in seconds of a token without expires_in (Docker's specification)."""

LONGEST_LIFE = 3600.0
"""Longest time in seconds that a token is used, even if its expires_in is longer."""

MARGIN = 0.2
"""The fraction of a token's lifetime, at its end, in which it is not used: requests take time and clocks differ."""

TOKENS = 1000
"""Tokens cached for one backend; the least recently used are evicted first."""


@frozen
class Authorization:
    """The Authorization value for a request, or None. `fresh` is True if it was obtained for this request."""

    value: str | None
    fresh: bool


class Tokens:
    """The tokens of one backend, which are obtained when they are needed and cached.

    `seconds` returns monotonic time. `credentials` are used for a repository only while it is known to be public, or
    always with `publish_private`. `note_account` is called with news of that account, `note_result` with what came of
    each request to a token server.
    """

    def __init__(
        self,
        client: BoundedClient,
        seconds: Callable[[], float],
        credentials: Credentials | None = None,
        publish_private: bool = False,
        note_account: NoteAccount = lambda *_: None,
        note_result: Callable[[TokenResult], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._note_result = note_result
        self._seconds = seconds
        self._account = OwnAccount(client.url, seconds, credentials, publish_private, note_account)
        self._challenges = ChallengeMemory(client, seconds)
        self._tokens: ExpiringMap[tuple[str, bool], str] = ExpiringMap(TOKENS)
        self._requests: SingleFlight[object, Authorization] = SingleFlight()

    async def authorize(self, name: str) -> Authorization:
        """Return the Authorization for a read of the backend's repository `name`.

        Raises TokenRefusedError, TokenError or RealmError, or what Twisted raises when there is no connection.
        """
        with_account = self._uses_account(name)
        if (cached := self._cached(name, with_account)) is not None:
            return cached
        remembered, began = await self._challenges.current(), self._seconds()
        if self._account.publish_private and self._account.is_refused_for(name):
            raise _rejected_by(remembered)
        if _token_server(remembered) is None:
            return self._without_token(remembered, with_account)
        try:
            return await self._requests.get(
                (remembered, name, with_account), lambda: self._obtain(remembered, name, with_account)
            )
        except CancelledError:
            if self._seconds() - began >= HANGING:
                self._challenges.distrust(remembered)
            raise

    async def challenge(self, name: str | None, refusal: tuple[str, ...] = ()) -> str | None:
        """Return the WWW-Authenticate value that makes a client authenticate to the backend.

        Its scope is a pull of `name`; without a name there is none. `refusal` are the WWW-Authenticate values of a 401
        response to this client: its challenge counts for this client alone, because registries answer a wrong
        Authorization with another challenge, as Harbor does with Basic. Returns None if the backend requires no
        authentication. Raises as `authorize` does.
        """
        refused = choose_challenge(refusal)
        if refused is not None:
            with suppress(RealmError, PrivateAddressError, ValueError):
                return await self._write_challenge(refused, name)
        challenge = (await self._challenges.current()).challenge
        return None if challenge is None else await self._write_challenge(challenge, name)

    async def _write_challenge(self, challenge: Challenge, name: str | None) -> str:
        """Return the value for clients. Raises RealmError or PrivateAddressError if it names an unsafe realm.

        Raises ValueError if a parameter has a control character.
        """
        parameters = {key: challenge.parameters[key] for key in ("realm", "service") if key in challenge.parameters}
        if challenge.scheme == "bearer":
            build_token_url(challenge, self._client.url, None)  # checks the realm
            await self._client.check_target(parameters.get("realm", ""))
            parameters |= {"scope": f"repository:{name}:pull"} if name else {}
        return www_authenticate.write(Challenge(challenge.scheme, parameters))

    def drop(self, name: str, challenges: tuple[str, ...], sent: str | None = None) -> None:
        """Remove the tokens for `name` after a 401 response with these WWW-Authenticate values.

        `sent` is the Authorization of the request. The next request obtains a new token from the realm of the new
        challenge. A response to an Authorization may name another realm, but not another scheme: Harbor answers any
        refused one with Basic, while it requires Bearer.
        """
        if sent is not None and sent.startswith("Basic "):
            self._account.mark_refused(name, 401, by="the registry")
        for with_account in (False, True):
            self._tokens.discard((name, with_account))
        refused = choose_challenge(challenges)
        if sent is None or (refused is not None and refused.scheme == "bearer"):
            self._challenges.learn(challenges)

    def mark_public(self, name: str) -> None:
        """Note that an anonymous request for the repository `name` succeeded."""
        self._account.mark_public(name)

    def is_anonymous(self, name: str) -> bool:
        """Return whether the next request for `name` is sent without facaded's credentials."""
        return not self._uses_account(name)

    def _uses_account(self, name: str) -> bool:
        if not self._account.is_meant_for(name):
            return False
        return not self._account.is_refused_for(name) or self._cached(name, with_account=True) is not None

    def _cached(self, name: str, with_account: bool) -> Authorization | None:
        token = self._tokens.get((name, with_account), self._seconds())
        return None if token is None else Authorization(f"Bearer {token}", fresh=False)

    def _without_token(self, remembered: Remembered, with_account: bool) -> Authorization:
        """Return the Authorization at a registry without a token server: Basic, or none."""
        basic = self._account.basic(self._client.url) if with_account and remembered.challenge else None
        return Authorization(basic, fresh=False)

    async def _obtain(self, remembered: Remembered, name: str, with_account: bool) -> Authorization:
        """Request a token. If its server refuses or fails, ask the backend if it is still the right one."""
        try:
            return await self._request_token(remembered, name, with_account)
        except (CancelledError, PasswordFileError, UnaskedError):
            raise
        except Exception as error:
            if is_cancelled(error):
                raise
            renewed = await self._challenges.renew(remembered, refused=isinstance(error, TokenRefusedError))
            if renewed.server == remembered.server:
                return await self._do_without_account(error, renewed, name, with_account)
        try:
            return await self._request_token(renewed, name, with_account)
        except TokenRefusedError as error:
            return await self._do_without_account(error, renewed, name, with_account)

    async def _do_without_account(
        self, error: Exception, remembered: Remembered, name: str, with_account: bool
    ) -> Authorization:
        """Return an anonymous token if `error` is a refusal of the account, because public images need none.

        Otherwise, raises the error.
        """
        if not with_account or not isinstance(error, TokenRefusedError):
            raise error
        if isinstance(error, AccountRefusedError):
            self._account.mark_refused(name, error.status)
        if self._account.publish_private:
            raise _rejected_by(remembered)
        return self._cached(name, with_account=False) or await self._request_token(remembered, name, False)

    async def _request_token(self, remembered: Remembered, name: str, with_account: bool) -> Authorization:
        bearer = _token_server(remembered)
        if bearer is None:
            return self._without_token(remembered, with_account)
        result: TokenResult | None = TokenResult.FAILED
        began = self._seconds()
        try:
            authorization = await self._ask_token_server(bearer, name, with_account)
            result = TokenResult.GRANTED
            return authorization
        except TokenRefusedError:
            result = TokenResult.REFUSED
            raise
        except Exception as error:
            was_ended_here = is_cancelled(error) or is_local_error(error)
            if isinstance(error, PasswordFileError | UnaskedError) or was_ended_here:
                result = TokenResult.FAILED if self._seconds() - began >= HANGING else None
            raise
        finally:
            if result is not None:
                self._note_result(result)

    async def _ask_token_server(self, bearer: Challenge, name: str, with_account: bool) -> Authorization:
        url = build_token_url(bearer, self._client.url, f"repository:{name}:pull")
        headers, basic = {"Accept": "application/json"}, self._account.basic(url) if with_account else None
        if basic is not None:
            self._account.begin_trial()
            headers["Authorization"] = basic
        response = await self._client.ask("GET", url, headers=headers, limit=BODY_SIZE)
        if response.status in (401, 403):
            error = TokenRefusedError if basic is None else AccountRefusedError
            raise error(response.status)
        if response.status != 200:
            raise TokenError(f"token server: {describe_status(response)}")
        token = read_token(response)
        if token is None:
            raise TokenError("token server: no token in the response")
        if basic is not None:
            self._account.mark_accepted(name)
        self._tokens.put((name, with_account), token[0], self._seconds() + token[1] * (1 - MARGIN))
        return Authorization(f"Bearer {token[0]}", fresh=True)


def _token_server(remembered: Remembered) -> Challenge | None:
    """Return the challenge for Bearer, whose realm is a token server; None for any other."""
    challenge = remembered.challenge
    return challenge if challenge is not None and challenge.scheme == "bearer" else None


def _rejected_by(remembered: Remembered) -> TokenError:
    """Return the failure of a backend whose images need the account."""
    server = "the registry" if _token_server(remembered) is None else "the token server"
    return TokenError(f"{server} rejected facaded's account")


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
    return token, float(max(min(expires_in, LONGEST_LIFE), 0.0))
