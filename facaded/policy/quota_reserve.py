"""The reserve: the last pulls that a registry allows this machine are kept for sources that had fewer than others."""

from facaded.policy.health import Quota

SHARES = 10
"""Sources that a reserve is enough for: the quarter of 100 pulls is two for each of twelve."""

LEAST_SHARE = 2
"""Pulls of the smallest share: one image is an index and the manifest of one platform."""

DEFAULT_WINDOW = 21600.0
"""Seconds of a quota's window if the registry does not say: Docker Hub's six hours."""

LONGEST_WINDOW = 86400.0
"""Most seconds of a window, a day: one wrong header (`w=999999999`) must not count the pulls of a source for years."""


def is_low(quota: Quota, percent: int) -> bool:
    """Return whether only the reserve is left, which is `percent` of the limit. Without a known limit there is none."""
    return quota.limit is not None and percent > 0 and quota.remaining <= quota.limit * percent / 100


def share(limit: int, percent: int) -> int:
    """Return how many pulls of a limit one source may have in a window and still use the reserve."""
    return max(limit * percent // 100 // SHARES, LEAST_SHARE)


def allows_pull(quota: Quota, percent: int, used: int) -> bool:
    """Return whether a source that had `used` pulls in the window may have another one."""
    return quota.limit is None or not is_low(quota, percent) or used < share(quota.limit, percent)


def window(quota: Quota) -> float:
    """Return the seconds after which a source's pulls no longer count."""
    return min(quota.window or DEFAULT_WINDOW, LONGEST_WINDOW)
