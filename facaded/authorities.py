"""Whether the ACME directories of the settings can be reached, and what they say: for `facaded check`."""

from attrs import frozen
from OpenSSL import crypto
from twisted.internet.defer import Deferred, TimeoutError, gatherResults

from facaded.net.addresses import is_address
from facaded.tls.acme.documents import Directory
from facaded.tls.acme.problems import AcmeError
from facaded.tls.acme.settings import AcmeSettings, CertificateAuthority
from facaded.tls.acme.wire import CaNetwork

TIME_LIMIT = 15.0
"""Seconds for a directory; connecting to an address of it may take ten."""


@frozen
class AuthorityReport:
    """What is known of one authority. `terms` is the URL of its terms of service, None if it names none.

    `staging` is the directory for dry runs, None if none is known. `problem` is why no certificate would come from it.
    """

    directory: str
    terms: str | None = None
    staging: str | None = None
    problem: str | None = None


async def reach_authorities(acme: AcmeSettings, network: CaNetwork) -> tuple[AuthorityReport, ...]:
    """Fetch the directory of each authority."""
    addresses = tuple(name for names in acme.domains for name in names if is_address(name))
    return tuple(await gatherResults(Deferred.fromCoroutine(_reach(ca, addresses, network)) for ca in acme.cas))


async def _reach(ca: CertificateAuthority, addresses: tuple[str, ...], network: CaNetwork) -> AuthorityReport:
    staging = ca.staging_directory
    try:
        fetching = Deferred.fromCoroutine(network.wire(ca).directory())
        directory = await fetching.addTimeout(TIME_LIMIT, network.clock)
    except TimeoutError:
        return AuthorityReport(ca.directory, None, staging, f"no answer within {TIME_LIMIT:.0f} s")
    except (AcmeError, OSError, crypto.Error) as error:
        return AuthorityReport(ca.directory, None, staging, str(error))
    return AuthorityReport(ca.directory, directory.terms, staging, _problem(ca, addresses, directory))


def _problem(ca: CertificateAuthority, addresses: tuple[str, ...], directory: Directory) -> str | None:
    """Return what the directory says against an order with these settings."""
    profiles = dict.fromkeys((ca.profile, ca.profile_for(addresses)))
    for profile in (profile for profile in profiles if profile is not None and profile not in directory.profiles):
        available = ", ".join(directory.profiles) or "none"
        return f"it has no profile {profile} (available: {available}): correct `profile` in [[tls.acme.ca]]"
    if directory.account_required and ca.eab_key_id is None:
        return "it requires an external account: set eab_key_id and eab_hmac_key_file in [[tls.acme.ca]]"
    return None
