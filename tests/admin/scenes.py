"""A scene for the status page: the night in which Docker Hub answers manifests with 500, half an hour after that."""

from attrs import evolve

from facaded.admin.day_strip import ConditionSpan
from facaded.admin.overview import BackendOverview, Overview, PullOverview, RateOverview, StepOverview
from facaded.admin.request_rates import RequestRate
from facaded.admin.status import (
    BackendStatus,
    CertificateStatus,
    FailureStatus,
    Headline,
    LimitStatus,
    OverrideStatus,
    ProbeStatus,
    QuotaStatus,
    RouteStatus,
    Status,
    WorkerStatus,
)
from facaded.history.past import PastChange
from facaded.history.queries import PullSum

NOW = 1_795_660_282.0
"""2026-11-26 02:31:22 UTC."""

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

FAILED_AT = NOW - 18 * MINUTE

CAUSE = "docker-hub is down (manifest: answered 500; 5 of 5 confirming requests failed)"

WHY = f"ghcr is active: {CAUSE}"


def _backend(name: str, url: str, pulls: int, why: str) -> BackendStatus:
    return BackendStatus(
        name=name,
        url=url,
        pulls_left={"address": QuotaStatus(pulls, 100, 6 * HOUR, NOW - 5)} if pulls else {},
        state="up",
        since=NOW - 9 * DAY,
        last=ProbeStatus("good", "CDN", "all steps passed", 0.21),
        relapses=0,
        failback_after=60.0,
        why=why,
    )


DOCKER_HUB = evolve(
    _backend("docker-hub", "https://registry-1.docker.io", 76, ""),
    state="down",
    since=FAILED_AT,
    last=ProbeStatus("bad", "manifest", "answered 500", 0.34),
    failed=FailureStatus("bad", "manifest", "answered 500", 0.34, NOW - 4),
    why="docker-hub has been down for 18 min (manifest: answered 500; 5 of 5 confirming requests failed): "
    "41 of 44 at manifest failed in 10 min",
)
GHCR = _backend("ghcr", "https://ghcr.io", 0, "ghcr has been up for 216 h: none of 187 requests failed in 10 min")

STATUS = Status(
    version="0.1.0",
    settings="/etc/facaded/facaded.toml",
    warnings=(),
    active="ghcr",
    active_since=FAILED_AT,
    why=WHY,
    pins={},
    handover_until=FAILED_AT + HOUR,
    stale_names={},
    routes=(
        RouteStatus((), "redirect", "ghcr", FAILED_AT, WHY),
        RouteStatus((), "serve", "ghcr", FAILED_AT, WHY),
    ),
    backends=(DOCKER_HUB, GHCR),
    certificates=(
        CertificateStatus(("docker.example.com",), "Let's Encrypt E7", NOW + 61 * DAY, False, False, "ACME"),
        CertificateStatus(
            ("registry.example.net", "*.registry.example.net"),
            "Example CA",
            NOW + 19 * DAY,
            False,
            False,
            "/etc/facaded/tls/fullchain.pem",
        ),
    ),
    limits=(LimitStatus("requests_per_source", 212, NOW - 12 * MINUTE, ""),),
    hosts=("docker.example.com",),
)

HEADLINE = Headline("amber", "Clients are fine, but one thing needs a look", FAILED_AT, (f"{CAUSE}, since 02:13 UTC",))

DAY_OF_DOCKER_HUB = (
    ConditionSpan(NOW - DAY, NOW - 15 * HOUR, "up"),
    ConditionSpan(NOW - 15 * HOUR, NOW - 14.6 * HOUR, "limited"),
    ConditionSpan(NOW - 14.6 * HOUR, NOW - 6 * HOUR, "up"),
    ConditionSpan(NOW - 6 * HOUR, NOW - 5.6 * HOUR, "degraded"),
    ConditionSpan(NOW - 5.6 * HOUR, FAILED_AT, "up"),
    ConditionSpan(FAILED_AT, NOW, "down"),
)

