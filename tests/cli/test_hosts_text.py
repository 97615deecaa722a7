"""The list of hosts as text."""

from facaded.admin.protocol import HostList
from facaded.cli.hosts_text import text
from facaded.policy.network_hosts import NetworkHost

HOSTS = (
    NetworkHost("ghcr.io", 443, "registry", "ghcr", True, True, True, True),
    NetworkHost("cdn.test", 8443, "CDN", "ghcr", False, True, True, True),
    NetworkHost("2001:db8::1", 443, "certificate authority", "", True, False, True, False),
    NetworkHost("evil\x1b[2J", 443, "CDN", "ghcr", False, False, False, False),
)


def test_each_host_is_one_line_with_what_it_is_for() -> None:
    assert text(HostList(HOSTS)).splitlines() == [
        "BACKEND  PURPOSE                CONNECT FROM      KNOWN           HOST",
        "ghcr     registry               facaded, clients  expected, seen  ghcr.io:443",
        "ghcr     CDN                    facaded, clients  seen            cdn.test:8443",
        "-        certificate authority  facaded           expected        [2001:db8::1]:443",
        "ghcr     CDN                    -                 -               evil?[2J:443",
    ]


def test_without_a_daemon_it_says_what_is_missing() -> None:
    shown = " ".join(text(HostList(HOSTS[:1], daemon=False)).split())
    assert shown.endswith(
        "No daemon is running: these are the hosts that the settings lead to. A registry may lead to others; a running "
        "daemon lists those that it has seen."
    )
