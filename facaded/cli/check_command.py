"""`facaded check`: whether the settings can be used, and with `--probe` whether the network is as they need it."""

import argparse
import os
import time
from collections.abc import Mapping

from attrs import frozen
from twisted.internet.defer import gatherResults

from facaded import preflight
from facaded.admin.status import ProbeStatus, probe_status
from facaded.cli.options import load, may_exist
from facaded.cli.terminal import BAD_NEWS, GOOD, print_json, print_warnings, run
from facaded.config.loading import Loaded
from facaded.config.paths import control_socket
from facaded.net.json_documents import Document
from facaded.net.reactor import IFacadedReactor
from facaded.parts import probe
from facaded.policy.health import ProbeDepth, Result, Verdict


@frozen
class Checked(Document):
    """What the check found, as `--json` has it."""

    settings: str
    warnings: tuple[str, ...]
    probes: Mapping[str, ProbeStatus]


def check(options: argparse.Namespace) -> int:
    """Say whether the settings can be used, and what they mean."""
    loaded = load(options)
    results: dict[str, Result] = {}
    warnings = (*loaded.warnings, *preflight.unusable_certificates(loaded.config, time.time()))
    if options.probe:
        results, found = run(lambda reactor: _try_all(loaded, reactor))
        warnings += found
    if options.json:
        probes = {name: probe_status(each) for name, each in results.items()}
        print_json(Checked(loaded.source, warnings, probes))
    else:
        print(f"{loaded.source}: can be used")
        print_warnings(*warnings)
        for name, each in results.items():
            print(f"{name}: {each.verdict.value}: {each.step.value}: {each.reason} ({each.latency * 1000:.0f} ms)")
    return BAD_NEWS if any(each.verdict is not Verdict.GOOD for each in results.values()) else GOOD


async def _try_all(loaded: Loaded, reactor: IFacadedReactor) -> tuple[dict[str, Result], tuple[str, ...]]:
    """Probe every backend once, look up the facade's names, and try the ports; return the results and the warnings."""
    results = await _probe_all(loaded, reactor)
    names = await preflight.unknown_names(loaded.config, reactor)
    socket = control_socket(loaded.config, os.environ)
    ports = await preflight.unbindable_ports(loaded.config, socket if may_exist(socket) else None, reactor)
    return results, (*names, *ports)


async def _probe_all(loaded: Loaded, reactor: IFacadedReactor) -> dict[str, Result]:
    backends = loaded.config.backends
    found = await gatherResults([probe(reactor, loaded.config, each)(ProbeDepth(deep=True)) for each in backends])
    return {backend.name: each for backend, each in zip(backends, found, strict=True)}
