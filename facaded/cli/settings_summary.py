"""What settings mean, as facts: the `meaning` of `facaded check --json`."""

from collections.abc import Iterator, Mapping

from attrs import field, frozen

from facaded.config.cores import count_workers
from facaded.config.paths import SYSTEM_RUNTIME, SYSTEM_STATE, control_socket, state_directory
from facaded.config.sections import Config
from facaded.oci.clients import USER_AGENTS, find_client
from facaded.oci.requests import Ping
from facaded.policy.decision import RoutingState, Rules, choose_rule

_SERVICE_ENVIRONMENT = {"RUNTIME_DIRECTORY": str(SYSTEM_RUNTIME), "STATE_DIRECTORY": str(SYSTEM_STATE)}
"""What systemd sets for systemd/facaded.service."""


@frozen
class BackendSummary:
    """One backend. `renames` has its names of repositories by the facade's; `account` is facaded's own user name."""

    name: str
    url: str
    renames: Mapping[str, str] = field(factory=dict)
    canary: str | None = None
    account: str | None = None


@frozen
class RouteSummary:
    """The order in which backends are tried. `repositories` is empty for all that no other route names."""

    repositories: tuple[str, ...]
    backends: tuple[str, ...]


@frozen
class ClientsSummary:
    """Which clients are redirected and which are served while every backend is up; `other` is any unknown client.

    `credentials_for` is the backend that clients log in to with their own account, if there is one.
    """

    redirected: tuple[str, ...]
    served: tuple[str, ...]
    credentials_for: str | None = None


@frozen
class ListenersSummary:
    """The addresses of each listener as the settings write them, and whether the plain port redirects to https."""

    http: tuple[str, ...]
    https: tuple[str, ...]
    admin: tuple[str, ...]
    http_redirects: bool = False


@frozen
class PathsSummary:
    """Paths that depend on the environment unless the settings name them."""

    control: str
    state: str

    @classmethod
    def of(cls, config: Config, environ: Mapping[str, str]) -> "PathsSummary":
        """Return the paths with these environment variables."""
        return cls(str(control_socket(config, environ)), str(state_directory(config, environ)))


@frozen
class CertificateSummary:
    """A certificate: from a file, or of these names from one of the authorities, in order."""

    names: tuple[str, ...] = ()
    chain: str | None = None
    authorities: tuple[str, ...] = ()


@frozen
class SettingsSummary:
    """What settings mean. Empty `hosts` and `repositories` stand for any; `tls` says whether https is spoken.

    `workers` is the number of processes that answer clients, on `cores` cores that this command may use. `paths` are
    those in the environment of the command, `service_paths` those of the systemd service.
    """

    hosts: tuple[str, ...]
    repositories: tuple[str, ...]
    backends: tuple[BackendSummary, ...]
    routes: tuple[RouteSummary, ...]
    clients: ClientsSummary
    listeners: ListenersSummary
    workers: int
    cores: int
    paths: PathsSummary
    service_paths: PathsSummary
    tls: bool
    certificates: tuple[CertificateSummary, ...]


def summarize(config: Config, environ: Mapping[str, str], cores: int) -> SettingsSummary:
    """Return what these settings mean with these environment variables, and with as many cores to use."""
    listen, tls = config.listen, config.tls
    return SettingsSummary(
        hosts=config.hosts,
        repositories=tuple(pattern.text for pattern in config.repositories),
        backends=tuple(_backends(config)),
        routes=tuple(
            RouteSummary(tuple(pattern.text for pattern in route.repositories), route.backends)
            for route in config.rules.routes
        ),
        clients=_clients(config.rules),
        listeners=ListenersSummary(
            http=tuple(address.text for address in listen.http),
            https=tuple(address.text for address in listen.https if tls is not None),
            admin=tuple(address.text for address in listen.admin),
            http_redirects=config.redirects_http,
        ),
        workers=count_workers(config, cores),
        cores=cores,
        paths=PathsSummary.of(config, environ),
        service_paths=PathsSummary.of(config, _SERVICE_ENVIRONMENT),
        tls=tls is not None,
        certificates=tuple(_certificates(config)),
    )


def _backends(config: Config) -> Iterator[BackendSummary]:
    for backend in config.backends:
        renames = {rename.facade.text: rename.backend.text for rename in backend.rename or ()}
        canary = config.canary(backend)
        yield BackendSummary(backend.name, backend.url, renames, str(canary) if canary else None, backend.username)


def _clients(rules: Rules) -> ClientsSummary:
    """Ask the rules about every known client, with every backend up: then the first of each route is active."""
    first = tuple(route.backends[0] for route in rules.routes)
    routing = RoutingState(first, first)
    redirected = [name for name in USER_AGENTS if choose_rule(Ping(), find_client(name), rules, routing).redirects]
    served = [name for name in USER_AGENTS if name not in redirected]
    return ClientsSummary(tuple(redirected), tuple(served), rules.private)


def _certificates(config: Config) -> Iterator[CertificateSummary]:
    for files in config.tls.certificates if config.tls else ():
        yield CertificateSummary(chain=str(files.chain))
    for names in config.certificate_names:
        yield CertificateSummary(names=names, authorities=config.acme.directories)
