"""Answers to challenges on the listeners of the settings, for a command while no daemon has them open."""

import time

from twisted.internet.defer import Deferred, succeed
from twisted.web.resource import Resource

from facaded.config.listen_addresses import families
from facaded.config.sections import Config
from facaded.listeners import Listener, Listeners, StartError, addresses
from facaded.net.reactor import IFacadedReactor
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.certificates import Certificates, Readings
from facaded.tls.challenges import Challenges, OrderChallenges
from facaded.tls.plain import PlainPort, PlainPortSettings
from facaded.tls.secure_factory import SecureFactory
from facaded.web.server import BoundedSite, SecureSite

KEYS = {ChallengeKind.HTTP: "listen.http", ChallengeKind.TLS_ALPN: "listen.https"}
"""The key of the listeners on which a CA's challenge of each kind arrives."""


class OwnAnswers:
    """Opens the listeners of the settings, and answers challenges there; everything else is refused.

    Those that cannot be opened are left out: `why_not` says why.
    """

    description = "this command, because no daemon runs"

    def __init__(self, reactor: IFacadedReactor, config: Config) -> None:
        self._reactor = reactor
        self._challenges = Challenges()
        self._published = OrderChallenges(self._challenges)
        self._problems: dict[ChallengeKind, str] = {}
        self._opened: list[Listeners] = []
        for kind in ChallengeKind:
            self._open(kind, config)

    def why_not(self, kind: ChallengeKind) -> str | None:
        """Return why challenges of a kind cannot be answered, None if they can."""
        return self._problems.get(kind)

    async def publish(self, kind: ChallengeKind, name: str, token: str, key_authorization: str) -> None:
        """Answer a challenge."""
        self._published.publish(kind, name, token, key_authorization)

    async def withdraw(self) -> None:
        """Answer none of them any more."""
        self._published.withdraw()

    async def close(self) -> None:
        """Withdraw the answers, and close the listeners."""
        self._published.withdraw()
        for listeners in self._opened:
            await listeners.stopService()

    def _open(self, kind: ChallengeKind, config: Config) -> None:
        key = KEYS[kind]
        listed = [
            (key, endpoint)
            for address_key, address in addresses(config)
            if address_key == key
            for endpoint in address.endpoints(families())
        ]
        try:
            listeners = Listeners(self._reactor, {key: self._listener(kind, config.hosts)}, listed)
            listeners.privilegedStartService()
        except StartError as error:
            remedy = (
                " (root may open it, and so may the daemon: start it first)" if "not permitted" in str(error) else ""
            )
            self._problems[kind] = f"{error}{remedy}"
            return
        self._opened.append(listeners)

    def _listener(self, kind: ChallengeKind, hosts: tuple[str, ...]) -> Listener:
        plain = PlainPort(self._challenges, PlainPortSettings(redirects=True), Resource())  # redirects to no host
        if kind is ChallengeKind.HTTP:
            site = BoundedSite(plain, self._reactor)
            return Listener(site, site)
        secure = SecureSite(plain, self._reactor)
        certificates = Certificates(self._challenges, self._reactor, time.time, _read_nothing, (), hosts)
        return Listener(secure, SecureFactory(secure, certificates, self._reactor))


def _read_nothing(_: object) -> Deferred[Readings]:
    return succeed(())
