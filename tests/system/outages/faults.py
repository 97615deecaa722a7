"""The table of faults, modelled on real outages: where each is injected, how, and by what a facade detects it."""

from collections.abc import Callable
from enum import Enum

from attrs import frozen

from tests.system.outages.fronts import HANGING, FailureMode, FaultProxy, ProxyRequest
from tests.system.outages.stage import REPOSITORY, TRUST, HealthTimings, OutageStage

CHECK_TIME = 1.0
"""Seconds that a request waits for a check at most."""

CDN_CHECK_TIME = 2.0
"""The same for a pull that begins before its last blob is requested, with a check of the CDN."""


class Detection(Enum):
    """What detects a fault in a facade."""

    PROBED = "steps 1 to 3 of a probe"
    DEEP = "step 4 of a probe, every deep_interval"
    BY_CHANCE = "step 4 of a probe, if it happens to hit it"
    SERVING = "a request that is served"


class Promise(Enum):
    """What a facade promises to the clients that a fault hits."""

    PROVEN = "no pull fails that begins after the last proof has expired"
    ONCE = "a client fails once, and is served when it asks again"
    BROWN_OUT = "no pull fails while the facade is off the main registry"


@frozen
class Fault:
    """A fault of the main registry.

    `inject` begins it; afterwards, all proxies of the main registry recover. `times_out`: a probe detects it only by
    its timeout. `undetected_because` is the reason why facades may keep the main registry active. `keeps_redirecting`:
    after detection, facades still redirect clients to the main registry. `needs_tls`: the main registry speaks TLS.
    `needs_name`: its URL has a host name instead of an address. `at_other_cdn`: it hits only a CDN on which the canary
    is not, but the images are.
    """

    name: str
    inject: Callable[[OutageStage], None]
    detected_by: Detection = Detection.PROBED
    promise: Promise = Promise.PROVEN
    times_out: bool = False
    undetected_because: str = ""
    keeps_redirecting: bool = False
    needs_tls: bool = False
    needs_name: bool = False
    at_other_cdn: bool = False

    def detection_limit(self, timings: HealthTimings) -> float | None:
        """Return the limit in seconds for facades to detect the fault, or None if they need not."""
        if self.undetected_because:
            return None
        return timings.detected_within(times_out=self.times_out, deep=self.detected_by is Detection.DEEP)

    @property
    def is_after_redirect(self) -> bool:
        """Whether the fault hits a client only after its redirect to the CDN, when a facade can no longer help."""
        return self.detected_by in (Detection.DEEP, Detection.BY_CHANCE) or self.at_other_cdn

    @property
    def late_after(self) -> float:
        """Seconds from the fault after which a pull begins late: by then the facade knows that proofs have expired."""
        return TRUST + (CDN_CHECK_TIME if self.is_after_redirect else CHECK_TIME)


def _registry_proxy(stage: OutageStage) -> FaultProxy:
    return stage.main.registry_proxy


def _token_proxy(stage: OutageStage) -> FaultProxy:
    return stage.main.token_proxy


def _cdn_proxy(stage: OutageStage) -> FaultProxy:
    return stage.main.cdn_proxy


def _other_cdn_proxy(stage: OutageStage) -> FaultProxy:
    return stage.main.other_cdn_proxy


def _fail(proxy: Callable[[OutageStage], FaultProxy], failure: FailureMode) -> Callable[[OutageStage], None]:
    return lambda stage: proxy(stage).fail(failure)


def _reject_tokens(stage: OutageStage) -> None:
    """Respond 401 for every manifest, whatever the token, as Docker Hub did on 2025-09-24."""
    headers = {"WWW-Authenticate": stage.main.challenge}
    _registry_proxy(stage).fail(FailureMode(_is_manifest, status=401, headers=headers))


def _is_manifest(request: ProxyRequest) -> bool:
    return request.is_manifest


def _is_manifest_get(request: ProxyRequest) -> bool:
    return request.is_manifest and request.method == "GET"


def _is_for_repository(request: ProxyRequest) -> bool:
    return request.target.startswith(f"/v2/{REPOSITORY}/")


REFUSING = FailureMode(refuses_connections=True)
RATE_LIMITED = FailureMode(_is_manifest_get, status=429)
UNPROBED = "probes spend no pulls, so none detects it"

FAULTS = (
    Fault("connection refused", _fail(_registry_proxy, REFUSING)),
    Fault("hanging after accept", _fail(_registry_proxy, HANGING), times_out=True),
    Fault("slow, 8 s", _fail(_registry_proxy, FailureMode(delay=8)), times_out=True),
    Fault("reset after accept", _fail(_registry_proxy, FailureMode(reset_rate=1))),
    Fault("503 everywhere", _fail(_registry_proxy, FailureMode(status=503))),
    Fault("500 on manifests", _fail(_registry_proxy, FailureMode(_is_manifest, status=500))),
    Fault("401 with fresh token", _reject_tokens),
    Fault("token server refuses", _fail(_token_proxy, REFUSING)),
    Fault("token server 500", _fail(_token_proxy, FailureMode(status=500))),
    Fault("CDN refuses connections", _fail(_cdn_proxy, REFUSING), Detection.DEEP),
    Fault("CDN 503", _fail(_cdn_proxy, FailureMode(status=503)), Detection.DEEP),
    Fault(
        "CDN resets 60 %",
        _fail(_cdn_proxy, FailureMode(reset_rate=0.6)),
        Detection.BY_CHANCE,
        Promise.BROWN_OUT,
        undetected_because="two probes in a row must hit it",
    ),
    Fault(
        "other CDN refuses",
        _fail(_other_cdn_proxy, REFUSING),
        promise=Promise.ONCE,
        undetected_because="the canary's CDN works",
        at_other_cdn=True,
    ),
    Fault(
        "429 on manifest GETs",
        _fail(_registry_proxy, RATE_LIMITED),
        Detection.SERVING,
        Promise.ONCE,
        undetected_because=UNPROBED,
    ),
    Fault(
        "429, 0 pulls remaining",
        _fail(_registry_proxy, FailureMode(_is_manifest_get, status=429, pulls_remaining=0)),
        promise=Promise.ONCE,
        keeps_redirecting=True,
    ),
    Fault(
        "repository gone (404)",
        _fail(_registry_proxy, FailureMode(_is_for_repository, status=404)),
        Detection.SERVING,
        Promise.ONCE,
        undetected_because="a 404 concerns one image, not the registry",
    ),
    Fault(
        "wrong digest",
        _fail(_registry_proxy, FailureMode(_is_manifest, corrupts_manifests=True)),
        Detection.SERVING,
        Promise.ONCE,
        undetected_because="no probe fetches a known manifest again",
    ),
    # only ctr verifies certificates here: dockerd verifies none in a pull that starts from a loopback address
    Fault("certificate expired", _fail(_registry_proxy, FailureMode(expired_certificate=True)), needs_tls=True),
    Fault(
        "DNS failing",
        lambda stage: stage.make_main_name_resolve(False),
        promise=Promise.ONCE,
        undetected_because="facades use the last good address; redirected clients resolve the name themselves",
        needs_name=True,
    ),
)
