"""The daemon: its parts as child services, started in order and stopped in reverse order."""

import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from random import SystemRandom

from attrs import frozen
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger, globalLogPublisher

from facaded import answering_parts, parts
from facaded.admin.challenge_commands import ChallengeCommands
from facaded.admin.commands import Commands
from facaded.admin.control import CommandTable, Control
from facaded.admin.failback_command import FailbackCommand
from facaded.admin.history_commands import HistoryCommands
from facaded.admin.metrics import Metrics
from facaded.admin.past_glances import PastGlances
from facaded.admin.recent_changes import RecentChanges
from facaded.admin.reporter import Reporter
from facaded.admin.request_rates import RequestRates
from facaded.admin.site import Admin
from facaded.admin.status import InForce
from facaded.admin.status_pages import StatusPages
from facaded.admin.survey import Sources, Survey
from facaded.announcer import Announcer
from facaded.answering import Answering
from facaded.backends.seen_hosts import SeenHosts
from facaded.backends.watch import Watch
from facaded.config.loading import Loaded
from facaded.config.paths import acme_directory, state_directory
from facaded.config.sections import Config
from facaded.first_process import FirstProcess, StopWorkers, Workers, own_challenges
from facaded.history.recorder import RecordedParts, Recorder
from facaded.listeners import Listener, Listeners, StartError, endpoints
from facaded.net.accept_pauses import AcceptPauses
from facaded.net.batched_reactor import batched
from facaded.net.passed_sockets import PassedSockets
from facaded.net.reactor import IFacadedReactor
from facaded.net.resolver import resolver_of
from facaded.notifications import Notifications
from facaded.policy.limits import Limit
from facaded.probing_parts import make_probing_plan
from facaded.reload import Hangup, Reloader, Reread
from facaded.state import Clocks, StateError, StateStore
from facaded.systemd import Notifier, Supervision, Watchdog, watchdog_interval
from facaded.tls.acme.private_files import StoreError
from facaded.tls.challenges import Challenges
from facaded.tls.operator_answers import OperatorAnswers
from facaded.tls.termination import Termination
from facaded.web.accesslog import TWISTED, AccessLog, AccessOutput
from facaded.web.answer_batches import AnswerBatches
from facaded.web.answered_requests import Subscriber
from facaded.web.server import BoundedSite
from facaded.workers.reports import WorkerReports
from facaded.workers.stand_ins import StandIns


def makeService(
    loaded: Loaded, reactor: IFacadedReactor, reread: Reread, environ: Mapping[str, str], output: AccessOutput = TWISTED
) -> MultiService:
    """Assemble the daemon from its settings.

    `reread` reads the settings again, for a reload. `output` is where the access log goes. `privilegedStartService`
    opens the listeners. Both this function and that method raise StartError if the daemon cannot start.
    """
    core = _core(loaded.config, reactor, environ)
    config = core.divide(loaded).config
    supervision = Supervision(Notifier(environ), core.watch, partial(_read_clocks, reactor), config.stop_delay)
    reloader = _make_reloader(core, loaded, reread, supervision, environ)
    metrics = _make_metrics(core, config, reloader)
    reporter = _make_reporter(core, parts.make_in_force(loaded), reactor)
    commands = _make_commands(core, config, reporter, reloader)
    _add_parts(core, config, reloader, reactor, environ)
    notifications = _make_notifications(core, reactor, config, environ, reloader)
    answers = _begin_answers(core, output, metrics, reloader, reactor)
    recorder = _make_recorder(core, metrics, answers, reloader, reactor, environ)
    survey = _make_survey(core, reporter, metrics, answers, recorder, reactor)
    admin = Admin(config.listen.admin_hosts, supervision.why_not_ready, core.watch, metrics, StatusPages(survey))
    reloader.add(parts.prepare_edges(core.answering.plain, admin, reporter, commands))
    sites = _listeners(core, config, answers.follow, admin, Control(_command_table(core, commands, recorder)), reactor)
    metrics.follow({key: listener.site for key, listener in sites.items()}, output, answers.flush)
    listeners = _make_listeners(core, sites, config, supervision, reloader, reactor, environ)
    _share(core, reloader, metrics, reporter, reactor)
    return Daemon(
        _make_watchdog(reactor, environ),  # stopped last: a stop may hang too
        Announcer(reloader, core.watch, listeners),
        notifications,
        core.state,
        survey,
        recorder,  # stopped late, so that the last answers and reports of workers are recorded
        *([core.tls] if core.tls else []),
        core.watch,
        AcceptPauses(reactor, globalLogPublisher, partial(core.watch.reached_limits.note, Limit.DESCRIPTORS)),
        Hangup(reactor, reloader.reload),  # stopped after the listeners: without it, SIGHUP ends the process
        *_with_workers(core.first, reactor, listeners, Notifier(environ)),
        supervision,
    )


