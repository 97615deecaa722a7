"""Request ids: the value of X-Request-Id in an answer, and of the same request in the access log."""

import secrets
from collections.abc import Iterator
from itertools import count

PREFIX_BYTES = 4
"""Random bytes that all ids of one site begin with, so that those of two starts differ."""


def number_requests(prefix: str = "") -> Iterator[str]:
    """Return ids without end, such as `1f0c9a7e-2b`: a prefix, random by default, and the number of the request.

    Each takes a tenth of a microsecond. What a client sends as its X-Request-Id is not used: it could be anything.
    """
    pattern = f"{prefix or secrets.token_hex(PREFIX_BYTES)}-%x"
    return map(pattern.__mod__, count(1))
