"""The settings of TLS and of ACME."""

from pathlib import Path

import pytest

from facaded.config.sections import PLAIN_PORT_BESIDE_TLS
from facaded.tls.acme.settings import CertificateAuthority, ChallengeKind
from facaded.tls.certificate_files import CertificateFiles
from tests.config.reading import TWO, problems, read


def test_the_settings_of_tls(tmp_path: Path) -> None:
    key = tmp_path / "hmac"
    key.write_text("c2VjcmV0")
    key.chmod(0o600)
    settings = read(
        f"""
        hosts = ["docker.example.com", "192.0.2.1"]
        [listen]
        https = ["tcp:8443", "haproxy:tcp:8444"]
        [tls]
        acme_webroot = "/srv/webroot"
        redirect_http = false
        public_port = 8443
        [[tls.certificate]]
        chain = "/nonexistent/chain.pem"
        key = "/nonexistent/key.pem"
        [tls.acme]
        agree_to_terms = true
        email = "ops@example.com"
        domains = ["Docker.Example.com.", ["a.example.com", "b.example.com", "a.example.com"]]
        challenges = ["http-01"]
        [[tls.acme.ca]]
        directory = "https://ca.test:14000/dir"
        profile = "shortlived"
        eab_key_id = "kid-1"
        eab_hmac_key_file = "{key}"
        """,
        tmp_path,
    ).config
    assert settings.listen.http == (PLAIN_PORT_BESIDE_TLS,)
    assert [address.endpoint for address in settings.listen.https] == ["tcp:8443", "haproxy:tcp:8444"]
    assert settings.tls is not None
    assert (settings.tls.acme_webroot, settings.tls.public_port) == (Path("/srv/webroot"), 8443)
    assert not settings.redirects_http
    assert settings.tls.certificates == (
        CertificateFiles(Path("/nonexistent/chain.pem"), Path("/nonexistent/key.pem")),
    )
    assert settings.certificate_names == (("docker.example.com",), ("a.example.com", "b.example.com"))
    assert settings.tls.acme is not None
    assert settings.tls.acme.challenges == (ChallengeKind.HTTP,)
    assert [(ca.directory, ca.profile, ca.eab_key_id) for ca in settings.tls.acme.cas] == [
        ("https://ca.test:14000/dir", "shortlived", "kid-1")
    ]


def test_without_a_list_of_domains_each_host_has_a_certificate_of_its_own(tmp_path: Path) -> None:
    text = 'hosts = ["a.test", "192.0.2.1", "b.test"]\n[tls.acme]\nagree_to_terms = true'
    settings = read(text, tmp_path).config
    assert settings.certificate_names == (("a.test",), ("b.test",))
    assert settings.tls is not None
    assert settings.tls.acme is not None
    assert settings.tls.acme.cas == (CertificateAuthority(),)


def test_an_address_in_hosts_has_a_certificate_if_an_authority_may_issue_it(tmp_path: Path) -> None:
    text = 'hosts = ["8.8.8.8", "10.0.0.5", "2606:4700:4700::1111", "fd00::1"]\n[tls.acme]\nagree_to_terms = true\n'
    assert read(text, tmp_path).config.certificate_names == (("8.8.8.8",), ("2606:4700:4700::1111",))
    private = '[[tls.acme.ca]]\ndirectory = "https://ca.lan/acme/directory"'
    names = read(f"{text}{private}", tmp_path).config.certificate_names
    assert names == (("8.8.8.8",), ("10.0.0.5",), ("2606:4700:4700::1111",), ("fd00::1",))


@pytest.mark.parametrize("written", ["2001:DB8:0::1", "[2001:db8::1]", "2001:db8::1"])
def test_an_ipv6_address_may_be_written_in_any_form(written: str, tmp_path: Path) -> None:
    text = f'hosts = ["{written}"]\n[tls.acme]\nagree_to_terms = true\ndomains = ["{written}"]'
    settings = read(text, tmp_path).config
    assert (settings.hosts, settings.certificate_names) == (("2001:db8::1",), (("2001:db8::1",),))


