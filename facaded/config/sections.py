"""The settings as frozen classes, with the defaults of a daemon without a file. Times in seconds, sizes in bytes."""

from enum import Enum
from functools import cached_property
from pathlib import Path

from attrs import evolve, field, frozen

from facaded.backends.own_account import Credentials
from facaded.config.listen_addresses import Address, parse
from facaded.net.addresses import is_address
from facaded.oci.requests import Image
from facaded.policy import health, repositories
from facaded.policy.decision import BackendRules, Mode, Route, Rules
from facaded.policy.limits import Limits, Network
from facaded.policy.repositories import Pattern, Rename
from facaded.policy.sources import Addresses
from facaded.tls.acme.settings import AcmeSettings
from facaded.tls.certificate_files import CertificateFiles
from facaded.web.accesslog import LoggedAnswers, LogStyle


class Auth(Enum):
    """Who authenticates at a backend: the facade if the backend wants it, or the client with its own credentials."""

    ANONYMOUS = "anonymous"
    CLIENT = "client"


@frozen
class Backend:
    """[[backend]]: one registry. `url` is scheme, host and port, without a path."""

    name: str
    url: str
    canary: Image | None = None
    ca_file: Path | None = None
    rename: tuple[Rename, ...] | None = None
    auth: Auth = Auth.ANONYMOUS
    username: str | None = None
    password_file: Path | None = None
    publish_private: bool = False
    relay_blobs: bool = False
    realm: str | None = None

    @property
    def credentials(self) -> Credentials | None:
        """The facade's own account at the backend."""
        if self.username is None or self.password_file is None:
            return None
        return Credentials(self.username, self.password_file, self.realm)


PLAIN_PORT = parse(":8080")
PLAIN_PORT_BESIDE_TLS = parse(":80")
"""The defaults of `http`. With TLS it is 80, where certificate authorities and browsers expect the plain port."""


@frozen
class ListenSettings:
    """[listen]: the addresses of the listeners. `https` is listened on only with [tls].

    `admin_hosts` are names that the admin listener answers besides `localhost` and IP addresses.
    """

    http: tuple[Address, ...] = (PLAIN_PORT,)
    https: tuple[Address, ...] = (parse(":443"),)
    admin: tuple[Address, ...] = (parse("127.0.0.1:9180"),)
    admin_hosts: tuple[str, ...] = ()
    control: Address | None = None


@frozen
class HealthSettings(health.Settings):
    """[health]: the settings of the health machine, and those that concern requests and probes.

    `trust` is in seconds; 0 disables checks on demand.
    """

    handover: float = 3600.0
    trust: float = 2.0
    canary: Image | None = None


@frozen
class CacheSettings:
    """[cache]: the memory for manifests, and how long tags' digests and blobs' addresses are believed, in seconds."""

    manifests: int = 64 << 20
    tag_ttl: float = 10.0
    stale_tags: float = 600.0
    blob_addresses: float = 60.0


@frozen
class StateSettings:
    """[state]: the directory of the state, and that of the certificates if several daemons share it.

    For the defaults see `paths.state_directory` and `paths.acme_directory`.
    """

    directory: Path | None = None
    acme_directory: Path | None = None


@frozen
class HistorySettings:
    """[history]: for how many days it is kept, 0 for none, and the most bytes of its files."""

    days: int = 90
    size: int = 50 << 20


@frozen
class NotifySettings:
    """[notify]: the program and its arguments that are run when something has happened; empty: none."""

    command: tuple[str, ...] = ()


@frozen
class AcmeTable(AcmeSettings):
    """[tls.acme]. Each entry of `domains` is one certificate with these names; empty: one for each host."""

    agree_to_terms: bool = False
    domains: tuple[tuple[str, ...], ...] = ()


@frozen
class TlsSettings:
    """[tls]: HTTPS, and what the plain port beside it does."""

    acme_webroot: Path | None = None
    redirect_http: bool = True
    public_port: int = 443
    certificates: tuple[CertificateFiles, ...] = ()
    acme: AcmeTable | None = None


DOCKER_HUB = Backend("docker-hub", "https://registry-1.docker.io")
GHCR = Backend("ghcr", "https://ghcr.io")


@frozen
class Config:
    """All settings. `workers` is None for one process for each core: see `cores.count_workers`."""

    hosts: tuple[str, ...] = ()
    repositories: tuple[Pattern, ...] = ()
    answer: Mode = Mode.AUTO
    merge_referrers: bool = True
    workers: int | None = 1
    listen: ListenSettings = field(factory=ListenSettings)
    health: HealthSettings = field(factory=HealthSettings)
    cache: CacheSettings = field(factory=CacheSettings)
    state: StateSettings = field(factory=StateSettings)
    history: HistorySettings = field(factory=HistorySettings)
    limits: Limits = field(factory=Limits)
    notify: NotifySettings = field(factory=NotifySettings)
    tls: TlsSettings | None = None
    log: LogStyle = LogStyle.AUTO
    access_log: LoggedAnswers = LoggedAnswers.ALL
    addresses: Addresses = Addresses.FULL
    trusted_proxies: tuple[Network, ...] = ()
    stop_delay: float = 0.0
    backends: tuple[Backend, ...] = (DOCKER_HUB, GHCR)
    routes: tuple[Route, ...] = ()

    @cached_property
    def rules(self) -> Rules:
        """The rules that decide answers, made once."""
        return Rules(
            hosts=self.hosts,
            repositories=self.repositories,
            backends={
                backend.name: BackendRules(backend.url, backend.rename or (), backend.auth is Auth.CLIENT)
                for backend in self.backends
            },
            named_routes=self.routes,
            mode=self.answer,
            merge_referrers=self.merge_referrers,
        )

    @property
    def certificate_names(self) -> tuple[tuple[str, ...], ...]:
        """The names of each certificate that ACME obtains: those of the settings, or one for each host.

        Addresses that none of the CAs issues for are left out: they are often in `hosts` for health checks.
        """
        if self.tls is None or self.tls.acme is None:
            return ()
        cas = self.tls.acme.cas

        def is_possible(host: str) -> bool:
            return not is_address(host) or any(ca.why_unissuable(host) is None for ca in cas)

        return self.tls.acme.domains or tuple((host,) for host in self.hosts if is_possible(host))

    @property
    def acme(self) -> AcmeSettings:
        """The certificates that ACME obtains, and from which authorities; none without [tls.acme]."""
        acme = (self.tls.acme if self.tls else None) or AcmeTable()
        return AcmeSettings(self.certificate_names, acme.challenges, acme.email, acme.cas)

    @property
    def redirects_http(self) -> bool:
        """Whether the plain port redirects everything to https."""
        return self.tls is not None and self.tls.redirect_http

    def own_canary(self, backend: Backend) -> Image | None:
        """The canary of `backend`, by the facade's name."""
        return backend.canary or self.health.canary

    def canary(self, backend: Backend) -> Image | None:
        """The canary of `backend`, by the backend's name; None if it has none."""
        canary = self.own_canary(backend)
        name = repositories.renamed(backend.rename or (), canary.name) if canary else None
        return evolve(canary, name=name) if canary and name else None
