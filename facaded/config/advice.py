"""Advice: warnings about settings that are valid but doubtful."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from facaded.config.sections import Config, TlsSettings


def advice(config: Config, cores: int) -> tuple[str, ...]:
    """Return warnings, each beginning with its key path. `cores` is the number that facaded may use."""
    return (*_about_workers(config, cores), *_about_tls(config), *_about_backends(config))


def _about_workers(config: Config, cores: int) -> Iterator[str]:
    if config.workers is not None and config.workers > cores:
        here = "one core" if cores == 1 else f"{cores} cores"
        remedy = 'set it to "auto", which is one process for each core'
        yield f"workers: {config.workers} processes share {here}, which only costs memory: {remedy}"


def _about_tls(config: Config) -> Iterator[str]:
    default = TlsSettings().public_port  # one that was set by hand is known to be forwarded
    ports = [address.port for address in config.listen.https if address.port]
    redirects = config.redirects_http and bool(config.listen.http)
    if redirects and config.tls and config.tls.public_port == default and ports and default not in ports:
        remedy = f"set public_port = {ports[0]}, unless something forwards {default}"
        yield f"tls.public_port: https is at port {ports[0]}, and redirects go to {default}: {remedy}"
    if config.tls is not None and not config.tls.certificates and config.tls.acme is None:
        remedy = "name one in [[tls.certificate]], or set agree_to_terms = true in [tls.acme]"
        yield f"tls: there is only a self-signed certificate, which no client trusts: {remedy}"
    for name in dict.fromkeys(name for names in config.certificate_names for name in names):
        if config.hosts and name not in config.hosts:
            yield f"tls.acme.domains: {name} is not in `hosts`, so requests for it are answered 421: add it there"
        reasons = [ca.why_unissuable(name) for ca in config.acme.cas]
        if reasons and None not in reasons:
            remedy = "use a public name, or a private authority in [[tls.acme.ca]]"
            key = "tls.acme.domains" if config.tls and config.tls.acme and config.tls.acme.domains else "hosts"
            yield f"{key}: no public authority issues a certificate for {name}, because {reasons[0]}: {remedy}"


def _about_backends(config: Config) -> tuple[str, ...]:
    if len(config.backends) == 1:
        return ("backend: there is only one, so there is no failover",)
    if not config.repositories:
        if config.routes:
            return (
                "repositories: empty, so there is failover only for the repositories of [[route]]: list all of yours",
            )
        first, *others = (backend.name for backend in config.backends)
        return (
            f"repositories: empty, so there is no failover: every request goes to {first} and none to "
            f"{', '.join(others)}, where the same name may belong to somebody else; list your repositories, as in "
            'repositories = ["org/**"] or --org org',
        )
    without_canary = [backend.name for backend in config.backends if config.canary(backend) is None]
    return (*_unconfirmed(config), *(_no_canary(without_canary) if without_canary else ()))


def _unconfirmed(config: Config) -> Iterator[str]:
    first_host = urlsplit(config.backends[0].url).hostname
    for index, backend in enumerate(config.backends):
        if index and backend.rename is None and urlsplit(backend.url).hostname != first_host:
            yield f"backend[{index}].rename: confirm that you own these names on {backend.name}: add rename = {{}}"


def _no_canary(names: list[str]) -> Iterator[str]:
    yield (
        f"health.canary: there is none for {', '.join(names)}, so a registry that fails only for manifests or blobs "
        "looks healthy: name a small public image that every backend has"
    )
