"""The result of one probe, as a line for a person."""

from facaded.policy.health import Confirmations, Result, Step, Verdict

_PLACES = {
    Step.PING: "GET /v2/",
    Step.TOKEN: "the token server",
    Step.MANIFEST: "the canary's manifest",
    Step.BODY: "the canary's manifest (GET)",
    Step.BLOB: "the canary's blob",
    Step.CDN: "the CDN",
}


def probe_text(name: str, result: Result) -> str:
    """Write the result of a probe of the backend `name`, with the time that it took in milliseconds."""
    return f"{name}: {_outcome(result)} ({result.latency * 1000:.0f} ms)"


def _outcome(result: Result) -> str:
    place = _PLACES[result.step]
    match result.verdict:
        case Verdict.BAD:
            return f"FAILED at {place}: {result.reason}{_confirmed(result.confirmations)}"
        case Verdict.LIMITED:
            return f"rate-limited at {place}: {result.reason}"
        case Verdict.LOCAL:
            return f"this machine could not ask {place}: {result.reason}"
        case Verdict.GOOD if result.canary and result.canary.drift:
            return f"OK, but the canary drifts: {result.canary.drift}"
        case Verdict.GOOD if result.step in (Step.BLOB, Step.CDN):
            return "OK, all steps passed"
        case Verdict.GOOD if result.canary:
            return f"OK up to {place}"
        case Verdict.GOOD:
            return f"OK up to {place}, no canary"


def _confirmed(confirmations: Confirmations | None) -> str:
    if confirmations is None:
        return ""
    return f", and {confirmations.failed} of {confirmations.sent} more requests failed"
