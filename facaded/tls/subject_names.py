"""The names in a certificate: DNS names, and IP addresses, which have a type of their own (RFC 8738)."""

import ipaddress
from collections.abc import Iterable

from cryptography import x509

from facaded.net.addresses import is_address


def general_name(name: str) -> x509.GeneralName:
    """Return a DNS name or an address as it is written into a certificate."""
    return x509.IPAddress(ipaddress.ip_address(name)) if is_address(name) else x509.DNSName(name)


def alternative_names(names: Iterable[str]) -> x509.SubjectAlternativeName:
    """Return the extension with these DNS names and addresses."""
    return x509.SubjectAlternativeName(map(general_name, names))


def read_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the DNS names of a certificate in lower case, and its addresses as text; other types are left out.

    Raises ExtensionNotFound, DuplicateExtension or ValueError if it has no readable names.
    """
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    dns_names = (name.lower() for name in extension.get_values_for_type(x509.DNSName))
    return tuple(dict.fromkeys((*dns_names, *map(str, extension.get_values_for_type(x509.IPAddress)))))


def challenge_name(name: str) -> str:
    """Return the name that a CA sends by SNI for a tls-alpn-01 challenge: for an address, its reverse mapping.

    An address itself is not allowed there (RFC 6066 §3, RFC 8738 §6).
    """
    return ipaddress.ip_address(name).reverse_pointer if is_address(name) else name
