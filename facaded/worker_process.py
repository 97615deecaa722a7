"""A worker: it answers clients with what the first process tells it, and reports what it finds."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NoReturn

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger, globalLogPublisher

from facaded import answering_parts
from facaded.answering import Answering
from facaded.config.loading import Loaded, SettingsText, load_again
from facaded.config.sections import Backend, Config
from facaded.config.settings_error import SettingsError
from facaded.listeners import Listeners, StartError
from facaded.net.accept_pauses import AcceptPauses
from facaded.net.batched_reactor import batched
from facaded.net.late_client import import_client
from facaded.net.passed_sockets import PassedSockets, duplicate
from facaded.net.reactor import IFacadedReactor
from facaded.net.shared_listening import SharedListening
from facaded.policy.decision import Mode
from facaded.policy.limits import Limit
from facaded.policy.plan import WatchedBackend
from facaded.tls.certificates import Certificates
from facaded.tls.challenges import Challenges
from facaded.tls.server_certificate import ServerCertificate
from facaded.web.accesslog import AccessLog, AccessOutput
from facaded.web.answer_batches import AnswerBatches
from facaded.workers import shared_askings, shared_challenges
from facaded.workers.codec import MalformedError, SentCertificate, from_message
from facaded.workers.counted_work import CountedWork
from facaded.workers.division import divide
from facaded.workers.followed_watch import FollowedWatch
from facaded.workers.knowledge import Knowledge
from facaded.workers.knowledge_body import KIND
from facaded.workers.launch import Launch
from facaded.workers.link import Link
from facaded.workers.process_channel import Message
from facaded.workers.shared_askings import SharedAskings
from facaded.workers.stand_ins import StandIns
from facaded.workers.work_report import REPORT

REPORT_INTERVAL = 0.2
"""Seconds between two reports of what was counted."""

LAST_CHECKS, LAST_CHECK_TIME = 100, 0.01
"""How often a worker that ends looks whether its last report is sent, and the seconds in between."""


class WorkerProcess(Service):
    """Connects to the first process, and answers clients from its first settings on. `end` ends the process."""

    _log = Logger()

    def __init__(
        self,
        reactor: IFacadedReactor,
        launch: Launch,
        environ: Mapping[str, str],
        output: AccessOutput,
        end: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._environ = environ
        self._output = output
        self._end = end
        self._launch = launch
        self._shared = SharedListening(batched(reactor), launch.number, launch.count, launch.sockets)
        self._link = Link(reactor, self._describe, environ, self._take, self._change)
        self._operator_challenges = Challenges()
        self._challenges = Challenges(self._operator_challenges)
        self._obtained: dict[tuple[str, ...], ServerCertificate] = {}
        self._generation = 0
        self._serving: ServingWorker | None = None

    def startService(self) -> None:
        Service.startService(self)
        self._link.startService()

    def stopService(self) -> Deferred[None]:
        """Answer the requests in flight, then end the link."""
        Service.stopService(self)
        self._link.begin_stop()
        return Deferred.fromCoroutine(self._end_all())

    async def _end_all(self) -> None:
        if self._serving is not None:
            await self._serving.stop()
        self._link.stopService()
        for _ in range(LAST_CHECKS):  # the last report is sent in later turns of the reactor
            if not self._link.is_reachable:
                break
            await deferLater(self._reactor, LAST_CHECK_TIME)

    def _describe(self) -> Launch:
        return evolve(self._launch, sockets=self._shared.descriptors)

    def _change(self, is_reachable: bool) -> None:
        if self._serving is None or not self.running:
            return
        if is_reachable:
            self._serving.meet_first()
        else:
            self._serving.watch.lose()

    def _take(self, message: Message) -> None:
        """Take a message of the first process. One that cannot be used ends this worker, for which another comes."""
        try:
            self._apply(message)
        except (MalformedError, SettingsError, StartError) as error:
            self._log.error("this worker ends: {kind}: {error}", kind=message["kind"], error=str(error))
            self._end()

    def _apply(self, message: Message) -> None:
        serving = self._serving
        match message["kind"]:
            case "settings":
                self._take_settings(message)
            case "view" if serving is not None and message.get("generation") == self._generation:
                serving.watch.take_view(message)
            case "proofs" if serving is not None:
                serving.watch.take_proofs(message)
            case "checked" if serving is not None:
                serving.watch.take_checked(message)
            case "certificates":
                sent = from_message(message.get("certificates"), tuple[SentCertificate, ...])
                self._obtained = {one.names: one.certificate for one in sent}
                if serving is not None:
                    serving.serve_obtained(self._obtained)
            case "knowledge" if serving is not None:
                serving.learn(message)
            case shared_askings.KIND if serving is not None:
                serving.askings.receive(message)
            case "files" if serving is not None:
                serving.check_files()
            case shared_challenges.CHALLENGE:
                _take_challenge(message, self._challenges)
            case shared_challenges.OPERATOR_CHALLENGE:
                _take_challenge(message, self._operator_challenges)
            case "stop" if self.running:
                self._end()
            case "hurry" if serving is not None:
                serving.end_delay()

    def _take_settings(self, message: Message) -> None:
        text = from_message(message.get("settings"), SettingsText)
        loaded = load_again(text, self._environ, self._reactor)
        loaded = evolve(loaded, config=divide(loaded.config, self._launch.count))
        self._generation = int(message.get("generation", 0))
        if self._serving is None:
            self._serving = ServingWorker(
                self._reactor, loaded, self._challenges, self._output, self._link, self._obtained
            )
            self._serving.watch.take_view(message)
            self._serving.listen(self._shared, self._launch)
        else:
            self._serving.reload(loaded, message)
        self._link.send("listening")


class ServingWorker:
    """The parts of a worker that answer clients, by settings that the first process sends over `link`."""

    def __init__(
        self,
        reactor: IFacadedReactor,
        loaded: Loaded,
        challenges: Challenges,
        output: AccessOutput,
        link: Link,
        obtained: Mapping[tuple[str, ...], ServerCertificate],
    ) -> None:
        config = loaded.config
        if config.rules.mode is Mode.SERVE:
            import_client()
        self._reactor = reactor
        self._config = config
        self._link = link
        self.counted = CountedWork(reactor)
        self.counted.pulls.is_counting = config.history.days > 0
        plan = answering_parts.make_plan(config, config.rules, partial(make_followed, config))
        self.watch = FollowedWatch(reactor, plan, link.send, self.counted)
        self._answering = Answering.begin(config, reactor, self.watch, challenges, self.counted.hosts.note)
        self._knowledge = Knowledge(reactor, self._tell)
        self.askings = SharedAskings(reactor, self._answering.asked_again, partial(link.send, shared_askings.KIND))
        self._follow_backends(config)
        self._certificates = _make_certificates(config, reactor, challenges)
        self.serve_obtained(obtained)
        access_log = AccessLog(output.add_lines)
        self._prepare_log = answering_parts.prepare_log(output, access_log, self.watch.reached_limits)
        self._prepare_log(loaded)()
        subscribers = (access_log.follow, self.counted.pulls.follow, self.counted.requests.note)
        self._answers = AnswerBatches(reactor, subscribers, [self.counted.pulls.count])
        output.let_precede(self._answers.flush)
        self._output = output
        self._listeners: Listeners | None = None
        note = partial(self.watch.reached_limits.note, Limit.DESCRIPTORS)
        self._pauses = AcceptPauses(reactor, globalLogPublisher, note)
        self._reporting = LoopingCall(self.report)
        self._reporting.clock = reactor

    def listen(self, shared: SharedListening, launch: Launch) -> None:
        """Listen on the shared sockets. Raises StartError."""
        passed = PassedSockets(duplicate(launch.passed))  # listening closes them: others need them too
        listeners = self._answering.listeners(self._reactor, [self._answers.follow], self._certificates)
        sites = {key: listener.site for key, listener in listeners.items()}
        self.counted.follow(sites, self._output, self._answering.asked_again, self._answers.flush)
        delay = self._config.stop_delay
        self._listeners = Listeners(batched(self._reactor), listeners, launch.endpoints, delay, passed, shared)
        self._stand_ins = StandIns(self._reactor, self._link.missing, self._listeners)
        for service in (self._pauses, self._listeners, self._stand_ins):
            service.privilegedStartService()
            service.startService()
        self._reporting.start(REPORT_INTERVAL, now=False)

    def reload(self, loaded: Loaded, message: Message) -> None:
        """Apply new settings. Raises SettingsError; then nothing has changed."""
        config, answering = loaded.config, self._answering
        plan = answering_parts.make_plan(config, config.rules, partial(make_followed, config))
        note_host = self.counted.hosts.note
        fetcher = answering_parts.make_fetcher(self._reactor, config, self.watch, answering.shares, note_host)
        swaps = [
            answering_parts.prepare_limits(answering.admission, answering.unsent, answering.shares)(loaded),
            self._prepare_log(loaded),
        ]
        if self._certificates is not None and config.tls is not None:
            prepared = self._certificates.prepare(config.tls.certificates, config.hosts)
            swaps.append(partial(self._certificates.reconfigure, prepared))
        answering.plain.reconfigure(answering_parts.make_plain_port_settings(config))
        answering.facade.reconfigure(config.rules, fetcher)
        self.watch.measurements.cache = fetcher.cache
        self.watch.reconfigure(plan)
        self.watch.take_view(message)
        self.counted.pulls.is_counting = config.history.days > 0
        for swap in swaps:
            swap()
        self._follow_backends(config)
        if self._listeners is not None:
            self._listeners.reconfigure(config.stop_delay)
        self._config = config

    def meet_first(self) -> None:
        """Report to a new first process, and tell it what is known here."""
        self.counted.begin()
        for message in self._knowledge.known():
            self._tell(message)
        self._link.send(shared_askings.KIND, self.askings.known())

    def learn(self, message: Message) -> None:
        """Take over what another process has learned."""
        self._knowledge.receive(message)

    def report(self) -> None:
        """Report what was counted since the last report. Without a first process, it waits."""
        while self._link.is_reachable and (report := self.counted.collect()):
            self._link.send(REPORT, {REPORT: report})

    def serve_obtained(self, obtained: Mapping[tuple[str, ...], ServerCertificate]) -> None:
        """Serve the certificates that ACME has obtained; what cannot be used, the first process has logged."""
        if self._certificates is not None:
            self._certificates.replace_obtained(obtained)

    def check_files(self) -> None:
        """Read the files of certificates that have changed."""
        if self._certificates is not None:
            self._certificates.check_files()

    def end_delay(self) -> None:
        """End the delay of a stop."""
        if self._listeners is not None:
            self._listeners.end_delay()

    async def stop(self) -> None:
        """Answer the requests in flight, and stop."""
        if self._listeners is not None:
            self._stand_ins.stopService()
            await self._listeners.stopService()
        self._pauses.stopService()
        self._knowledge.stop()
        self.askings.stop()
        if self._certificates is not None:
            self._certificates.stopService()
        self._answers.flush()
        self.counted.pulls.counts.finish()
        if self._reporting.running:
            self._reporting.stop()
        while self._link.is_reachable and (report := self.counted.collect()):
            self._link.send(REPORT, {REPORT: report})

    def _tell(self, message: Message) -> None:
        """Tell the other processes what this one has learned."""
        self._link.send(KIND, message)

    def _follow_backends(self, config: Config) -> None:
        """Share what is learned by these settings."""
        fetcher = self._answering.facade.fetcher
        learned = fetcher.recent, fetcher.cache.tags, self.watch.quotas, fetcher.elsewhere, fetcher.cdn_results
        self._knowledge.follow(*learned, config.backends)


def make_followed(config: Config, backend: Backend) -> WatchedBackend:
    """Return a backend that another process probes and checks."""
    return WatchedBackend(answering_parts.identity(config, backend), _leave_to_first, check=_leave_to_first)


def _leave_to_first(*_: object) -> NoReturn:
    raise AssertionError("the first process probes and checks")


def _make_certificates(config: Config, reactor: IFacadedReactor, challenges: Challenges) -> Certificates | None:
    """Return the certificates of these settings, which read their files again when these change; None without [tls]."""
    if config.tls is None:
        return None
    in_thread = partial(deferToThreadPool, reactor, reactor.getThreadPool())
    certificates = Certificates(challenges, reactor, time.time, in_thread, config.tls.certificates, config.hosts)
    certificates.startService()
    return certificates


def _take_challenge(message: Message, challenges: Challenges) -> None:
    """Answer a challenge, or stop that. Raises MalformedError."""
    token, name = message.get("token"), message.get("name")
    if token is not None:
        if (answer := message.get("answer")) is None:
            challenges.remove_http(str(token))
        else:
            challenges.add_http(str(token), str(answer))
    elif (chain := message.get("chain")) is None:
        challenges.remove_alpn(str(name))
    else:
        sent = SentCertificate((), str(chain), str(message.get("key")))
        challenges.add_alpn(str(name), str(chain).encode(), sent.certificate.key)
