"""Makes what probes and checks the backends, in the first process: workers hear of it."""

import hashlib
from collections.abc import Callable
from functools import partial

from attrs import evolve
from twisted.internet.defer import Deferred

from facaded.answering_parts import identity, make_plan
from facaded.backends.check import check
from facaded.backends.ladder import probe
from facaded.backends.probe_target import build_target
from facaded.backends.seen_hosts import NoteHost, ignore_host
from facaded.config.sections import Backend, Config
from facaded.net.reactor import IFacadedReactor
from facaded.policy.decision import Rules
from facaded.policy.health import ProbeDepth, Result, Step
from facaded.policy.network_hosts import HostPurpose
from facaded.policy.plan import Plan, WatchedBackend


def make_probing_plan(
    reactor: IFacadedReactor, config: Config, rules: Rules, note_host: NoteHost = ignore_host
) -> Plan:
    """Return which backends to watch and how; for `note_host` see `NoteHost`.

    Raises as `connections.trust_policy` does, or OSError.
    """
    return make_plan(config, rules, partial(_watch_entry, reactor, config, note_host))


def _watch_entry(reactor: IFacadedReactor, config: Config, note_host: NoteHost, backend: Backend) -> WatchedBackend:
    roots = backend.ca_file.read_bytes() if backend.ca_file else b""
    manner = (hashlib.sha256(roots).digest(), config.health.timeout, backend.credentials is not None)
    canary = str(config.own_canary(backend) or "")
    timeout, has_account = config.health.timeout, backend.credentials is not None
    target = build_target(reactor, backend.url, backend.ca_file, config.canary(backend), timeout, has_account)
    target = evolve(target, note_url=partial(_note_step, note_host, backend.url))

    def start_probe(depth: ProbeDepth) -> Deferred[Result]:
        return Deferred.fromCoroutine(probe(target, depth, reactor))

    def start_check(depth: ProbeDepth, changed: Callable[[], None]) -> Deferred[Result]:
        return Deferred.fromCoroutine(check(target, depth, reactor, changed))

    return WatchedBackend(identity(config, backend), start_probe, canary, manner, start_check, target.proofs)


_PURPOSES = {Step.TOKEN: HostPurpose.TOKENS, Step.CDN: HostPurpose.CDN}


def _note_step(note_host: NoteHost, backend_url: str, step: Step, url: str) -> None:
    """Note the host that a step of a probe asks."""
    note_host(backend_url, _PURPOSES.get(step, HostPurpose.REGISTRY), url)
