"""The line of a probe in `facaded check --probe`."""

import pytest

from facaded.cli.probe_text import probe_text
from facaded.policy.health import Canary, Confirmations, Result, Step, Verdict


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (Result(Verdict.GOOD, Step.BLOB, "blob found", 0.1234, canary=Canary(True)), "OK, all steps passed (123 ms)"),
        (Result(Verdict.GOOD, Step.TOKEN, "token granted", 0.02), "OK up to the token server, no canary (20 ms)"),
        (Result(Verdict.GOOD, Step.PING, "answered 200", 0.0), "OK up to GET /v2/, no canary (0 ms)"),
        (
            Result(Verdict.GOOD, Step.MANIFEST, "", 0.1, canary=Canary(False, drift="answered 404 for the canary")),
            "OK, but the canary drifts: answered 404 for the canary (100 ms)",
        ),
        (Result(Verdict.BAD, Step.TOKEN, "timeout", 3.0), "FAILED at the token server: timeout (3000 ms)"),
        (
            Result(Verdict.BAD, Step.BLOB, "answered 500", 0.1),
            "FAILED at the canary's blob: answered 500 (100 ms)",
        ),
        (
            Result(Verdict.BAD, Step.CDN, "answered 500", 0.1, confirmations=Confirmations(5, 2)),
            "FAILED at the CDN: answered 500, and 2 of 5 more requests failed (100 ms)",
        ),
        (Result(Verdict.GOOD, Step.CDN, "", 0.1, canary=Canary(True)), "OK, all steps passed (100 ms)"),
        (
            Result(Verdict.GOOD, Step.BODY, "", 0.1, canary=Canary(True)),
            "OK up to the canary's manifest (GET) (100 ms)",
        ),
        (
            Result(Verdict.LOCAL, Step.PING, "too many open files", 0.1),
            "this machine could not ask GET /v2/: too many open files (100 ms)",
        ),
        (
            Result(Verdict.LIMITED, Step.MANIFEST, "no pulls left", 0.1),
            "rate-limited at the canary's manifest: no pulls left (100 ms)",
        ),
    ],
)
def test_it_says_how_far_the_probe_came(result: Result, line: str) -> None:
    assert probe_text("ghcr", result) == f"ghcr: {line}"