def _with_workers(
    first: FirstProcess | None, reactor: IFacadedReactor, listeners: Listeners, notifier: Notifier
) -> Sequence[Service]:
    """Return the services that answer clients: workers stop before the listeners, and are waited for after them."""
    if first is None:
        return [listeners]
    stand_ins = StandIns(reactor, first.pool.missing, listeners)
    return [Workers(first.pool, notifier), listeners, stand_ins, StopWorkers(first.pool)]


def _make_reloader(
    core: "_Core", loaded: Loaded, reread: Reread, supervision: Supervision, environ: Mapping[str, str]
) -> Reloader:
    needs_restart = parts.changed_listeners(loaded.config, core.endpoints, environ)
    divided, reread_divided = core.divide(loaded), partial(_reread, core, reread)
    reloader = Reloader(divided, reread_divided, supervision.reloading, supervision.reloaded, needs_restart)
    if core.first is not None:
        reloader.add(core.first.begin_reload)
    return reloader


def _reread(core: "_Core", reread: Reread) -> Loaded:
    return core.divide(reread())


def _share(core: "_Core", reloader: Reloader, metrics: Metrics, reporter: Reporter, reactor: IFacadedReactor) -> None:
    """Tell the workers what changes, and add up what they report, if there are any. It is the last part of a reload."""
    if core.first is None:
        return
    watch, loaded, answering = core.watch, reloader.loaded, core.answering
    pulls, asked_again, rules = answering.pulls, answering.asked_again, loaded.config.rules
    reports = WorkerReports(metrics, watch, pulls, core.seen_hosts, asked_again, rules)
    core.first.share(reactor, watch, loaded, core.tls, metrics, reports, answering)
    reporter.follow(metrics.worker_statuses)
    reloader.add(core.first.end_reload)


def _add_parts(
    core: "_Core", config: Config, reloader: Reloader, reactor: IFacadedReactor, environ: Mapping[str, str]
) -> None:
    """Add the parts that answer clients to a reload."""
    answering, state, watch, seen_hosts = core.answering, core.state, core.watch, core.seen_hosts
    shares, facade = answering.shares, answering.facade
    reloader.add(parts.prepare_listeners(config))
    reloader.add(parts.prepare_backends(reactor, environ, state, watch, shares, facade, seen_hosts))
    reloader.add(answering_parts.prepare_limits(answering.admission, answering.unsent, shares))
    reloader.add(parts.prepare_tls(core.tls))


def _make_commands(core: "_Core", config: Config, reporter: Reporter, reloader: Reloader) -> Commands:
    renewer = core.tls.acme if core.tls else None
    return Commands(config.rules, core.watch, reporter, reloader, core.state, core.answering.pulls.recent, renewer)


def _command_table(core: "_Core", commands: Commands, recorder: Recorder) -> CommandTable:
    failback, history = FailbackCommand(core.watch, core.state), HistoryCommands(recorder, time.time)
    return {**commands.table, **failback.table, **history.table, **ChallengeCommands(core.operator_answers).table}


def _make_watchdog(reactor: IFacadedReactor, environ: Mapping[str, str]) -> Watchdog:
    return Watchdog(reactor, Notifier(environ), watchdog_interval(environ, os.getpid()))


def _make_metrics(core: "_Core", config: Config, reloader: Reloader) -> Metrics:
    metrics = Metrics(core.watch, config.rules, reloader, core.tls, time.time)
    reloader.add(parts.prepare_metrics(metrics))
    return metrics


def _make_listeners(
    core: "_Core",
    sites: Mapping[str, Listener],
    config: Config,
    supervision: Supervision,
    reloader: Reloader,
    reactor: IFacadedReactor,
    environ: Mapping[str, str],
) -> Listeners:
    opened, delay, first = core.endpoints, config.stop_delay, core.first
    passed = PassedSockets.of_process(reactor, environ) if first is None else first.passed
    shared = None if first is None else first.shared
    listeners = Listeners(batched(reactor), sites, opened, delay, passed, shared)
    if first is not None:
        first.keep_passed()
    reloader.add(parts.prepare_stop(listeners, supervision))
    return listeners


def _begin_answers(
    core: "_Core", output: AccessOutput, metrics: Metrics, reloader: Reloader, reactor: IFacadedReactor
) -> AnswerBatches:
    """Return what logs and counts answered requests, by the settings of now and of each reload."""
    access_log = AccessLog(output.add_lines)
    prepare_log = answering_parts.prepare_log(output, access_log, core.watch.reached_limits)
    prepare_log(reloader.loaded)()
    reloader.add(prepare_log)
    pulls = core.answering.pulls
    answers = AnswerBatches(reactor, (access_log.follow, pulls.follow, metrics.requests.note), [pulls.count])
    output.let_precede(answers.flush)
    return answers


