"""The pulls that a registry still grants, as it says in its headers."""

import re

from facaded.net.client import ResponseHead
from facaded.policy.health import Quota

_RATE = re.compile(r"(\d{1,15})(?:;w=(\d{1,9}))?")


def read_quota(head: ResponseHead) -> Quota | None:
    """The pulls that are left, as Docker Hub says it: `ratelimit-remaining: 76;w=21600`. None if it does not say."""
    remaining = _RATE.fullmatch(head.value("RateLimit-Remaining"))
    if not remaining:
        return None
    limit = _RATE.fullmatch(head.value("RateLimit-Limit"))
    return Quota(int(remaining[1]), int(limit[1]) if limit else None, float(remaining[2] or 0))
