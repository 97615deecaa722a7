"""What `facaded check` says that settings mean: the facts, and the text for a terminal of 80 columns."""

from pathlib import Path

import pytest
from twisted.internet.testing import MemoryReactorClock

from facaded.cli.settings_summary import BackendSummary, RouteSummary, SettingsSummary, summarize
from facaded.cli.settings_text import WIDTH, settings_text, warning_text
from facaded.config.loading import load
from facaded.net.json_documents import to_json

CORES = 2

BOTH = """
[[backend]]
name = "docker-hub"
url = "https://registry-1.docker.io"
[[backend]]
name = "ghcr"
url = "https://ghcr.io"
"""

PLAIN = """
Hosts         any
Repositories  example/** (others get 403)
Backends      docker-hub at https://registry-1.docker.io
              ghcr at https://ghcr.io
Order         docker-hub, then ghcr
Clients       redirected: docker, containerd, ctr, nerdctl, buildkit, regclient
              served: podman, buildah, skopeo, cri-o, crane, oras, cosign,
                notation, flux, trivy, ko, kaniko, helm, argocd, renovate,
                ollama, devcontainers, homebrew, rules_oci, jib, dotnet,
                oci-client, watchtower, diun, and all others
Listeners     http: :8080
              admin: 127.0.0.1:9180
Workers       1 process on 2 cores
Control       /srv/state/control.sock
              /run/facaded/control.sock as a systemd service
State         /srv/state
              /var/lib/facaded as a systemd service
Certificates  none: clients are answered over plain HTTP
Set by        defaults
"""

EVERYTHING = """
Hosts         docker.example.com, registry.example.org (others get 421)
Repositories  example/** (others get 403)
Backends      docker-hub at https://registry-1.docker.io, canary
                example/image:latest
              ghcr at https://ghcr.io, example/* is example-gh/* there, canary
                example-gh/image:latest
Order         example/next-*: ghcr, then docker-hub
              example/old: ghcr only
              all others: docker-hub, then ghcr
Clients       redirected: containerd, ctr, nerdctl, buildkit, regclient
              served: docker, podman, buildah, skopeo, cri-o, crane, oras,
                cosign, notation, flux, trivy, ko, kaniko, helm, argocd,
                renovate, ollama, devcontainers, homebrew, rules_oci, jib,
                dotnet, oci-client, watchtower, diun, and all others
              Repositories with another name on the active backend are served to
                all.
Listeners     http: :80, redirects to https
              https: :443, 192.0.2.1:8443
              admin: off
Workers       3 processes on 2 cores
Control       /run/facaded/control.sock
State         /var/lib/facaded
Certificates  from the file /etc/facaded/tls/fullchain.pem
              docker.example.com from
                https://acme-v02.api.letsencrypt.org/directory
              registry.example.org from
                https://acme-v02.api.letsencrypt.org/directory
Set by        defaults
"""

TABLE = {
    "plain": ('repositories = ["example/**"]' + BOTH, PLAIN),
    "everything": (
        """
hosts = ["docker.example.com", "registry.example.org"]
workers = 3
repositories = ["example/**"]
[listen]
https = [":443", "192.0.2.1:8443"]
admin = []
control = "unix:/run/facaded/control.sock"
[state]
directory = "/var/lib/facaded"
[health]
canary = "example/image:latest"
[[tls.certificate]]
chain = "/etc/facaded/tls/fullchain.pem"
key = "/etc/facaded/tls/privkey.pem"
[tls.acme]
agree_to_terms = true
[[route]]
repositories = ["example/next-*"]
backends = ["ghcr", "docker-hub"]
[[route]]
repositories = ["example/old"]
backends = ["ghcr"]
"""
        + BOTH
        + 'rename = { "example/*" = "example-gh/*" }',
        EVERYTHING,
    ),
}


def read(directory: Path, settings: str) -> SettingsSummary:
    path = directory / "facaded.toml"
    path.write_text(settings)
    return summarize(load(path, None, {}, MemoryReactorClock()).config, {"STATE_DIRECTORY": "/srv/state"}, CORES)


@pytest.mark.parametrize(("settings", "text"), TABLE.values(), ids=TABLE)
def test_the_text_says_what_the_settings_mean(tmp_path: Path, settings: str, text: str) -> None:
    written = settings_text(read(tmp_path, settings), {})
    assert written == text.strip()
    assert max(map(len, written.splitlines())) <= WIDTH


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ("", "Repositories  all of docker-hub"),
        ("", "Order         docker-hub only"),
        ('workers = "auto"', "Workers       2 processes on 2 cores"),
        ('answer = "serve"', "Clients       all are served"),
        ('answer = "redirect"', "Clients       all are redirected"),
        (
            'repositories = ["a/*"]\n[listen]\nhttp = "127.0.0.1:80"\n'
            '[[backend]]\nname = "own"\nurl = "https://r.test"\nauth = "client"',
            "Clients       all are served, with their own credentials for own",
        ),
        ("hosts = ['a.test']\n[tls]", "Certificates  self-signed only"),
        ("hosts = ['a.test']\n[tls]\nredirect_http = false", "Listeners     http: :80"),
        ("hosts = ['a.test']\n[listen]\nhttp = []\n[tls]", "Listeners     http: off"),
    ],
)
def test_settings_of_one_kind_have_a_line_of_their_own(tmp_path: Path, settings: str, line: str) -> None:
    assert line in settings_text(read(tmp_path, settings), {}).splitlines()


def test_the_text_says_where_each_key_is_set(tmp_path: Path) -> None:
    path = tmp_path / "facaded.toml"
    path.write_text("hosts = ['a.test']\n[health]\ninterval = '20s'" + BOTH + "rename = { 'a/*' = 'b/*' }")
    loaded = load(path, None, {"FACADED_HOSTS": "b.test"}, MemoryReactorClock())
    text = settings_text(summarize(loaded.config, {}, CORES), loaded.origins)
    assert " ".join(text.partition("Set by")[2].split()) == (
        f"FACADED_HOSTS: hosts {path} (line): health.interval (3), backend[0].name (5), backend[0].url (6), "
        'backend[1].name (8), backend[1].url (9), backend[1].rename."a/*" (10)'
    )


def test_programs_get_the_same_facts_as_fields(tmp_path: Path) -> None:
    summary = read(tmp_path, TABLE["everything"][0])
    assert summary.backends[1] == BackendSummary(
        "ghcr", "https://ghcr.io", {"example/*": "example-gh/*"}, "example-gh/image:latest"
    )
    assert summary.routes[0] == RouteSummary(("example/next-*",), ("ghcr", "docker-hub"))
    document = to_json(summary)
    assert document["hosts"] == ["docker.example.com", "registry.example.org"]
    assert document["clients"]["redirected"] == ["containerd", "ctr", "nerdctl", "buildkit", "regclient"]
    assert document["listeners"]["https"] == [":443", "192.0.2.1:8443"]
    assert (document["workers"], document["cores"]) == (3, CORES)
    assert document["paths"] == {"control": "/run/facaded/control.sock", "state": "/var/lib/facaded"}
    assert document["certificates"][0]["chain"] == "/etc/facaded/tls/fullchain.pem"


def test_a_warning_is_wrapped_at_spaces_only(tmp_path: Path) -> None:
    path = f"/{'directory/' * 10}file"
    written = warning_text(f"tls.certificate[0]: {path} cannot be read (No such file or directory): {'word ' * 20}")
    first, *others = written.splitlines()
    assert first == "warning: tls.certificate[0]:"
    assert others[0] == f"  {path}"
    assert all(line.startswith("  ") and len(line) <= WIDTH for line in others[1:])
