"""What a backend requires for authentication, remembered for minutes.

A registry can name a wrong token server for a moment, or move it. What one response said therefore expires, and
`GET /v2/` is sent again when the token server that it named fails.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred

from facaded.backends.failures import TokenError, describe_status
from facaded.net.client import BoundedClient
from facaded.net.expiring import ExpiringMap
from facaded.net.json_objects import is_json
from facaded.net.single_flight import SingleFlight
from facaded.oci import www_authenticate
from facaded.oci.www_authenticate import Challenge
from facaded.policy.health import Step

BODY_SIZE = 64 << 10
"""Largest response of a token server or to a ping, in bytes: tokens have a few kilobytes."""

CHALLENGE_TIME = 300.0
"""Seconds for which a challenge is used without another ping."""

REFUSED_PING = 10.0
"""Least seconds between two pings because a token server refuses: GHCR refuses every package that is missing.

Also the time for which a challenge of a response other than the ping is used, and the least time between pings for an
expired challenge.
"""

FAILED_PING = 1.0
"""Least seconds between two pings because a token server fails."""

HANGING = 1.0
"""Seconds after which a request counts as hanging if it is cancelled: other requests do not wait for it any more."""

MOST_HEADERS = 10
"""WWW-Authenticate headers of one response that are read: registries send one or two."""

REALMS = 16
"""Token servers of one backend for which the time of the last ping is remembered."""

Server = tuple[str, str, str]
"""Scheme, realm and service of a challenge, which say where tokens come from; all empty for an open registry."""


@frozen(eq=False)
class Remembered:
    """A challenge, None if the backend requires no authentication, and the monotonic time at which it expires.

    `hanging` is True if its token server did not answer in time.
    """

    challenge: Challenge | None
    until: float
    hanging: bool = False

    @property
    def server(self) -> Server:
        """Where the tokens come from."""
        if self.challenge is None:
            return ("", "", "")
        parameters = self.challenge.parameters
        return self.challenge.scheme, parameters.get("realm", ""), parameters.get("service", "")


class ChallengeMemory:
    """Remembers one backend's challenge, and pings the backend when it has to. `seconds` returns monotonic time."""

    def __init__(self, client: BoundedClient, seconds: Callable[[], float]) -> None:
        self._client = client
        self._seconds = seconds
        self._current: Remembered | None = None
        self._pinged_for: ExpiringMap[Server, float] = ExpiringMap(REALMS)
        self._pings: SingleFlight[object, Remembered] = SingleFlight()
        self._flight = object()

    async def current(self) -> Remembered:
        """Return the present challenge, after a ping if none is known or it has expired.

        An expired challenge is used further if the ping fails. Raises TokenError, or what Twisted raises when there is
        no connection, if none is known.
        """
        if self._current is None:
            return await self._share(self._send_ping)
        if self._seconds() < self._current.until:
            return self._current
        return await self._ping_if_due(self._current, FAILED_PING if self._current.hanging else REFUSED_PING)

    async def renew(self, failed: Remembered, refused: bool) -> Remembered:
        """Return the challenge to use after the token server of `failed` refused or otherwise failed.

        It is the same one if a ping confirms it or fails, or if there was a ping for that reason a short time ago.
        """
        if self._current is not None and self._current.server != failed.server:
            return self._current
        return await self._ping_if_due(failed, REFUSED_PING if refused else FAILED_PING)

    def distrust(self, remembered: Remembered) -> None:
        """Note that the token server hangs: the next request begins with a ping."""
        if remembered is self._current:
            self._current = Remembered(remembered.challenge, self._seconds(), hanging=True)

    def learn(self, values: tuple[str, ...]) -> None:
        """Note the WWW-Authenticate values of a 401 response."""
        challenge = choose_challenge(values)
        if challenge is None:
            return
        learned = Remembered(challenge, self._seconds() + REFUSED_PING)
        if self._current is None or self._current.server != learned.server:
            self._current = learned

    async def _ping_if_due(self, failed: Remembered, interval: float) -> Remembered:
        """Ping unless that was done for the same token server less than `interval` seconds ago."""

        async def ping_once() -> Remembered:
            now = self._seconds()
            pinged_at = self._pinged_for.get(failed.server, now)
            if pinged_at is not None and now - pinged_at < interval:
                return self._current or failed
            self._pinged_for.put(failed.server, now, now + REFUSED_PING)
            return await self._send_ping()

        try:
            return await self._share(ping_once)
        except CancelledError:
            raise
        except Exception:
            return self._current or failed

    async def _share(self, work: Callable[[], Coroutine[Deferred[Any], Any, Remembered]]) -> Remembered:
        """Run `work`, or wait for a run in progress that does not hang."""
        flight, began = self._flight, self._seconds()
        try:
            return await self._pings.get(flight, work)
        except CancelledError:
            if flight is self._flight and self._seconds() - began >= HANGING:
                self._flight = object()
            raise

    async def _send_ping(self) -> Remembered:
        response = await self._client.ask("GET", f"{self._client.url}/v2/", headers={}, limit=BODY_SIZE)
        if response.status not in (200, 401):
            raise TokenError(f"GET /v2/: {describe_status(response)}", Step.PING, response.status)
        challenge: Challenge | None = None
        if response.status == 401:
            known = self._current.challenge if self._current else None
            challenge = choose_challenge(response.values("WWW-Authenticate")) or known
        elif response.body.strip() and not is_json(response.body):
            raise TokenError("GET /v2/: not a registry's answer", Step.PING)
        now = self._seconds()
        self._current = Remembered(challenge, now + CHALLENGE_TIME)
        self._pinged_for.put(self._current.server, now, now + REFUSED_PING)
        return self._current


def choose_challenge(values: tuple[str, ...]) -> Challenge | None:
    """Return the challenge to answer: the first for Bearer, otherwise the first. None if there is none.

    `values` are those of the WWW-Authenticate headers of a response.
    """
    challenges = [challenge for value in values[:MOST_HEADERS] for challenge in www_authenticate.parse(value)]
    bearers = [challenge for challenge in challenges if challenge.scheme == "bearer"]
    return next(iter(bearers + challenges), None)
