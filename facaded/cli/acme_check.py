"""The part of `facaded check` that concerns ACME: the authorities, the daemon's own ports, and dry runs."""

import time
from collections.abc import Iterator
from pathlib import Path

from attrs import evolve, frozen

from facaded.admin.daemon_answers import DaemonAnswers
from facaded.authorities import AuthorityReport, reach_authorities
from facaded.config.sections import Config
from facaded.net.reactor import IFacadedReactor
from facaded.own_answers import OwnAnswers
from facaded.own_ports import OwnPorts, PortReport
from facaded.tls.acme.dry_runs import AnswerError, AnswersChallenges, DryRun, DryRuns
from facaded.tls.acme.settings import AcmeSettings, ChallengeKind
from facaded.tls.acme.wire import CaNetwork, connect
from facaded.tls.server_certificate import UnusableError

HTTP = ChallengeKind.HTTP

MOST_DRY_RUNS = 20
"""Certificates of a dry run, at each authority: each takes some seconds, and staging CAs have limits too."""

NOT_ORDERED = "the certificates themselves: a dry run ends when the names are authorized"
"""What no dry run tests."""


@frozen
class AcmeReport:
    """What was found. `answered_by` says who answered the challenges, `untested` what was not tested and why.

    `is_incomplete` says that a dry run was wanted, and could not be made although there is a staging directory.
    """

    authorities: tuple[AuthorityReport, ...]
    ports: tuple[PortReport, ...] = ()
    dry_runs: tuple[DryRun, ...] = ()
    answered_by: str | None = None
    untested: tuple[str, ...] = ()
    is_incomplete: bool = False

    @property
    def is_bad_news(self) -> bool:
        """Whether an authority would issue no certificate. That a port cannot be reached from here proves nothing."""
        has_problem = any(authority.problem for authority in self.authorities)
        return self.is_incomplete or has_problem or any(run.authorized_by is None for run in self.dry_runs)


async def check_acme(
    config: Config, reactor: IFacadedReactor, socket: Path | None, *, with_dry_run: bool
) -> AcmeReport:
    """Reach the authorities and the daemon's ports, and with `with_dry_run` order at the staging directories.

    A daemon that listens on the control socket at `socket` answers the challenges, else this process.
    """
    network = CaNetwork(connect(reactor), reactor, time.time)
    report = AcmeReport(await reach_authorities(config.acme, network))
    try:
        answers = await _choose_answers(config, reactor, socket)
        try:
            return await _test(report, config, OwnPorts(reactor, answers), answers, network if with_dry_run else None)
        finally:
            await answers.close()
    except (AnswerError, UnusableError) as error:
        sentence = f"the ports and the challenges: {error}"
        return evolve(report, untested=(sentence,), is_incomplete=with_dry_run)


async def _choose_answers(config: Config, reactor: IFacadedReactor, socket: Path | None) -> DaemonAnswers | OwnAnswers:
    """Return the daemon's answers if one is running, else those of this process. Raises AnswerError."""
    if socket is not None:
        daemon = DaemonAnswers(reactor, socket)
        if await daemon.is_running():
            return daemon
    return OwnAnswers(reactor, config)


async def _test(
    report: AcmeReport, config: Config, ports: OwnPorts, answers: AnswersChallenges, network: CaNetwork | None
) -> AcmeReport:
    """Reach the ports; order at the staging directories if there is a `network` for it."""
    acme, listed = config.acme, [kind for kind in config.acme.challenges if kind is not HTTP or config.listen.http]
    reasons = {kind: answers.why_not(kind) for kind in listed}
    kinds = tuple(kind for kind, reason in reasons.items() if reason is None)
    reached = await ports.reach((name for names in acme.domains for name in names), kinds)
    runs = await _order(acme, DryRuns(network, answers), kinds) if network is not None and kinds else ()
    untested = [f"{kind.value}: {reason}" for kind, reason in reasons.items() if reason is not None]
    untested += _left_out(acme, len(runs)) if network is not None else ()
    tested = evolve(report, ports=reached, dry_runs=runs, answered_by=answers.description, untested=tuple(untested))
    return evolve(tested, is_incomplete=network is not None and not kinds)


async def _order(acme: AcmeSettings, dry_runs: DryRuns, kinds: tuple[ChallengeKind, ...]) -> tuple[DryRun, ...]:
    """Order every certificate at every staging directory, one after the other."""
    cas = [ca for ca in acme.cas if ca.staging_directory is not None]
    return tuple([await dry_runs.run(ca, names, kinds) for ca in cas for names in acme.domains[:MOST_DRY_RUNS]])


def _left_out(acme: AcmeSettings, ordered: int) -> Iterator[str]:
    """Say what a dry run does not test."""
    for ca in acme.cas:
        if ca.staging_directory is None:
            yield f"no order at {ca.directory}: it has no known staging directory; if it has one, set `staging`"
    if len(acme.domains) > MOST_DRY_RUNS:
        yield f"{len(acme.domains) - MOST_DRY_RUNS} more certificates: only the first {MOST_DRY_RUNS} were ordered"
    if ordered:
        yield NOT_ORDERED
