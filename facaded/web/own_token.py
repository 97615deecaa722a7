"""The facade's own token: it marks a pull that is served from its ping on, and grants nothing.

Docker takes its token from the challenge of `GET /v2/` alone, sends it with every later request to the same host, and
to no other. So it needs no secret, and is the same for everybody, after every restart, and at every replica.
"""

import json
import re

TOKEN = "facaded-serves-this-pull"  # noqa: S105  # nosec B105  # it grants nothing

LIFE = 86400
"""Seconds after which a client asks for the token again: longer than any pull."""

DOCUMENT = json.dumps({"token": TOKEN, "access_token": TOKEN, "expires_in": LIFE}).encode()
"""The answer of the token server (distribution's "Token Authentication Specification"; `access_token` is OAuth 2's)."""

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PROTO = re.compile(r"(?:^|[;,\s])proto=\"?(https?)\b", re.IGNORECASE)


def is_own(authorization: str) -> bool:
    """Return whether the value of an Authorization header is the facade's own token."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() == TOKEN and scheme.lower() == "bearer"


def own_challenge(host: str, secure: bool, forwarded_proto: str = "", forwarded: str = "") -> str:
    """Return the WWW-Authenticate value that sends a client to the facade's own `/token`, on the host that it asked.

    `host` is the value of the Host header, and `secure` whether the connection is TLS. A proxy in front that ends TLS
    names the scheme in X-Forwarded-Proto, or in Forwarded (RFC 7239). That is believed from anybody, because only the
    answer to its own sender depends on it.
    """
    service = host.strip() if _HOST.fullmatch(host.strip()) else "localhost"
    proto = forwarded_proto.partition(",")[0].strip().lower()
    if not proto and (match := _PROTO.search(forwarded)):
        proto = match[1].lower()
    scheme = "https" if secure or proto == "https" else "http"
    return f'Bearer realm="{scheme}://{service}/token",service="{service}"'
