"""What is known of public CAs: which they are, their staging directories, and the names that none of them issues for.

Their rules are the Baseline Requirements of the CA/Browser Forum: since 2015, no certificate for a name or an address
that is not of the public Internet (§4.2.2 and §7.1.4.2.1).
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from facaded.net.addresses import is_address, is_public

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"

STAGING: Mapping[str, str] = {LETS_ENCRYPT: LETS_ENCRYPT_STAGING, LETS_ENCRYPT_STAGING: LETS_ENCRYPT_STAGING}
"""The staging directory of a CA, by its directory: it issues certificates that nobody trusts, with generous limits."""

DOMAINS = ("letsencrypt.org", "pki.goog", "zerossl.com", "acme.ssl.com", "acme-api.actalis.com")
"""The domains of directories where every certificate is a public one; some companies have private CAs beside them."""

ADDRESS_PROFILE = "shortlived"
"""The only profile with which Let's Encrypt issues for IP addresses; such a certificate is valid for 160 hours."""

PRIVATE_DOMAINS = (
    *("localhost", "local", "internal", "test", "example", "invalid", "alt"),
    *("home.arpa", "lan", "home", "corp", "mail", "intranet", "private", "localdomain", "domain", "workgroup"),
)
"""Domains that are not of the public Internet: reserved (RFC 2606, 6761, 6762, 8375, 9476; ICANN's `internal`
and its never-delegated `home`, `corp` and `mail`), or in wide use in private networks and never delegated."""


def is_public_authority(directory: str) -> bool:
    """Return whether a directory URL is known to be of a public CA."""
    host = urlsplit(directory).hostname or ""
    return any(host == domain or host.endswith(f".{domain}") for domain in DOMAINS)


def profile_for(directory: str, names: tuple[str, ...], profile: str | None) -> str | None:
    """Return the profile to order with: `profile`, unless Let's Encrypt would refuse the addresses among `names`."""
    is_lets_encrypt = directory in (LETS_ENCRYPT, LETS_ENCRYPT_STAGING)
    return ADDRESS_PROFILE if is_lets_encrypt and any(map(is_address, names)) else profile


def why_unissuable(name: str) -> str | None:
    """Return why no public CA issues certificates for a name, None if one may."""
    if is_address(name):
        return None if is_public(name) else "it is not a public address"
    private = next((domain for domain in PRIVATE_DOMAINS if name == domain or name.endswith(f".{domain}")), None)
    if private is not None:
        return f"{private} is not a public domain"
    return None if "." in name else "it is not a full domain name"
