"""facaded, Caddy, nginx and HAProxy, all set to answer 307 with the same Location, with an access log and metrics.

Each server has a loopback address of its own, one certificate (ECDSA P-256), TLS 1.3 with X25519, and HTTP/1.1. What
else concerns speed is as each of them has it by default: Caddy gives session tickets to clients that want them, for
instance, which those of this bench do not.
"""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from attrs import frozen

from facaded.tls.certificate_files import CertificateFiles
from tests.bench.servers_under_load import Server, read_version
from tests.process.daemon import MANIFEST, MANIFEST_TYPE, Daemon, free_port

ROOT = Path(__file__).parents[2]

NAME = "docker.lab.test"
"""The host name of all servers."""

SETTINGS = """
hosts = ["{name}"]
repositories = ["org/*"]
answer = "{answer}"
[limits]
connections_per_source = 10000
new_connections_per_source = 1000000
requests_per_source = 1000000
backend_requests_per_source = 1000000
[[backend]]
name = "main"
url = "{backend}"
[tls]
redirect_http = false
[[tls.certificate]]
chain = "{files.chain}"
key = "{files.key}"
"""
"""Limits are counted as by default, but none is reached: all load comes from one address."""

CADDYFILE = """
{{
    admin 127.0.0.1:{admin}
    auto_https off
    {metrics}
    servers {{
        protocols h1
    }}
}}
(facade) {{
    bind {server.host}
    {log}
    redir {backend}{{uri}} 307
}}
http://:{server.http} {{
    import facade
}}
https://:{server.https} {{
    import facade
    tls {files.chain} {files.key} {{
        protocols tls1.3
        curves x25519
    }}
}}
"""

CADDY_LOG = """log {{
        output file {server.access_log} {{
            roll_disabled
        }}
    }}"""

NGINX = """
worker_processes 1;
daemon off;
pid {server.directory}/pid;
error_log {server.directory}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log {server.access_log};
    keepalive_requests 1000000000;
    client_body_temp_path {server.directory};
    proxy_temp_path {server.directory};
    fastcgi_temp_path {server.directory};
    uwsgi_temp_path {server.directory};
    scgi_temp_path {server.directory};
    server {{
        listen {server.host}:{server.http} backlog=4096;
        listen {server.host}:{server.https} ssl backlog=4096;
        ssl_certificate {files.chain};
        ssl_certificate_key {files.key};
        ssl_protocols TLSv1.3;
        ssl_ecdh_curve X25519;
        ssl_session_tickets off;
        location = /metrics {{ stub_status; }}
        return 307 {backend}$request_uri;
    }}
}}
"""

REGISTRY = """
daemon off;
pid {server.directory}/pid;
error_log {server.directory}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    server {{
        listen {server.host}:{server.http} backlog=4096;
        location = /v2/ {{
            default_type application/json;
            return 200 "{{}}";
        }}
        location / {{
            default_type {media_type};
            add_header Docker-Content-Digest sha256:{digest};
            return 200 '{manifest}';
        }}
    }}
}}
"""

HAPROXY = """
global
    nbthread 1
    maxconn 4000
    log stdout format raw daemon
    ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
    ssl-default-bind-curves X25519
    stats socket {server.directory}/stats.sock
defaults
    mode http
    log global
    option httplog
    timeout client 60s
    timeout server 60s
    timeout connect 5s
frontend facade
    bind {server.host}:{server.http}
    bind {server.host}:{server.https} ssl crt {pem}
    http-request redirect prefix {backend} code 307
frontend metrics
    bind {server.host}:{admin}
    http-request use-service prometheus-exporter
"""


@frozen
class Scene:
    """What all servers share: a directory for their files, the URL that they redirect to, and the certificate."""

    directory: Path
    backend: str
    files: CertificateFiles

    def make_directory(self, name: str) -> Path:
        directory = self.directory / name
        directory.mkdir()
        return directory


def facaded(scene: Scene, host: str, checkout: Path, answer: str, workers: int = 1) -> Server:
    """Return a facaded of this checkout with these settings of `answer` and `workers`."""
    directory = scene.make_directory(f"facaded-{answer}-{workers}")
    settings = SETTINGS.format(name=NAME, answer=answer, backend=scene.backend, files=scene.files)
    daemon = Daemon(directory, f"workers = {workers}\n{settings}" if workers > 1 else settings, host)
    daemon.use_checkout(checkout)
    daemon.write_settings()
    commit = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return Server(
        "facaded",
        f"{commit.stdout.strip()} on Python {sys.version.partition(' ')[0]}".strip(),
        [*daemon.arguments, str(daemon.config)],
        directory,
        host,
        daemon.port,
        daemon.https,
        directory / "log",
        daemon.environ,
        200 if answer == "serve" else 307,
    )


def caddy(scene: Scene, host: str, path: str, is_bare: bool = False) -> Server:
    """Return the Caddy at this path, without access log and metrics if it `is_bare`."""
    version = read_version(path, "version", r"v?(\d[\w.]*)")
    server = _server(scene, "Caddy", version, [path, "run", "--config", "Caddyfile"], host)
    server.environ = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(server.directory))
    server.access_log.touch()
    major, minor, *_ = (int(part) for part in version.split("."))
    has_metrics = (major, minor) >= (2, 9) and not is_bare  # before, they are always on
    settings = CADDYFILE.format(
        server=server,
        backend=scene.backend,
        files=scene.files,
        admin=free_port(),
        metrics="metrics" if has_metrics else "",
        log="" if is_bare else CADDY_LOG.format(server=server),
    )
    (server.directory / "Caddyfile").write_text(settings)
    server.version += " without access log and metrics" if is_bare else ""
    return server


def nginx(scene: Scene, host: str) -> Server:
    version = read_version("nginx", "-v", r"nginx/([\d.]+)")
    server = _server(scene, "nginx", version, [], host)
    _use_nginx(server, NGINX.format(server=server, backend=scene.backend, files=scene.files))
    return server


def backend_registry(scene: Scene, host: str) -> Server:
    """Return the registry that facaded checks and redirects to: one image, without tokens, on nginx.

    A program in Python would answer too late while the load uses the same core, and facaded would serve then.
    """
    server = _server(scene, "backend", "", [], host)
    server.access_log.touch()
    server.expected = 200
    settings = REGISTRY.format(
        server=server, media_type=MANIFEST_TYPE, digest=sha256(MANIFEST).hexdigest(), manifest=MANIFEST.decode()
    )
    _use_nginx(server, settings)
    return server


def haproxy(scene: Scene, host: str) -> Server:
    version = read_version("haproxy", "-v", r"version ([\d.]+)")
    server = _server(scene, "HAProxy", version, ["haproxy", "-f", "haproxy.cfg"], host)
    server.access_log = server.directory / "log"  # its standard output
    pem = server.directory / "server.pem"
    pem.write_bytes(scene.files.chain.read_bytes() + scene.files.key.read_bytes())
    (server.directory / "haproxy.cfg").write_text(
        HAPROXY.format(server=server, backend=scene.backend, pem=pem, admin=free_port(host))
    )
    return server


def _use_nginx(server: Server, settings: str) -> None:
    config = server.directory / "nginx.conf"
    config.write_text(settings)
    server.command = ["nginx", "-p", str(server.directory), "-c", str(config)]


def _server(scene: Scene, name: str, version: str, command: list[str], host: str) -> Server:
    directory = scene.make_directory(name.lower())
    return Server(name, version, command, directory, host, free_port(host), free_port(host), directory / "access.log")
