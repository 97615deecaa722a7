"""What `facaded check` found about ACME, as lines for a person."""

from collections.abc import Iterator

from facaded.authorities import AuthorityReport
from facaded.cli.acme_check import AcmeReport
from facaded.own_ports import PortReport
from facaded.tls.acme.dry_runs import DryRun

HINT = (
    "note: some routers do not lead their own network to its public address; then only a test from outside, such as "
    "--dry-run, says whether the ports are reachable"
)


def acme_lines(report: AcmeReport) -> Iterator[str]:
    """Write a report; each line may be longer than a terminal is wide."""
    yield from map(_authority, report.authorities)
    yield from map(_port, report.ports)
    yield from map(_dry_run, report.dry_runs)
    if report.answered_by is not None:
        yield f"the challenges were answered by {report.answered_by}"
    if any(port.problem and not port.untested for port in report.ports) and not report.dry_runs:
        yield HINT
    yield from (f"not tested: {sentence}" for sentence in report.untested)


def _authority(authority: AuthorityReport) -> str:
    if authority.problem is not None:
        directory = "" if authority.problem.startswith(authority.directory) else f"{authority.directory}: "
        return f"authority: FAILED: {directory}{authority.problem}"
    return f"authority: OK: {authority.directory}, terms of service: {authority.terms or 'none'}"


def _port(port: PortReport) -> str:
    place = f"{port.name}: port {port.port} at {port.address}"
    if port.problem is None:
        return f"{place}: OK"
    if port.untested:
        return f"{place}: not tested: {port.problem}"
    record = "AAAA" if ":" in port.address else "A"
    remedy = "" if port.name == port.address else f", or remove the {record} record"
    return f"{place}: FAILED: {port.problem}: open it and lead it to facaded{remedy}"


def _dry_run(run: DryRun) -> str:
    names, reasons = ", ".join(run.names), "; ".join(run.failures)
    if run.authorized_by is None:
        return f"dry run for {names}: FAILED at {run.directory}: {reasons}"
    before = f", after {reasons}" if reasons else ""
    return f"dry run for {names}: OK, authorized by {run.authorized_by} at {run.directory}{before}"
