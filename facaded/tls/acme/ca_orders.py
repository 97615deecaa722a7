"""Orders at one CA each: its certificate, or why there is none."""

from collections.abc import Callable
from urllib.parse import urlsplit

from OpenSSL import crypto
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger

from facaded.tls.acme.accounts import Accounts
from facaded.tls.acme.held_certificate import HeldCertificate
from facaded.tls.acme.orders import Ordering, OrderRequest
from facaded.tls.acme.problems import AcmeError
from facaded.tls.acme.schedule import Failure, OrderProgress, Stage
from facaded.tls.acme.settings import AcmeSettings, CertificateAuthority
from facaded.tls.acme.stages import OrderStages
from facaded.tls.acme.store import AcmeStore, StoreError
from facaded.tls.acme.wire import CaNetwork
from facaded.tls.challenges import OrderChallenges
from facaded.tls.server_certificate import ServerCertificate

ORDER_TIME = 300.0
"""Seconds for one order at one CA: authorizations take seconds, and a CA that is overloaded a few minutes."""


class CaOrders:
    """Orders at single CAs, with the accounts of `store`. A failure is a value, and so is an error of our own."""

    _log = Logger()

    def __init__(self, network: CaNetwork, store: AcmeStore, challenges: OrderChallenges) -> None:
        self._network = network
        self._store = store
        self._challenges = challenges

    async def ask(
        self,
        held: HeldCertificate,
        before: OrderProgress,
        settings: AcmeSettings,
        ca: CertificateAuthority,
        reached: Callable[[Stage], None],
    ) -> ServerCertificate | Failure:
        """Return what one CA gives. `before` and `reached` are as in Ordering. Raises StoreError."""
        stages = OrderStages(reached)
        try:
            ordering = self._ordering(held, before, settings, ca, stages)
        except (OSError, crypto.Error) as error:
            why = error.strerror if isinstance(error, OSError) else "no certificate in PEM form"
            return Failure(ca.directory, f"ca_file: {ca.ca_file} cannot be used ({why})", Stage.REFUSED)
        try:
            return await Deferred.fromCoroutine(ordering.run()).addTimeout(ORDER_TIME, self._network.clock)
        except AcmeError as error:
            stage = stages.now if error.ill else stages.now.or_refused
            return Failure(ca.directory, _of(ca, settings, str(error)), stage, error.retry_after)
        except (TimeoutError, CancelledError):
            return Failure(ca.directory, _of(ca, settings, f"no end within {ORDER_TIME:g} s"), stages.now)
        except StoreError:
            raise
        except Exception:  # or it would be tried again and again beyond all limits
            self._log.failure("{names}: this should not happen", names=str(held))
            words = _of(ca, settings, "an error of facaded's own: see its log, and report it")
            return Failure(ca.directory, words, stages.now.or_refused)

    def _ordering(
        self,
        held: HeldCertificate,
        before: OrderProgress,
        settings: AcmeSettings,
        ca: CertificateAuthority,
        stages: OrderStages,
    ) -> Ordering:
        """Raises OSError or OpenSSL.crypto.Error if the CA's `ca_file` cannot be used."""
        network, wire = self._network, self._network.wire(ca)
        accounts = Accounts(ca, settings.email, wire, self._store, self._warn)
        replaces = held.certificate.identifier if held.certificate and before.ca == ca.directory else None
        request = OrderRequest(held.names, settings.challenges_from(before.authorized), ca.profile, replaces)
        return Ordering(request, wire, accounts, self._challenges, network.clock, network.wall, stages)

    def _warn(self, words: str) -> None:
        self._log.warn("{words}", words=words)


def _of(ca: CertificateAuthority, settings: AcmeSettings, words: str) -> str:
    """Where there are several CAs, a sentence says which one it is about."""
    host = urlsplit(ca.directory).hostname or ""
    return words if len(settings.cas) == 1 or host in words else f"{host}: {words}"