BACKENDS = (
    BackendOverview(
        "docker-hub",
        NOW + 9,
        44,
        41,
        600.0,
        (
            StepOverview("GET /v2/", 0.092, NOW - 4, False),
            StepOverview("token server", 0.118, NOW - 4, False),
            StepOverview("manifest", 0.131, FAILED_AT - 7, True),
            StepOverview("blob", 0.087, FAILED_AT - 41, False),
            StepOverview("CDN", 0.035, FAILED_AT - 41, False),
        ),
        DAY_OF_DOCKER_HUB,
    ),
    BackendOverview(
        "ghcr",
        NOW + 3,
        187,
        0,
        600.0,
        (
            StepOverview("GET /v2/", 0.021, NOW - 2, False),
            StepOverview("token server", 0.038, NOW - 2, False),
            StepOverview("manifest", 0.064, NOW - 2, False),
            StepOverview("blob", 0.071, NOW - 32, False),
            StepOverview("CDN", 0.018, NOW - 32, False),
        ),
        (ConditionSpan(NOW - DAY, NOW, "up"),),
    ),
)


def _change(ago: float, kind: str, severity: str, backend: str, text: str) -> PastChange:
    return PastChange(NOW - ago, kind, severity, backend, text)


CHANGES = (
    _change(18 * MINUTE, "failover", "warning", "ghcr", WHY),
    _change(18 * MINUTE, "down", "warning", "docker-hub", CAUSE),
    _change(5.6 * HOUR, "up", "notice", "docker-hub", "docker-hub is no longer degraded"),
    _change(
        6 * HOUR, "degraded", "warning", "docker-hub", "docker-hub is degraded (blob: 9 of 31 requests failed in 60 s)"
    ),
    _change(9.2 * HOUR, "override", "notice", "ghcr", "ghcr is no longer drained"),
    _change(9.7 * HOUR, "override", "notice", "ghcr", "ghcr is drained (ticket 4711: renaming packages)"),
    _change(14.6 * HOUR, "up", "notice", "docker-hub", "docker-hub is up"),
    _change(
        15 * HOUR,
        "limited",
        "warning",
        "docker-hub",
        "docker-hub is limited (manifest: rate-limited (429), retry in 30 s)",
    ),
    _change(3 * DAY, "started", "info", "", "facaded 0.1.0 started"),
)

RATES = (
    RequestRate("served", "containers", 9.85),
    RequestRate("redirected", "containerd", 41.3),
    RequestRate("redirected", "docker", 12.4),
    RequestRate("served", "docker", 3.02),
    RequestRate("redirected", "buildkit", 1.73),
    RequestRate("refused", "other", 0.05),
)

PULLS = PullOverview(
    7,
    PullSum("", 48_211, 9_120, 611),
    (
        PullSum("example/server", 31_874, 6_021),
        PullSum("example/worker", 9_405, 1_877),
        PullSum("example/cli", 4_990, 1_130),
        PullSum("example/charts/server", 1_204, 92),
        PullSum("example/base", 738),
    ),
)

OUTAGE = Overview(
    at=NOW,
    headline=HEADLINE,
    status=STATUS,
    backends=BACKENDS,
    changes=CHANGES,
    requests=RateOverview(60.0, 68.35, tuple(sorted(RATES, key=lambda one: -one.per_second))),
    pulls=PULLS,
)

PROCESSES = evolve(
    OUTAGE,
    status=evolve(
        STATUS,
        workers=(
            WorkerStatus(0, 811, NOW - 3 * DAY, "up", 104, 9_120_332),
            WorkerStatus(1, 815, NOW - 3 * DAY, "up", 98, 9_090_114),
        ),
        pins={"ghcr": OverrideStatus(NOW - 17 * MINUTE, NOW + 2 * HOUR, "ticket 4712: Docker Hub is down")},
    ),
)
