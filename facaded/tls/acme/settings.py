"""The settings in [tls.acme], as frozen classes."""

import re
from enum import Enum
from pathlib import Path

from attrs import frozen

from facaded.net.addresses import is_address

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"

MOST_NAMES = 100
"""The most names in one certificate: Let's Encrypt's limit."""

_DNS_NAME = re.compile(r"(?=.{1,253}\Z)(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*")


class ChallengeKind(Enum):
    """A kind of challenge: the method by which a CA validates that facaded controls a name."""

    TLS_ALPN = "tls-alpn-01"
    HTTP = "http-01"

    @property
    def port(self) -> int:
        """The port that a CA connects to (RFC 8737 §3, RFC 8555 §8.3)."""
        return 443 if self is ChallengeKind.TLS_ALPN else 80

    @property
    def other(self) -> "ChallengeKind":
        """The kind to use if this one does not work."""
        return ChallengeKind.HTTP if self is ChallengeKind.TLS_ALPN else ChallengeKind.TLS_ALPN


@frozen
class CertificateAuthority:
    """[[tls.acme.ca]]: a CA by its directory URL, the external account to bind to, and the trust roots of its API."""

    directory: str = LETS_ENCRYPT
    profile: str | None = None
    eab_key_id: str | None = None
    eab_hmac_key_file: Path | None = None
    ca_file: Path | None = None


@frozen
class AcmeSettings:
    """[tls.acme]: each tuple in `domains` is one certificate; `cas` and `challenges` are in order of preference."""

    domains: tuple[tuple[str, ...], ...]
    challenges: tuple[ChallengeKind, ...] = (ChallengeKind.TLS_ALPN, ChallengeKind.HTTP)
    email: str | None = None
    cas: tuple[CertificateAuthority, ...] = (CertificateAuthority(),)

    @property
    def directories(self) -> tuple[str, ...]:
        """The directory URLs of the CAs."""
        return tuple(ca.directory for ca in self.cas)

    def challenges_from(self, turn: int) -> tuple[ChallengeKind, ...]:
        """Return all kinds of challenge, rotated so that the kind number `turn`, counted from 0, comes first."""
        turn %= len(self.challenges)
        return self.challenges[turn:] + self.challenges[:turn]


def refusal(name: str) -> str | None:
    """Return why no certificate can be ordered for `name`, and what to do; None if one can."""
    if name.startswith("*."):
        return (
            f"{name}: a wildcard needs a dns-01 challenge, which facaded does not support: list each host, or obtain "
            "the certificate with certbot or another ACME client, and configure its files in [[tls.certificate]]"
        )
    if is_address(name):
        return f"{name}: this is an address, and certificates are ordered for names: use the host name"
    if not _DNS_NAME.fullmatch(name):
        return f"{name[:80]!r} is not a lower-case DNS name: use letters, digits, hyphens and dots"
    return None
