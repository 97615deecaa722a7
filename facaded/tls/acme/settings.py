"""What is asked of which CA: [tls.acme] of the settings, as frozen classes."""

import re
from enum import Enum
from pathlib import Path

from attrs import frozen

from facaded.net.addresses import is_address

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"

MOST_NAMES = 100
"""Names in one certificate: as many as Let's Encrypt allows."""

_DNS_NAME = re.compile(r"(?=.{1,253}\Z)(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*")


class ChallengeKind(Enum):
    """A kind of challenge: how a CA is shown that a name leads here."""

    TLS_ALPN = "tls-alpn-01"
    HTTP = "http-01"

    @property
    def port(self) -> int:
        """The port that a CA connects to (RFC 8737 §3, RFC 8555 §8.3)."""
        return 443 if self is ChallengeKind.TLS_ALPN else 80

    @property
    def other(self) -> "ChallengeKind":
        """What to try where this one does not work."""
        return ChallengeKind.HTTP if self is ChallengeKind.TLS_ALPN else ChallengeKind.TLS_ALPN


@frozen
class CertificateAuthority:
    """[[tls.acme.ca]]: a CA by its directory, the account it binds ours to, and the file of its API's trust roots."""

    directory: str = LETS_ENCRYPT
    profile: str | None = None
    eab_key_id: str | None = None
    eab_hmac_key_file: Path | None = None
    ca_file: Path | None = None


@frozen
class AcmeSettings:
    """[tls.acme]: each tuple of `domains` is one certificate; `cas` and `challenges` are in order of preference."""

    domains: tuple[tuple[str, ...], ...]
    challenges: tuple[ChallengeKind, ...] = (ChallengeKind.TLS_ALPN, ChallengeKind.HTTP)
    email: str | None = None
    cas: tuple[CertificateAuthority, ...] = (CertificateAuthority(),)

    @property
    def directories(self) -> tuple[str, ...]:
        """The CAs by their directories."""
        return tuple(ca.directory for ca in self.cas)

    def challenges_from(self, turn: int) -> tuple[ChallengeKind, ...]:
        """Return all kinds of challenge, beginning with the one whose turn it is."""
        turn %= len(self.challenges)
        return self.challenges[turn:] + self.challenges[:turn]


def refusal(name: str) -> str | None:
    """Return why no certificate can be ordered for `name`, and what to do; None if it can."""
    if name.startswith("*."):
        return (
            f"{name}: a wildcard needs a dns-01 challenge, which facaded cannot answer: list each host, "
            "or get the certificate with certbot or the like and name its files in [[tls.certificate]]"
        )
    if is_address(name):
        return f"{name}: this is an address, and certificates are ordered for names: name the host"
    if not _DNS_NAME.fullmatch(name):
        return f"{name[:80]!r}: this is no DNS name in lower case: letters, digits, hyphens and dots"
    return None
