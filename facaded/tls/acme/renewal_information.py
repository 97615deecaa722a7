"""Renewal information: when a CA suggests renewing a certificate (RFC 9773)."""

from OpenSSL import crypto
from twisted.logger import Logger

from facaded.tls.acme import documents, schedule
from facaded.tls.acme.documents import Suggestion
from facaded.tls.acme.inventory import Inventory
from facaded.tls.acme.managed_certificate import ManagedCertificate
from facaded.tls.acme.problems import AcmeError
from facaded.tls.acme.wire import CaNetwork
from facaded.tls.window import format_time

RETRY_INTERVAL = 3600.0
"""Seconds after which a request that has failed is sent again, at the latest."""


class RenewalInformation:
    """Fetches renewal information for the certificates in the inventory."""

    _log = Logger()

    def __init__(self, inventory: Inventory, network: CaNetwork) -> None:
        self._inventory = inventory
        self._agenda = inventory.agenda
        self._network = network

    async def update(self, entry: ManagedCertificate) -> None:
        """Fetch the suggestion for a certificate from its CA; if that fails, the last one remains valid.

        The answer also shows the CA's clock, by which the certificate is renewed.
        """
        ca = self._inventory.settings.authority(self._agenda.ledgers.issuer(entry.names))
        self._schedule_update(entry, 0.0)
        if ca is None or entry.certificate is None:
            return
        try:
            wire = self._network.wire(ca)
            base = (await wire.directory()).renewal_info
            self._agenda.clocks.note(ca.directory, wire.offset)
            if base is None or entry.certificate.identifier is None:
                entry.suggestion = None
                return
            response = await wire.get(f"{base.rstrip('/')}/{entry.certificate.identifier}")
            suggestion = documents.read_suggestion(documents.parse(response.body))
        except (AcmeError, OSError, crypto.Error) as error:
            self._log.debug("{names}: no renewal information: {reason}", names=str(entry), reason=str(error))
            self._schedule_update(entry, error.retry_after if isinstance(error, AcmeError) else 0.0, RETRY_INTERVAL)
            return
        self._schedule_update(entry, wire.retry_after(response))
        self._record(entry, suggestion)

    def _schedule_update(
        self, entry: ManagedCertificate, retry_after: float, longest: float = schedule.LONGEST_INTERVAL
    ) -> None:
        length = entry.certificate.validity.length if entry.certificate else schedule.LONGEST_INTERVAL
        interval = schedule.information_interval(retry_after, length)
        entry.information_at = self._network.wall() + (interval if retry_after else min(interval, longest))

    def _record(self, entry: ManagedCertificate, suggestion: Suggestion) -> None:
        if suggestion == entry.suggestion:
            return
        entry.suggestion = suggestion
        self._log.info(
            "{names}: the CA suggests a renewal time{reason}: next renewal {renewal}",
            names=str(entry),
            reason=f" ({suggestion.explanation})" if suggestion.explanation else "",
            renewal=format_time(self._inventory.due_at(entry)),
        )
