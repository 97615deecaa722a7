"""The pages of lists: their bounds, and how a registry names the next one."""

import re
from itertools import islice
from urllib.parse import urlsplit

from facaded.oci.requests import is_query

LIST_SIZE = 4 << 20
"""Largest list of tags or referrers in bytes, as for manifests: a referrers list is an index."""

MOST_VALUES_OF_LIST = 100_000
"""Most values of a list: to parse 100,000 tags takes 30 ms. Longer ones can be read page by page (`n=`)."""

LINK_LENGTH = 8192
"""Longest Link header in characters: it has a path and a query, which are shorter."""

LINKS = 10
"""Links of a header that are read: a list has one for the next page, and perhaps others."""

NO_REFERRERS = (404, 405, 406, 410, 501)
"""Statuses of registries without the referrers API: some do not know its path, others its method."""

_LINK = re.compile(r"<([^<>]*)>((?:[^,\"<]|\"[^\"]*\")*)")
_NEXT = re.compile(r";\s*rel=\"?next\"?\s*(?:;|$)", re.IGNORECASE)


def next_query(link: str, path: str) -> str | None:
    """Return the query of the `rel="next"` target in a Link header (RFC 8288), or None if that is not the same list."""
    for match in islice(_LINK.finditer(link[:LINK_LENGTH]), LINKS):
        if not _NEXT.search(match[2]):
            continue
        try:
            parts = urlsplit(match[1])
        except ValueError:
            return None
        return parts.query if parts.path == path and is_query(parts.query) else None
    return None
