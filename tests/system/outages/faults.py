"""What real outages look like: the table of faults, each with who is struck, how, and what a facade can see of it."""

from collections.abc import Callable
from enum import Enum

from attrs import frozen

from tests.system.outages.fronts import HANGS, Asked, Failure, Front
from tests.system.outages.stage import PACE, REPOSITORY, Stage


class Seen(Enum):
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
    strike: Callable[[Stage], None]
    seen: Seen = Seen.PROBED
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
        return PACE.noticed_within(times_out=self.times_out, deep=self.seen is Seen.DEEP)

    @property
    def of_cdn(self) -> bool:
        """Whether it strikes after the redirect to the CDN was handed out, where no facade can help."""
        return self.seen in (Seen.DEEP, Seen.BY_LUCK)


def _front(stage: Stage) -> Front:
    return stage.main.front


def _tokens(stage: Stage) -> Front:
    return stage.main.tokens


def _cdn(stage: Stage) -> Front:
    return stage.main.cdn


def _fails(part: Callable[[Stage], Front], failure: Failure) -> Callable[[Stage], None]:
    return lambda stage: part(stage).fail(failure)


def _refuses_tokens(stage: Stage) -> None:
    """As Docker Hub did on 2025-09-24: 401 for every manifest, whatever the token."""
    headers = {"WWW-Authenticate": stage.main.challenge}
    _front(stage).fail(Failure(_is_manifest, status=401, headers=headers))


def _is_manifest(asked: Asked) -> bool:
    return asked.is_manifest


def _is_manifest_get(asked: Asked) -> bool:
    return asked.is_manifest and asked.method == "GET"


def _is_of_repository(asked: Asked) -> bool:
    return asked.target.startswith(f"/v2/{REPOSITORY}/")


REFUSES = Failure(refuses=True)
LIMITS = Failure(_is_manifest_get, status=429)
FREE = "no probe spends a pull, so none sees it"

FAULTS = (
    Fault("connection refused", _fails(_front, REFUSES)),
    Fault("hanging after accept", _fails(_front, HANGS), times_out=True),
    Fault("slow, 8 s", _fails(_front, Failure(waits=8)), times_out=True),
    Fault("reset after accept", _fails(_front, Failure(resets=1))),
    Fault("503 everywhere", _fails(_front, Failure(status=503))),
    Fault("500 on manifests", _fails(_front, Failure(_is_manifest, status=500))),
    Fault("401 with fresh token", _refuses_tokens),
    Fault("token server dead", _fails(_tokens, REFUSES)),
    Fault("token server 500", _fails(_tokens, Failure(status=500))),
    Fault("CDN dead", _fails(_cdn, REFUSES), Seen.DEEP),
    Fault("CDN 503", _fails(_cdn, Failure(status=503)), Seen.DEEP),
    Fault("60 % of CDN reset", _fails(_cdn, Failure(resets=0.6)), Seen.BY_LUCK, otherwise="two probes must meet it"),
    Fault("429 on manifest GETs", _fails(_front, LIMITS), Seen.SERVING, otherwise=FREE),
    Fault(
        "429, HEAD says 0 left",
        _fails(_front, Failure(_is_manifest_get, status=429, remaining=0)),
        redirects_stay=True,
    ),
    Fault(
        "repository gone (404)",
        _fails(_front, Failure(_is_of_repository, status=404)),
        Seen.SERVING,
        otherwise="404 is drift: one image, not the registry",
    ),
    Fault(
        "wrong digest",
        _fails(_front, Failure(_is_manifest, spoils=True)),
        Seen.SERVING,
        otherwise="no probe reads a manifest that it knows",
    ),
    # of the clients ctr alone looks at certificates: dockerd trusts every address that starts from a loopback one
    Fault("certificate expired", _fails(_front, Failure(expired=True)), tls=True),
    Fault(
        "DNS failing",
        lambda stage: stage.name_main(False),
        otherwise="the last good address is used; clients have to find their own",
        named=True,
    ),
)
