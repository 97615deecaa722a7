"""The settings in [tls.acme], as frozen classes."""

import re
from enum import Enum
from pathlib import Path

from attrs import frozen

from facaded.net.addresses import canonical, is_address
from facaded.tls.acme.public_authorities import (
    LETS_ENCRYPT,
    STAGING,
    is_public_authority,
    profile_for,
    why_unissuable,
)

MOST_NAMES = 100
"""The most names in one certificate: Let's Encrypt's limit."""

_DNS_NAME = re.compile(r"(?=.{1,253}\Z)(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*")

_NUMERIC = re.compile(r"[0-9]+(?:\.[0-9]+)*")
"""What no name is, because its last label is a number (RFC 3696 §2)."""


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
    """[[tls.acme.ca]]: a CA by its directory URL, the external account to bind to, and the trust roots of its API.

    `staging` is the directory URL of its staging CA, if the settings name one.
    """

    directory: str = LETS_ENCRYPT
    staging: str | None = None
    profile: str | None = None
    eab_key_id: str | None = None
    eab_hmac_key_file: Path | None = None
    ca_file: Path | None = None

    @property
    def is_public(self) -> bool:
        """Whether it may have the limits of public CAs: a private one is not trusted by the system's roots."""
        return self.ca_file is None

    @property
    def staging_directory(self) -> str | None:
        """The directory URL of the staging CA; None if there is none that is known."""
        return self.staging or STAGING.get(self.directory)

    def profile_for(self, names: tuple[str, ...]) -> str | None:
        """Return the profile with which to order a certificate for these names."""
        return profile_for(self.directory, names, self.profile)

    def why_unissuable(self, name: str) -> str | None:
        """Return why this CA issues no certificate for a name, None if it may."""
        return why_unissuable(name) if is_public_authority(self.directory) else None


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

    def authority(self, directory: str | None) -> CertificateAuthority | None:
        """Return the CA with this directory URL; None if it is not one of them."""
        return next((ca for ca in self.cas if ca.directory == directory), None)

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
    if is_address(name) and name == canonical(name) and "%" not in name:
        return None
    if _NUMERIC.fullmatch(name):
        return f"{name[:80]!r} is not an IP address: write four numbers from 0 to 255"
    if not _DNS_NAME.fullmatch(name):
        return (
            f"{name[:80]!r} is neither a lower-case DNS name nor an IP address: use letters, digits, hyphens and dots"
        )
    return None
