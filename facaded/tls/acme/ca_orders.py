"""Orders at one CA: the outcome is its certificate, or the reason why there is none."""

from collections.abc import Callable
from urllib.parse import urlsplit

from OpenSSL import crypto
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger

from facaded.tls.acme.accounts import Accounts
from facaded.tls.acme.managed_certificate import ManagedCertificate
from facaded.tls.acme.orders import OrderRequest, OrderRun
from facaded.tls.acme.problems import AcmeError
from facaded.tls.acme.schedule import OrderFailure, OrderProgress, OrderStage
from facaded.tls.acme.settings import AcmeSettings, CertificateAuthority
from facaded.tls.acme.stages import StageTracker
from facaded.tls.acme.store import AcmeStore, StoreError
from facaded.tls.acme.wire import CaNetwork
from facaded.tls.challenges import OrderChallenges
from facaded.tls.server_certificate import ServerCertificate

ORDER_TIMEOUT = 300.0
"""Seconds for one order at one CA: authorizations take seconds, or a few minutes at an overloaded CA."""


class CaOrders:
    """Orders from one CA at a time, with the accounts in `store`. Failures are values, internal errors included."""

    _log = Logger()

    def __init__(self, network: CaNetwork, store: AcmeStore, challenges: OrderChallenges) -> None:
        self._network = network
        self._store = store
        self._challenges = challenges

    async def obtain(
        self,
        entry: ManagedCertificate,
        before: OrderProgress,
        settings: AcmeSettings,
        ca: CertificateAuthority,
        reached: Callable[[OrderStage], None],
    ) -> ServerCertificate | OrderFailure:
        """Order a certificate from one CA, and return it or the failure. Raises StoreError.

        `before` is the progress before this order; `reached` is as in StageTracker.
        """
        stages = StageTracker(reached)
        try:
            run = self._run(entry, before, settings, ca, stages)
        except (OSError, crypto.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else "no certificate in PEM form"
            message = f"ca_file: {ca.ca_file} cannot be used ({reason}): name a PEM file that facaded can read"
            return OrderFailure(ca.directory, message, OrderStage.REFUSED)
        try:
            return await Deferred.fromCoroutine(run.finish()).addTimeout(ORDER_TIMEOUT, self._network.clock)
        except AcmeError as error:
            stage = stages.current if error.ca_unavailable else stages.current.or_refused
            return OrderFailure(ca.directory, _with_host(ca, settings, str(error)), stage, error.retry_after)
        except (TimeoutError, CancelledError):
            message = _with_host(ca, settings, f"the order did not finish within {ORDER_TIMEOUT:g} s")
            return OrderFailure(ca.directory, message, stages.current)
        except StoreError:
            raise
        except Exception:  # an exception that escaped here would be retried without any limit
            self._log.failure("{names}: internal error while ordering a certificate", names=str(entry))
            message = _with_host(ca, settings, "internal error in facaded: see its log, and report it")
            return OrderFailure(ca.directory, message, stages.current.or_refused)

    def _run(
        self,
        entry: ManagedCertificate,
        before: OrderProgress,
        settings: AcmeSettings,
        ca: CertificateAuthority,
        stages: StageTracker,
    ) -> OrderRun:
        """Return the run of an order. Raises OSError or OpenSSL.crypto.Error if the `ca_file` cannot be used."""
        network, wire = self._network, self._network.wire(ca)
        accounts = Accounts(ca, settings.email, wire, self._store, self._warn)
        replaces = entry.certificate.identifier if entry.certificate and before.ca == ca.directory else None
        request = OrderRequest(entry.names, settings.challenges_from(before.authorized), ca.profile, replaces)
        return OrderRun(request, wire, accounts, self._challenges, network.clock, network.wall, stages)

    def _warn(self, message: str) -> None:
        self._log.warn("{message}", message=message)


def _with_host(ca: CertificateAuthority, settings: AcmeSettings, message: str) -> str:
    """Return the message with the CA's host in front, if there are several CAs and it does not name this one."""
    host = urlsplit(ca.directory).hostname or ""
    return message if len(settings.cas) == 1 or host in message else f"{host}: {message}"
