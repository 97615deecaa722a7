"""Configuration of clients that name the facade first and the registries behind it next, from the settings.

So a pull goes on when the facade itself is gone. Sources: containerd docs/hosts.md, containers-registries.conf(5),
BuildKit docs/buildkitd.toml.md and util/resolver, Docker's registry-mirrors.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

from attrs import frozen

from facaded.config.sections import DOCKER_HUB, Config
from facaded.net.addresses import is_address
from facaded.policy.upstreams import UpstreamNames, merge_namespaces, namespace, shared_prefixes, upstream_names

DOCKER_HUB_NAME = "docker.io"
"""Podman's name of Docker Hub, under which its logins and policies are."""


class NoConfigurationError(Exception):
    """There is no such configuration. The text says why, and what to do."""


@frozen
class ClientFile:
    """The content of a client's file, and notes that it cannot carry itself because it is JSON."""

    content: str
    notes: tuple[str, ...] = ()


def render(client: str, config: Config, url: str | None) -> ClientFile:
    """Return the file of a client in `CLIENTS`. `url` is the facade's as clients see it, None for that of the settings.

    Raises NoConfigurationError.
    """
    return CLIENTS[client](config, url or facade_url(config))


def facade_url(config: Config) -> str:
    """Return the URL of the facade: its first host that is a name. Raises NoConfigurationError."""
    host = next((host for host in config.hosts if not is_address(host)), None)
    if host is None:
        raise NoConfigurationError("hosts: name this facade in the settings, or add --url https://docker.example.com")
    if config.tls is not None:
        return f"https://{host}" if config.tls.public_port == 443 else f"https://{host}:{config.tls.public_port}"
    if config.trusted_proxies:  # which end TLS
        return f"https://{host}"
    port = next((address.port for address in config.listen.http if address.port), 80)
    return f"http://{host}" if port == 80 else f"http://{host}:{port}"


def _containerd(config: Config, url: str) -> ClientFile:
    prefixes, left_out = _shared(config)
    host = urlsplit(url).netloc
    lines = [
        f"# /etc/containerd/certs.d/{host}/hosts.toml",
        "# containerd, nerdctl, Kubernetes, and ctr with --hosts-dir ask these hosts one",
        "# after the other: a host that does not answer costs a refused connection, or",
        "# 30 s if nothing comes back. They are asked for every repository, also for one",
        "# that facaded refuses. config.toml needs, for containerd 1:",
        '#   [plugins."io.containerd.grpc.v1.cri".registry]',
        '#   config_path = "/etc/containerd/certs.d"',
        '# and for containerd 2: [plugins."io.containerd.cri.v1.images".registry].',
        *_left_out(left_out),
        f'server = "{url}"',
    ]
    hosts = [(url, ""), *((_url(config, name), prefix) for name, prefix in prefixes.items())]
    for host_url, prefix in hosts:
        path = f"/v2/{prefix}" if prefix else ""
        lines += ["", f'[host."{host_url}{path}"]', '  capabilities = ["pull", "resolve"]']
        lines += ["  override_path = true"] if prefix else []
    return _file(lines)


def _buildkit(config: Config, url: str) -> ClientFile:
    prefixes, left_out = _shared(config)
    host = urlsplit(url).netloc
    mirrors = {host: url}
    for name, prefix in prefixes.items():
        upstream = _url(config, name)
        mirrors["/".join([urlsplit(upstream).netloc, *([prefix] if prefix else [])])] = upstream
    lines = [
        "# Add this to /etc/buildkit/buildkitd.toml, or create the builder with it:",
        "#   docker buildx create --buildkitd-config buildkitd.toml",
        "# BuildKit asks these hosts one after the other, for every repository, also for",
        "# one that facaded refuses. The builder inside dockerd does not read this file.",
        *_left_out(left_out),
        f'[registry."{host}"]',
        f"  mirrors = {json.dumps(list(mirrors))}",
    ]
    if _is_plain(url):
        lines.append("  http = true")
    plain = dict.fromkeys(urlsplit(other).netloc for other in mirrors.values() if other != url and _is_plain(other))
    for other in plain:
        lines += ["", f'[registry."{other}"]', "  http = true"]
    return _file(lines)


