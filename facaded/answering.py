"""The parts that answer clients, in the first process and in a worker alike."""

from collections.abc import Sequence

from attrs import frozen

from facaded import answering_parts
from facaded.backends.backend_watch import BackendWatch
from facaded.backends.seen_hosts import NoteHost
from facaded.backends.shares import Shares
from facaded.config.sections import Config
from facaded.listeners import Listener
from facaded.net.reactor import IFacadedReactor
from facaded.policy.asked_again import AskedAgain
from facaded.tls.certificates import Certificates
from facaded.tls.challenges import Challenges
from facaded.tls.plain import PlainPort
from facaded.tls.secure_factory import SecureFactory
from facaded.web.admission import Admission
from facaded.web.answered_requests import Subscriber
from facaded.web.facade import Facade
from facaded.web.pulls import Pulls
from facaded.web.returning_clients import ReturningClients
from facaded.web.server import BoundedSite, SecureSite
from facaded.web.unsent_bytes import UnsentBytes


@frozen
class Answering:
    """The parts that answer clients."""

    shares: Shares
    facade: Facade
    plain: PlainPort
    pulls: Pulls
    asked_again: AskedAgain
    admission: Admission
    unsent: UnsentBytes

    @classmethod
    def begin(
        cls,
        config: Config,
        reactor: IFacadedReactor,
        watch: BackendWatch,
        challenges: Challenges,
        note_host: NoteHost,
    ) -> "Answering":
        """Assemble them for these settings. Raises as `connections.trust_policy` does."""
        shares = Shares(reactor, config.limits, watch.quotas, watch.reached_limits)
        returning = ReturningClients(reactor.seconds, watch.probe_soon)
        fetcher = answering_parts.make_fetcher(reactor, config, watch, shares, note_host)
        watch.measurements.cache = fetcher.cache
        facade = Facade(watch, config.rules, fetcher, returning)
        answering_parts.share_challenges(config, challenges)
        plain = PlainPort(challenges, answering_parts.make_plain_port_settings(config), facade)
        admission = Admission(reactor, watch.reached_limits, answering_parts.make_admission_settings(config))
        unsent = UnsentBytes(config.limits, watch.reached_limits)
        return cls(
            shares, facade, plain, Pulls(is_counting=config.history.days > 0), returning.table, admission, unsent
        )

    def listeners(
        self, reactor: IFacadedReactor, subscribers: Sequence[Subscriber], certificates: Certificates | None
    ) -> dict[str, Listener]:
        """Return the listener of each key of [listen] for clients; `certificates` is None without [tls]."""
        plain = BoundedSite(self.plain, reactor, subscribers, self.admission, self.unsent)
        listeners = {"listen.http": Listener(plain, plain)}
        if certificates is not None:
            secure = SecureSite(self.facade, reactor, subscribers, self.admission, self.unsent)
            listeners["listen.https"] = Listener(secure, SecureFactory(secure, certificates, reactor))
        return listeners