def _make_recorder(
    core: "_Core",
    metrics: Metrics,
    answers: AnswerBatches,
    reloader: Reloader,
    reactor: IFacadedReactor,
    environ: Mapping[str, str],
) -> Recorder:
    pulls, place = core.answering.pulls, parts.make_history_place(reloader.loaded.config, environ)
    recorder = Recorder(reactor, time.time, RecordedParts(pulls.counts, metrics.requests, answers.flush), place)
    core.watch.subscribe(recorder.follow)
    reloader.add(parts.prepare_history(recorder, pulls, environ))
    return recorder


def _make_reporter(core: "_Core", in_force: InForce, reactor: IFacadedReactor) -> Reporter:
    certificates, clocks = core.tls.certificates if core.tls else None, partial(_read_clocks, reactor)
    names, asked_again = resolver_of(reactor), core.answering.asked_again
    return Reporter(in_force, core.watch, names, certificates, clocks, asked_again, core.seen_hosts)


def _make_survey(
    core: "_Core",
    reporter: Reporter,
    metrics: Metrics,
    answers: AnswerBatches,
    recorder: Recorder,
    reactor: IFacadedReactor,
) -> Survey:
    rates = RequestRates(reactor, metrics.requests, answers.flush)
    changes, past = RecentChanges(time.time), PastGlances(reactor, time.time, recorder)
    core.watch.subscribe(changes.follow)
    orders = core.tls.acme.status if core.tls else tuple
    clocks = partial(_read_clocks, reactor)
    return Survey(Sources(reporter, core.watch, changes, rates, past, orders, clocks))


def _make_notifications(
    core: "_Core", reactor: IFacadedReactor, config: Config, environ: Mapping[str, str], reloader: Reloader
) -> Notifications:
    target = parts.make_notification_target(config, environ)
    notifications = Notifications(reactor, time.time, core.watch, globalLogPublisher, target)
    reloader.add(parts.prepare_notifications(notifications, environ))
    return notifications


def _read_clocks(reactor: IFacadedReactor) -> Clocks:
    return Clocks(time.time(), reactor.seconds())


@frozen
class _Core:
    """The parts that answer clients, and the state and health that they depend on.

    `tls` is None without [tls], and `first` if this is the only process. `endpoints` are those to listen on, each after
    its key of [listen].
    """

    first: FirstProcess | None
    endpoints: tuple[tuple[str, str], ...]
    state: StateStore
    tls: Termination | None
    watch: Watch
    answering: Answering
    seen_hosts: SeenHosts
    operator_answers: OperatorAnswers

    def divide(self, loaded: Loaded) -> Loaded:
        """Return settings with the part of the limits that this process has."""
        return loaded if self.first is None else self.first.divide(loaded)


def _core(config: Config, reactor: IFacadedReactor, environ: Mapping[str, str]) -> _Core:
    """Assemble the parts that answer clients. Raises StartError if the state directory cannot be used."""
    rules, directory, first = config.rules, state_directory(config, environ), FirstProcess.of(config, reactor, environ)
    opened = tuple(endpoints(config, environ)) if first is None else first.choose_endpoints(config, environ)
    operator_answers = OperatorAnswers(reactor, Challenges() if first is None else first.operator_challenges)
    challenges = own_challenges(first, operator_answers.challenges)
    state = StateStore(reactor, time.time, directory, answering_parts.make_identities(config))
    try:
        watch_state = state.read()
        tls = parts.make_termination(reactor, config, challenges, acme_directory(config, environ))
    except (StateError, StoreError) as error:
        raise StartError(str(error)) from None
    seen_hosts = SeenHosts()
    plan = make_probing_plan(reactor, config, rules, seen_hosts.note)
    watch = Watch(reactor, time.time, SystemRandom(), plan, watch_state)
    state.follow(watch)
    own = config if first is None else first.divide_config(config)
    answering = Answering.begin(own, reactor, watch, challenges, seen_hosts.note)
    return _Core(first, opened, state, tls, watch, answering, seen_hosts, operator_answers)


def _listeners(
    core: _Core, config: Config, subscriber: Subscriber, admin: Admin, control: Control, reactor: IFacadedReactor
) -> dict[str, Listener]:
    """Return the listener of each key of [listen]; `subscriber` is called with what clients were answered."""
    listeners = core.answering.listeners(reactor, [subscriber], core.tls.certificates if core.tls else None)
    for key, resource in (("listen.admin", admin), ("listen.control", control)):
        own_admission = answering_parts.make_operator_admission(reactor, config, core.watch.reached_limits)
        site = BoundedSite(resource, reactor, admission=own_admission)
        listeners[key] = Listener(site, site)
    return listeners


class Daemon(MultiService):
    """All parts. Unlike its base class, it stops them one after the other, in reverse order."""

    _log = Logger()

    def __init__(self, *children: Service) -> None:
        MultiService.__init__(self)
        for child in children:
            child.setServiceParent(self)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for child in reversed(list(self)):
            with self._log.failureHandler("a part of the daemon did not stop cleanly"):
                await maybeDeferred(child.stopService)
