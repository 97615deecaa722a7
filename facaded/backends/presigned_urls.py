"""Presigned URLs: how long the address of a blob at a CDN can be used, where the address says so.

Sources: AWS Signature Version 4, Google Cloud Storage V4 and Alibaba Cloud OSS V4 (a date and a number of seconds, with
a prefix such as `X-Amz-`); Amazon S3 and Google Cloud Storage V2, and Amazon CloudFront (`Expires`, in seconds since
the epoch); Azure shared access signatures (`se`).
"""

import re
from datetime import UTC, datetime
from math import inf
from urllib.parse import parse_qsl, urlsplit

MOST_PARAMETERS = 100
"""Parameters of a query that are read; presigned URLs have about 15."""

_LIFETIME = re.compile(r"x-[a-z]+-expires")
_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)
_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,7})?)?Z?)?", re.ASCII)


def seconds_left(url: str, wall: float) -> float:
    """Return the seconds that a presigned URL can be used from `wall` on, which is in seconds since the epoch.

    Returns infinity if the URL does not say, and 0 if it has expired or says something that cannot be read. If it says
    several things, the earliest end counts. Never raises.
    """
    try:
        pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        return 0.0
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name.lower(), []).append(value)
    ends = [_read_seconds(value) - wall for value in values.get("expires", ())]
    if "sig" in values:
        ends += [_read_iso_date(value) - wall for value in values.get("se", ())]
    for prefix in (name.removesuffix("-expires") for name in values if _LIFETIME.fullmatch(name)):
        lives = [_read_seconds(value) for value in values[f"{prefix}-expires"]]
        dates = [_read_date(value) - wall for value in values.get(f"{prefix}-date", ())]
        ends += [life + min([0.0, *dates]) for life in lives]  # a date in the future is an error of a clock
    return max(min(ends, default=inf), 0.0)


def _read_seconds(value: str) -> float:
    return float(value) if _SECONDS.fullmatch(value) else -inf


def _read_date(value: str) -> float:
    """Return the seconds since the epoch of a date such as 20261126T074502Z."""
    try:
        parsed = datetime.strptime(value, "%Y%m%dT%H%M%SZ") if _DATE.fullmatch(value) else None  # noqa: DTZ007
    except ValueError:
        parsed = None
    return -inf if parsed is None else parsed.replace(tzinfo=UTC).timestamp()


def _read_iso_date(value: str) -> float:
    """Return the seconds since the epoch of a date such as 2026-11-26T07:45:02Z, which is UTC also without the Z."""
    try:
        parsed = datetime.fromisoformat(value) if _ISO_DATE.fullmatch(value) else None
    except ValueError:
        parsed = None
    return -inf if parsed is None else parsed.replace(tzinfo=UTC).timestamp()