def test_the_plain_port_may_be_switched_off_beside_tls(tmp_path: Path) -> None:
    assert read("[listen]\nhttp = []\n[tls]", tmp_path).config.listen.http == ()


def test_tls_without_a_certificate_is_warned_of(tmp_path: Path) -> None:
    assert (
        read('hosts = ["a.test"]\n[tls]' + TWO, tmp_path)
        .warnings[0]
        .startswith("tls: there is only a self-signed certificate")
    )


def test_a_certificate_for_a_name_that_is_not_answered_for_is_warned_of(tmp_path: Path) -> None:
    text = 'hosts = ["a.de"]\n[tls.acme]\nagree_to_terms = true\ndomains = ["a.de", "b.de"]' + TWO
    assert read(text, tmp_path).warnings[0].startswith("tls.acme.domains: b.de is not in `hosts`")


def test_clients_credentials_may_pass_where_the_plain_port_sends_everybody_to_https(tmp_path: Path) -> None:
    private = '[[backend]]\nname = "x"\nurl = "https://x"\nauth = "client"'
    assert read('hosts = ["a.test"]\n[tls]\n' + private, tmp_path).config.rules.private == "x"
    (problem,) = problems('hosts = ["a.test"]\n[tls]\nredirect_http = false\n' + private, tmp_path)
    assert problem.startswith('facaded.toml:7: backend[0].auth: "client" over plain HTTP is refused except on loopback')


def test_https_without_tls_is_warned_of(tmp_path: Path) -> None:
    assert (
        read('[listen]\nhttps = ":443"', tmp_path)
        .warnings[0]
        .startswith("listen.https: it has no effect without [tls]")
    )


def test_redirects_to_another_port_than_https_are_warned_of(tmp_path: Path) -> None:
    text = 'hosts = ["a.test"]\n[listen]\nhttps = ":8443"\n[tls]\n'
    assert read(text, tmp_path).warnings[0].startswith("tls.public_port: https is at port 8443")
    assert not read(text + "public_port = 8443", tmp_path).warnings[0].startswith("tls.public_port")


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ('hosts = ["docker.example.com"]\n[tls.acme]', None),
        ('hosts = ["registry.lan"]\n[tls.acme]', "registry.lan, because lan is not a public domain"),
        ('hosts = ["localhost"]\n[tls.acme]', "localhost, because localhost is not a public domain"),
        ('hosts = ["registry"]\n[tls.acme]', "registry, because it is not a full domain name"),
        ('[tls.acme]\ndomains = ["10.0.0.5"]', "10.0.0.5, because it is not a public address"),
        (
            'hosts = ["registry.lan"]\n[tls.acme]\n[[tls.acme.ca]]\ndirectory = "https://acme.zerossl.com/v2/DV90"',
            "registry.lan, because lan is not a public domain",
        ),
        ('hosts = ["registry.lan"]\n[tls.acme]\n[[tls.acme.ca]]\ndirectory = "https://ca.lan/acme"', None),
        (
            'hosts = ["registry.lan"]\n[tls.acme]\n[[tls.acme.ca]]\n[[tls.acme.ca]]\ndirectory = "https://ca.lan/a"',
            None,
        ),
    ],
)
def test_a_name_that_no_public_authority_issues_for_is_warned_of(
    settings: str, warned: str | None, tmp_path: Path
) -> None:
    text = settings.replace("[tls.acme]", "[tls]\nredirect_http = false\n[tls.acme]\nagree_to_terms = true") + TWO
    begin = f"{'tls.acme.domains' if 'domains' in settings else 'hosts'}: no public authority issues a certificate for "
    warnings = [one.removeprefix(begin) for one in read(text, tmp_path).warnings if one.startswith(begin)]
    assert [one.partition(": ")[0] for one in warnings] == ([warned] if warned else [])
