"""What real outages look like: the table of faults, each with who is struck, how, and what a facade can see of it."""

from collections.abc import Callable
from enum import Enum

from attrs import frozen

from tests.system.outages.fronts import HANGS, FailureMode, Front, ProxyRequest
from tests.system.outages.stage import REPOSITORY, TIMINGS, OutageStage


class Detection(Enum):
    """How a facade comes to know of a fault."""

    PROBED = "steps 1 to 3 of a probe"
    DEEP = "step 4 of a probe, every deep_interval"
    BY_LUCK = "step 4 of a probe, if it happens to meet it"
    SERVING = "a request that is served"


@frozen
class Fault:
    """One row of the table.

    `strike` does it, and every front of the main registry is mended afterwards. `times_out` if a probe learns of it
    only by waiting. A fault that may go unnoticed says what happens `otherwise`; `redirects_stay` if redirects lead to
    the main registry even when it is noticed.
    """

    name: str
    strike: Callable[[OutageStage], None]
    seen: Detection = Detection.PROBED
    times_out: bool = False
    otherwise: str = ""
    redirects_stay: bool = False
    tls: bool = False
    named: bool = False

    @property
    def bound(self) -> float | None:
        """Seconds within which it must be noticed, if it must."""
        if self.otherwise:
            return None
        return TIMINGS.noticed_within(times_out=self.times_out, deep=self.seen is Detection.DEEP)

    @property
    def of_cdn(self) -> bool:
        """Whether it strikes after the redirect to the CDN was handed out, where no facade can help."""
        return self.seen in (Detection.DEEP, Detection.BY_LUCK)


def _front(stage: OutageStage) -> Front:
    return stage.main.front


def _tokens(stage: OutageStage) -> Front:
    return stage.main.tokens


def _cdn(stage: OutageStage) -> Front:
    return stage.main.cdn


def _fails(part: Callable[[OutageStage], Front], failure: FailureMode) -> Callable[[OutageStage], None]:
    return lambda stage: part(stage).fail(failure)


def _refuses_tokens(stage: OutageStage) -> None:
    """As Docker Hub did on 2025-09-24: 401 for every manifest, whatever the token."""
    headers = {"WWW-Authenticate": stage.main.challenge}
    _front(stage).fail(FailureMode(_is_manifest, status=401, headers=headers))


def _is_manifest(asked: ProxyRequest) -> bool:
    return asked.is_manifest


def _is_manifest_get(asked: ProxyRequest) -> bool:
    return asked.is_manifest and asked.method == "GET"


def _is_of_repository(asked: ProxyRequest) -> bool:
    return asked.target.startswith(f"/v2/{REPOSITORY}/")


REFUSES = FailureMode(refuses=True)
LIMITS = FailureMode(_is_manifest_get, status=429)
FREE = "no probe spends a pull, so none sees it"

FAULTS = (
    Fault("connection refused", _fails(_front, REFUSES)),
    Fault("hanging after accept", _fails(_front, HANGS), times_out=True),
    Fault("slow, 8 s", _fails(_front, FailureMode(waits=8)), times_out=True),
    Fault("reset after accept", _fails(_front, FailureMode(resets=1))),
    Fault("503 everywhere", _fails(_front, FailureMode(status=503))),
    Fault("500 on manifests", _fails(_front, FailureMode(_is_manifest, status=500))),
    Fault("401 with fresh token", _refuses_tokens),
    Fault("token server dead", _fails(_tokens, REFUSES)),
    Fault("token server 500", _fails(_tokens, FailureMode(status=500))),
    Fault("CDN dead", _fails(_cdn, REFUSES), Detection.DEEP),
    Fault("CDN 503", _fails(_cdn, FailureMode(status=503)), Detection.DEEP),
    Fault(
        "60 % of CDN reset",
        _fails(_cdn, FailureMode(resets=0.6)),
        Detection.BY_LUCK,
        otherwise="two probes must meet it",
    ),
    Fault("429 on manifest GETs", _fails(_front, LIMITS), Detection.SERVING, otherwise=FREE),
    Fault(
        "429, HEAD says 0 left",
        _fails(_front, FailureMode(_is_manifest_get, status=429, remaining=0)),
        redirects_stay=True,
    ),
    Fault(
        "repository gone (404)",
        _fails(_front, FailureMode(_is_of_repository, status=404)),
        Detection.SERVING,
        otherwise="404 is drift: one image, not the registry",
    ),
    Fault(
        "wrong digest",
        _fails(_front, FailureMode(_is_manifest, spoils=True)),
        Detection.SERVING,
        otherwise="no probe reads a manifest that it knows",
    ),
    # of the clients ctr alone looks at certificates: dockerd trusts every address that starts from a loopback one
    Fault("certificate expired", _fails(_front, FailureMode(expired=True)), tls=True),
    Fault(
        "DNS failing",
        lambda stage: stage.name_main(False),
        otherwise="the last good address is used; clients have to find their own",
        named=True,
    ),
)
