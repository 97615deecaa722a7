"""`facaded check`: whether the settings can be used, what they mean, and with --probe whether the network is ready."""

import argparse
import os
import time
from collections.abc import Iterable, Mapping

from attrs import frozen
from twisted.internet.defer import gatherResults

from facaded import preflight
from facaded.admin.status import ProbeStatus, probe_status
from facaded.cli.options import load, may_exist
from facaded.cli.probe_text import probe_text
from facaded.cli.settings_summary import SettingsSummary, summarize
from facaded.cli.settings_text import settings_text, warning_text
from facaded.cli.terminal import print_json, run, show
from facaded.config.file_checks import program_problem
from facaded.config.loading import Loaded
from facaded.config.paths import control_socket
from facaded.config.settings_error import SettingsError
from facaded.exit_status import BAD_NEWS, GOOD
from facaded.net.json_documents import Document
from facaded.net.reactor import IFacadedReactor
from facaded.parts import make_probe
from facaded.policy.health import ProbeDepth, Result, Verdict


@frozen
class CheckReport(Document):
    """What `facaded check --json` prints.

    `settings` is where they are from, `origins` where each key is set; `probes` is empty without --probe.
    """

    settings: str
    meaning: SettingsSummary
    origins: Mapping[str, str]
    warnings: tuple[str, ...]
    probes: Mapping[str, ProbeStatus]


def check(options: argparse.Namespace) -> int:
    """Check the settings, and print what they mean."""
    loaded = load(options)
    if sentence := program_problem(loaded.config.notify.command, os.environ):  # a running daemon only warns of it
        place = loaded.origins.get("notify.command", loaded.source)
        raise SettingsError([f"{place}: notify.command: {sentence}"])
    results: dict[str, Result] = {}
    warnings = (*loaded.warnings, *preflight.unusable_certificates(loaded.config, time.time()))
    if options.probe:
        results, network_warnings = run(lambda reactor: _try_all(loaded, reactor))
        warnings += network_warnings
    summary = summarize(loaded.config, os.environ)
    if options.json:
        probes = {name: probe_status(result) for name, result in results.items()}
        print_json(CheckReport(loaded.source, summary, loaded.origins, warnings, probes))
    else:
        show(f"{loaded.source}: the settings can be used\n\n{settings_text(summary, loaded.origins)}")
        _show_section(warning_text(warning) for warning in warnings)
        _show_section(probe_text(name, result) for name, result in results.items())
    return BAD_NEWS if any(result.verdict is not Verdict.GOOD for result in results.values()) else GOOD


def _show_section(texts: Iterable[str]) -> None:
    """Print texts below an empty line; nothing if there are none."""
    if lines := list(texts):
        show("\n".join(["", *lines]))


async def _try_all(loaded: Loaded, reactor: IFacadedReactor) -> tuple[dict[str, Result], tuple[str, ...]]:
    """Probe every backend, look up the facade's names, and try the ports; return the results and the warnings."""
    results = await _probe_all(loaded, reactor)
    names = await preflight.unknown_names(loaded.config, reactor)
    socket = control_socket(loaded.config, os.environ)
    ports = await preflight.unbindable_ports(loaded.config, socket if may_exist(socket) else None, reactor)
    return results, (*names, *ports)


async def _probe_all(loaded: Loaded, reactor: IFacadedReactor) -> dict[str, Result]:
    backends = loaded.config.backends
    probes = [make_probe(reactor, loaded.config, backend)(ProbeDepth(deep=True)) for backend in backends]
    results = await gatherResults(probes)
    return {backend.name: result for backend, result in zip(backends, results, strict=True)}