def _podman(config: Config, url: str) -> ClientFile:
    lines = [
        f"# /etc/containers/registries.conf.d/{urlsplit(url).hostname}.conf",
        "# Podman, Buildah, Skopeo and CRI-O ask the mirrors in order, and then the",
        "# location: facaded first, the registries behind it next. A login belongs to",
        "# one registry: log in at each one that has private images.",
    ]
    for entry in merge_namespaces(upstream_names(config.rules)):
        lines += _podman_registry(config, url, entry)
    if "[[registry.mirror]]" not in lines:
        raise NoConfigurationError(_NOTHING_BEHIND)
    return _file(lines)


def _podman_registry(config: Config, url: str, entry: UpstreamNames) -> Iterator[str]:
    """Yield the lines for the repositories of one pattern. Podman matches prefixes, which end at a slash."""
    here = namespace(entry.pattern)
    yield ""
    if here is None:
        yield f"# {entry.pattern.text}: no entry, because it is not a whole namespace."
        return
    yield from (
        f"# {entry.pattern.text}: {name} is left out, because of its renames or routes." for name in entry.left_out
    )
    there = [(_url(config, name), part) for name, pattern in entry.names if (part := namespace(pattern)) is not None]
    if not there:
        yield "# These come from facaded alone; the entry with a shorter prefix is not for them."
    *mirrors, (last_url, last) = [(url, here), *there]
    yield "[[registry]]"
    yield f'prefix = "{_location(url, here)}"'
    yield f'location = "{_location(last_url, last)}"'
    if _is_plain(last_url):
        yield "insecure = true"
    for mirror, part in mirrors:
        yield "[[registry.mirror]]"
        yield f'location = "{_location(mirror, part)}"'
        if _is_plain(mirror):
            yield "insecure = true"


def _docker(config: Config, url: str) -> ClientFile:
    prefixes, _ = _shared(config)
    first = next((name for name in config.rules.routes[-1].backends), "")
    if _url(config, first) != DOCKER_HUB.url or prefixes.get(first) != "":
        raise NoConfigurationError(
            "Docker has mirrors only for Docker Hub, which is not the first backend here, or not under the same names: "
            "use containerd, Podman or BuildKit"
        )
    host = urlsplit(url).netloc
    settings = {"registry-mirrors": [url], **({"insecure-registries": [host]} if _is_plain(url) else {})}
    notes = (
        "add this to /etc/docker/daemon.json, then systemctl reload docker",
        "Docker has mirrors only for Docker Hub: `docker pull org/app` asks facaded, and then Docker Hub",
        f"a pull of {host}/org/app has nowhere else to go while facaded is gone",
        "Docker Desktop and dockerd's containerd image store read the same setting",
    )
    return ClientFile(json.dumps(settings, indent=2), notes)


CLIENTS: Mapping[str, Callable[[Config, str], ClientFile]] = {
    "docker": _docker,
    "containerd": _containerd,
    "podman": _podman,
    "buildkit": _buildkit,
}
"""What makes the file of each client."""

_NOTHING_BEHIND = (
    "there is nothing to fall back to, because no backend has all repositories under names that this client can form: "
    "see repositories, [[route]] and rename"
)


def _shared(config: Config) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the upstreams of a client that has mirrors for whole registries only. Raises NoConfigurationError."""
    prefixes, left_out = shared_prefixes(config.rules)
    if not prefixes:
        raise NoConfigurationError(_NOTHING_BEHIND)
    return prefixes, left_out


def _left_out(names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        yield f"# {name} is left out: it does not have every repository under the facade's"
        yield "# name, or under that name with one prefix for all of them."


def _url(config: Config, name: str) -> str:
    return config.rules.backends[name].url


def _is_plain(url: str) -> bool:
    return url.startswith("http://")


def _location(url: str, path: str) -> str:
    host = DOCKER_HUB_NAME if url == DOCKER_HUB.url else urlsplit(url).netloc
    return f"{host}/{path}" if path else host


def _file(lines: list[str]) -> ClientFile:
    return ClientFile("\n".join(lines))
