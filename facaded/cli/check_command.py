"""`facaded check`: whether the settings can be used, what they mean, and on request whether the network is ready."""

import argparse
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import frozen
from twisted.internet.defer import gatherResults

from facaded import preflight
from facaded.admin.control import CommandRefusedError
from facaded.admin.control_client import NoDaemonError
from facaded.admin.status import ProbeStatus, probe_status
from facaded.cli.acme_check import AcmeReport, check_acme
from facaded.cli.acme_text import acme_lines
from facaded.cli.options import find_socket, load
from facaded.cli.probe_text import probe_text
from facaded.cli.settings_summary import SettingsSummary, summarize
from facaded.cli.settings_text import settings_text, warning_text, wrapped
from facaded.cli.terminal import print_json, run, show
from facaded.config.cores import usable_cores
from facaded.config.file_checks import program_problem
from facaded.config.loading import Loaded
from facaded.config.paths import state_directory
from facaded.config.sections import Config
from facaded.config.settings_error import SettingsError
from facaded.exit_status import BAD_NEWS, GOOD
from facaded.mounts import MOUNTS
from facaded.net.json_documents import Document
from facaded.net.reactor import IFacadedReactor
from facaded.parts import make_probe
from facaded.policy.health import ProbeDepth, Result, Verdict

NOTHING_TO_ORDER = (
    "--dry-run orders the certificates of [tls.acme], and the settings have none: add [tls.acme], or test the program "
    "that renews your certificates, as in `certbot renew --dry-run`"
)


@frozen
class CheckReport(Document):
    """What `facaded check --json` prints.

    `settings` is where they are from, `origins` where each key is set; `probes` is empty without --probe or --dry-run,
    and `acme` is None, also without [tls.acme].
    """

    settings: str
    meaning: SettingsSummary
    origins: Mapping[str, str]
    warnings: tuple[str, ...]
    probes: Mapping[str, ProbeStatus]
    acme: AcmeReport | None = None


def check(options: argparse.Namespace) -> int:
    """Check the settings, and print what they mean."""
    loaded = load(options)
    if sentence := program_problem(loaded.config.notify.command, os.environ):  # a running daemon only warns of it
        place = loaded.origins.get("notify.command", loaded.source)
        raise SettingsError([f"{place}: notify.command: {sentence}"])
    if options.dry_run and not loaded.config.certificate_names:
        raise CommandRefusedError(NOTHING_TO_ORDER)
    results: dict[str, Result] = {}
    acme: AcmeReport | None = None
    warnings = (*loaded.warnings, *_local_warnings(loaded.config))
    if options.probe or options.dry_run:
        socket = _find_daemon(options)
        results, acme, network_warnings = run(lambda reactor: _try_all(loaded, reactor, socket, options.dry_run))
        warnings += network_warnings
    summary = summarize(loaded.config, os.environ, usable_cores())
    if options.json:
        probes = {name: probe_status(result) for name, result in results.items()}
        print_json(CheckReport(loaded.source, summary, loaded.origins, warnings, probes, acme))
    else:
        show(f"{loaded.source}: the settings can be used\n\n{settings_text(summary, loaded.origins)}")
        _show_section(warning_text(warning) for warning in warnings)
        _show_section(probe_text(name, result) for name, result in results.items())
        _show_section(map(wrapped, acme_lines(acme) if acme else ()))
    is_bad_news = any(result.verdict is not Verdict.GOOD for result in results.values())
    return BAD_NEWS if is_bad_news or (acme is not None and acme.is_bad_news) else GOOD


def _local_warnings(config: Config) -> tuple[str, ...]:
    """Return warnings about this machine, without the network."""
    certificates = preflight.unusable_certificates(config, time.time())
    return (*certificates, *preflight.lost_certificates(config, state_directory(config, os.environ), MOUNTS))


def _find_daemon(options: argparse.Namespace) -> Path | None:
    """Return the control socket of the daemon; None if there is none."""
    try:
        return find_socket(options)
    except NoDaemonError:
        return None


def _show_section(texts: Iterable[str]) -> None:
    """Print texts below an empty line; nothing if there are none."""
    if lines := list(texts):
        show("\n".join(["", *lines]))


async def _try_all(
    loaded: Loaded, reactor: IFacadedReactor, socket: Path | None, dry_run: bool
) -> tuple[dict[str, Result], AcmeReport | None, tuple[str, ...]]:
    """Probe every backend, look up the facade's names, and try the ports and the CAs.

    Return the results, what concerns ACME, and the warnings.
    """
    config = loaded.config
    results = await _probe_all(loaded, reactor)
    names = await preflight.unknown_names(config, reactor)
    ports = await preflight.unbindable_ports(config, socket, reactor)
    acme = await check_acme(config, reactor, socket, with_dry_run=dry_run) if config.certificate_names else None
    return results, acme, (*names, *ports)


async def _probe_all(loaded: Loaded, reactor: IFacadedReactor) -> dict[str, Result]:
    backends = loaded.config.backends
    probes = [make_probe(reactor, loaded.config, backend)(ProbeDepth(deep=True)) for backend in backends]
    results = await gatherResults(probes)
    return {backend.name: result for backend, result in zip(backends, results, strict=True)}
