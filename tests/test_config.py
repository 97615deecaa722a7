"""The settings: the file in conf/, the defaults, and every way to get them wrong."""

import re
from pathlib import Path

import pytest
from attrs import evolve, fields
from twisted.internet import reactor

from facaded import config
from facaded.config import (
    Acme,
    Ca,
    Config,
    Loaded,
    SettingsError,
    Tls,
    control_endpoint,
    control_path,
    load,
    state_directory,
)
from facaded.oci.requests import Image
from facaded.policy import answers, health, repositories
from facaded.policy.answers import Mode
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.certificate_files import CertificateFiles

SHIPPED = Path(__file__).parent.parent / "conf" / "facaded.toml"
TWO = """
[[backend]]
name = "main"
url = "https://main.test"
[[backend]]
name = "second"
url = "https://second.test:5000/"
"""


@pytest.fixture(autouse=True)
def no_system_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "DEFAULT_FILE", tmp_path / "system.toml")


def read(text: str, tmp_path: Path) -> Loaded:
    path = tmp_path / "facaded.toml"
    path.write_text(text)
    return load(path, None, {}, reactor)


def problems(text: str, tmp_path: Path) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read(text, tmp_path)
    return caught.value.problems


def test_the_shipped_file_is_all_comment_and_gives_the_defaults(tmp_path: Path) -> None:
    assert read(SHIPPED.read_text(), tmp_path).config == Config()


def test_every_key_of_the_shipped_file_is_known_and_says_its_default(tmp_path: Path) -> None:
    text = re.sub(r"^#(?=\[|[a-z_]+ = )", "", SHIPPED.read_text(), flags=re.MULTILINE)
    examples = "ca_file|canary|directory|control|rename|username|password_file|realm|https"
    text = re.sub(rf"^({examples}) = .*$", "", text, flags=re.MULTILINE)
    beginning, _, rest = text.partition("\n[tls]\n")
    text = beginning + "\n" + rest[rest.index("[[backend]]") : rest.index("[[route]]")]
    assert read(text, tmp_path).config == Config()


def test_every_key_of_tls_in_the_shipped_file_is_known_and_says_its_default(tmp_path: Path) -> None:
    shipped = SHIPPED.read_text()
    text = re.sub(r"^#(?=\[|[a-z_]+ = )", "", shipped[: shipped.index("# The registries")], flags=re.MULTILINE)
    beginning, tls, rest = text.partition("\n[tls]\n")
    https = next(line for line in beginning.splitlines() if line.startswith("https = "))
    examples = "acme_webroot|email|profile|eab_key_id|eab_hmac_key_file|ca_file"
    rest = re.sub(rf"^({examples}) = .*$", "", rest, flags=re.MULTILINE)
    rest = rest.replace("[[tls.acme.ca]]\ndirectory", "[[tls.acme.ca]]\n#directory", 1)
    rest = rest.replace("agree_to_terms = false", "agree_to_terms = true")
    settings = read(f'hosts = ["docker.example.com"]\n[listen]\n{https}\n{tls}{rest}', tmp_path).config
    files = CertificateFiles(Path("/etc/facaded/tls/fullchain.pem"), Path("/etc/facaded/tls/privkey.pem"))
    assert settings.listen == evolve(Config().listen, http=config.PLAIN_BESIDE_TLS)
    assert settings.tls is not None
    assert settings.tls.files == (files,)
    assert evolve(settings.tls, certificates=()) == Tls(acme=Acme(agree_to_terms=True))
    assert f'directory = "{Ca().directory}"' in shipped


def test_every_key_of_the_settings_is_in_the_shipped_file() -> None:
    shipped = SHIPPED.read_text()
    sections: list[type] = [config.Config, config.Listen, config.Health, config.Cache, config.State, config.Backend]
    sections += [config.Route, config.Tls, config.Certificate, config.Acme, config.Ca]
    renamed = {"routes", "backends", "certificates", "cas", "acme"}
    keys = {each.name for section in sections for each in fields(section)} - renamed
    keys |= {"tls.certificate", "tls.acme", "tls.acme.ca", "backend", "route"}
    missing = {key for key in keys if not re.search(rf"^#?\[*{re.escape(key)}\]*( = |$)", shipped, re.MULTILINE)}
    assert missing == set()


def test_a_whole_file(tmp_path: Path) -> None:
    loaded = read(
        """
        hosts = ["Docker.Example.com.", "[::1]", "192.0.2.1"]
        repositories = ["org/*", "team/**"]
        answer = "serve"
        [cache]
        manifests = "1MiB"
        tag_ttl = "5s"
        [[route]]
        repositories = ["org/next-*"]
        backends = ["second", "main"]
        [listen]
        http = ["tcp:80", "tcp:8080"]
        admin = []
        admin_hosts = ["monitor"]
        control = "unix:/run/x.sock:mode=660"
        [health]
        interval = "1m"
        fast_interval = "500ms"
        timeout = "1.5s"
        rise = 1
        fall = 3
        failback_after = "1h"
        canary = "org/app:v1"
        [state]
        directory = "/var/lib/x"
        """
        + TWO
        + 'rename = { "org/*" = "other/*" }\ncanary = "org/image"\n',
        tmp_path,
    )
    settings = loaded.config
    assert settings.hosts == ("docker.example.com", "::1", "192.0.2.1")
    assert settings.listen.http == ("tcp:80", "tcp:8080")
    assert settings.health.machine == health.Settings(
        interval=60, fast_interval=0.5, timeout=1.5, fall=3, rise=1, failback_after=3600
    )
    assert [backend.url for backend in settings.backends] == ["https://main.test", "https://second.test:5000"]
    assert [settings.canary(backend) for backend in settings.backends] == [Image("org/app", "v1"), Image("other/image")]
    assert settings.rules.routes == (
        answers.Route(("second", "main"), (repositories.parse("org/next-*"),)),
        answers.Route(("main", "second")),
    )
    assert settings.answer is Mode.SERVE
    assert settings.cache == config.Cache(config.Bytes(1 << 20), config.Seconds(5))
    assert repositories.renamed(settings.rules.backends["second"].renames, "org/app") == "other/app"
    assert loaded.warnings == ()


WRONG = [
    (
        "bogus = 1",
        "bogus: unknown key; known here: answer, backend, cache, health, hosts, listen, repositories, route, state",
    ),
    ('answer = "proxy"', "answer: 'proxy' is no way to answer"),
    ("answer = 1", "answer: 1 is no way to answer"),
    ('[cache]\nmanifests = "64 MB"', "cache.manifests: '64 MB' is not a size"),
    ('[cache]\nmanifests = "999GiB"', "cache.manifests: '999GiB' is not a size"),
    ("route = 1", "route: expected tables, got a whole number"),
    ('[[route]]\nrepositories = ["a"]', "route[0].backends: missing"),
    ('[[route]]\nrepositories = []\nbackends = ["ghcr"]', "route[0].repositories: empty"),
    ('[[route]]\nrepositories = ["a"]\nbackends = ["quay"]', "route[0].backends: there is no backend called quay"),
    ('[[route]]\nrepositories = ["a"]\nbackends = ["ghcr", "ghcr"]', "route[0].backends: name each backend once"),
    (TWO + 'rename = { "*" = "a/**" }', "backend[1].rename: '*' = 'a/**': write one wildcard, the same on both sides"),
    ('answer = "redirect"' + TWO + 'rename = { "a" = "b" }', "backend[1].rename: a redirect keeps the name"),
    (TWO + 'auth = "token"', "backend[1].auth: 'token' is not known"),
    (TWO + 'auth = "client"', 'backend[1].auth: "client" leaves no room for another backend'),
    ('[[backend]]\nname = "x"\nurl = "https://x"\nauth = "client"', 'backend[0].auth: "client" over plain HTTP is'),
    (
        TWO + 'auth = "client"\nrename = { "a" = "b" }',
        'backend[1].auth: "client" goes with neither rename nor username',
    ),
    ('answer = "redirect"' + TWO + 'auth = "client"', 'backend[1].auth: with "client" everybody is served'),
    (TWO + 'username = "me"', "backend[1].username: it goes with password_file"),
    (TWO + 'username = "me:you"', "backend[1].username: 'me:you' is not a user name"),
    (TWO + 'password_file = "/nonexistent"', "backend[1].password_file: /nonexistent cannot be read"),
    (
        TWO + 'password_file = "/etc/hostname"',
        "backend[1].password_file: /etc/hostname can be read by others: chmod o=",
    ),
    (
        TWO.replace("https://second", "http://second") + 'auth = "client"',
        "backend[1].url: credentials would go over plain",
    ),
    (TWO + "publish_private = true", "backend[1].username: publish_private and realm say what an account is used for"),
    (TWO + 'publish_private = "yes"', "backend[1].publish_private: expected true or false, got a string"),
    (TWO + 'realm = "http://x/token"', "backend[1].realm: 'http://x/token' is not a realm"),
    ("repository = []", "repository: unknown key; did you mean repositories?"),
    ('[health]\nintervall = "1s"', "health.intervall: unknown key; did you mean interval?"),
    ("[[backend]]\nnam = 1\n" + TWO, "backend[0].nam: unknown key; did you mean name?"),
    ("hosts = 5", "hosts: expected a list, got a whole number: put it in [ ]"),
    ('hosts = ["https://x"]', "hosts: entry 0: 'https://x' is not a host name"),
    ('hosts = ["x:80"]', "hosts: entry 0: 'x:80' is not a host name"),
    ('hosts = ["a b"]', "hosts: entry 0: 'a b' is not a host name"),
    ('repositories = ["Org/*", "/"]', "repositories: entry 0: 'Org/*' is not a pattern"),
    ("repositories = [1]", "repositories: entry 0: expected a string, got a whole number"),
    ('repositories = ["a\\n"]', "repositories: entry 0: control characters are not allowed here"),
    (f"repositories = {['a'] * 1001}", "repositories: a list of more than 1000 entries"),
    ("[health]\ninterval = 10", "health.interval: 10 is not a time: write a number and a unit"),
    ('[health]\ninterval = "10"', "health.interval: '10' is not a time"),
    ('[health]\ninterval = "1ms"', "health.interval: '1ms' is out of range"),
    ('[health]\ninterval = "25h"', "health.interval: '25h' is out of range"),
    ("[health]\nfall = 0", "health.fall: 0 is not a count"),
    ("[health]\nfall = true", "health.fall: True is not a count"),
    ('[health]\nfast_interval = "11s"', "health.fast_interval: longer than health.interval"),
    ('[health]\ncanary = "Org"', "health.canary: 'Org' is not a repository name"),
    (
        'repositories = ["org/*"]\n[health]\ncanary = "evil/app"',
        "health.canary: evil/app is not among the repositories",
    ),
    ("health = 5", "health: expected a table, got a whole number"),
    ("backend = []", "backend: from 1 to 16 are needed"),
    ("backend = 5", "backend: expected tables, got a whole number"),
    ('backend = ["x"]', "backend[0]: expected a table, got a string"),
    ('[[backend]]\nname = "x"', "backend[0].url: missing"),
    ('[[backend]]\nurl = "https://x"', "backend[0].name: missing"),
    ('[[backend]]\nname = "Hub"\nurl = "https://x"', "backend[0].name: 'Hub' is not a name"),
    ('[[backend]]\nname = "x"\nurl = "x.test"', "backend[0].url: 'x.test' is not a registry's address"),
    ('[[backend]]\nname = "x"\nurl = "ftp://x.test"', "backend[0].url: 'ftp://x.test' is not a registry's address"),
    ('[[backend]]\nname = "x"\nurl = "https://u:p@x.test"', "backend[0].url: 'https://u:p@x.test' is not a registry's"),
    (
        '[[backend]]\nname = "x"\nurl = "https://x.test:99999"',
        "backend[0].url: 'https://x.test:99999' is not a registry's",
    ),
    (
        '[[backend]]\nname = "x"\nurl = "https://x.test/v2"',
        "backend[0].url: 'https://x.test/v2' has more than scheme and host",
    ),
    (
        '[[backend]]\nname = "x"\nurl = "https://registry.hub.docker.com"',
        "backend[0].url: registry.hub.docker.com does not work",
    ),
    (TWO.replace("second", "main"), "backend[1].name: main is the name of an earlier backend as well"),
    (TWO + "rename = 1", "backend[1].rename: expected a table, got a whole number"),
    (TWO + 'ca_file = "/nonexistent"', "backend[1].ca_file: /nonexistent cannot be read: No such file or directory"),
    (TWO + 'ca_file = "/dev/null"', "backend[1].ca_file: /dev/null has no certificate in PEM form"),
    (TWO + 'ca_file = "ca.pem"', "backend[1].ca_file: 'ca.pem' is not an absolute path"),
    ('[listen]\nhttp = "nonsense:1"', "listen.http: 'nonsense:1': write it as in"),
    ('[listen]\nhttp = "tcp:99999"', "listen.http: 'tcp:99999': write it as in"),
    ('[listen]\nhttp = "tcp:-1"', "listen.http: 'tcp:-1': write it as in"),
    ('[listen]\nhttp = "stdio:"', "listen.http: 'stdio:': write it as in"),
    ("[[backend]]", "backend[0].url: missing"),
    ('[[backend]]\nname = "a"\nzzz = 1', "backend[0].zzz: unknown key"),
    ('[[backend]]\nurl = "x"', "backend[0].url: 'x' is not a registry's address"),
    ('[[backend]]\nname = "x"\nurl = "https://[::1]:5000"', "backend[0].url: 'https://[::1]:5000': an IPv6 address"),
    ('[[backend]]\nname = "a"' + TWO.replace("second", "main"), "backend[2].name: main is the name of an earlier"),
    ("[health]\nrise = " + "9" * 5000, "the file is not TOML"),
    ("a = " + "[" * 5000, "the file is not TOML"),
    ('"\\u001b[2Jx" = 1', "?[2Jx: unknown key"),
    ("[listen]\nhttp = []", "listen.http: empty, so nothing would be answered"),
    ('[listen]\ncontrol = "tcp:1"', "listen.control: 'tcp:1:mode=600' is not a unix: endpoint"),
    ("[state]\ndirectory = 2026-01-01", "state.directory: expected a string, got a date or time"),
    ("= 5", "the file is not TOML"),
    ("tls = 5", "tls: expected a table, got a whole number"),
    ("[tls]", "tls.redirect_http: with empty `hosts` there is no name to send anybody to"),
    ('[listen]\nhttps = "tcp:443"', "listen.https: there is no [tls], which says with what certificate"),
    ("[tls]\nredirect_http = false\n[listen]\nhttps = []", "listen.https: empty, so nothing would speak TLS"),
    ('[tls]\n[listen]\nhttps = "nonsense"', "listen.https: 'nonsense': write it as in"),
    ("[tls]\npublic_port = 0", "tls.public_port: 0 is not a port"),
    ("[tls]\npublic_port = true", "tls.public_port: True is not a port"),
    ('[tls]\nacme_webroot = "webroot"', "tls.acme_webroot: 'webroot' is not an absolute path"),
    (
        "[tls]\ncertificate = 5",
        "tls.certificate: expected tables, got a whole number: write it in double brackets, as in",
    ),
    ('[[tls.certificate]]\nchain = "/x"', "tls.certificate[0].key: missing"),
    ('[[tls.certificate]]\nkey = "/x"', "tls.certificate[0].chain: missing"),
    (
        '[[tls.certificate]]\nchain = "/x"\nkey = "/etc/hostname"',
        "tls.certificate[0].key: /etc/hostname can be read by others: chmod o=",
    ),
    ('hosts = ["a.test"]\n[tls.acme]', "tls.acme.agree_to_terms: the authority wants you to agree to its terms"),
    ("[tls.acme]\nagree_to_terms = true", "tls.acme.domains: there is no name to get a certificate for"),
    ('hosts = ["192.0.2.1"]\n[tls.acme]\nagree_to_terms = true', "tls.acme.domains: there is no name to get a"),
    (
        '[tls.acme]\ndomains = ["*.a.test"]',
        "tls.acme.domains: entry 0: *.a.test: a wildcard needs a dns-01 challenge",
    ),
    ('[tls.acme]\ndomains = [["a.test", "*.a.test"]]', "tls.acme.domains: entry 0: *.a.test: a wildcard needs"),
    ('[tls.acme]\ndomains = ["192.0.2.1"]', "tls.acme.domains: entry 0: 192.0.2.1: this is an address"),
    (
        '[tls.acme]\ndomains = ["a.test", ["b.test", "a.test"]]',
        "tls.acme.domains: entry 1: a.test is in another entry too",
    ),
    ("[tls.acme]\ndomains = [[]]", "tls.acme.domains: entry 0: one certificate has from 1 to 100 names"),
    ('[tls.acme]\ndomains = "a.test"', "tls.acme.domains: expected a list"),
    ('[tls.acme]\nemail = "me"', "tls.acme.email: 'me' is not an address"),
    ("[tls.acme]\nchallenges = []", "tls.acme.challenges: name each once, and at least one"),
    ('[tls.acme]\nchallenges = ["dns-01"]', "tls.acme.challenges: entry 0: 'dns-01' is not known"),
    (
        '[listen]\nhttp = []\n[tls.acme]\nchallenges = ["http-01"]',
        "tls.acme.challenges: http-01 is asked for on the plain",
    ),
    (
        '[[tls.acme.ca]]\ndirectory = "http://ca.test/"',
        "tls.acme.ca[0].directory: 'http://ca.test/' is not an ACME directory",
    ),
    ('[[tls.acme.ca]]\nprofile = "a b"', "tls.acme.ca[0].profile: 'a b': write it as the authority gives it"),
    ('[[tls.acme.ca]]\neab_key_id = "x"', "tls.acme.ca[0].eab_key_id: it goes with eab_hmac_key_file"),
    (
        '[[tls.acme.ca]]\neab_hmac_key_file = "/etc/hostname"',
        "tls.acme.ca[0].eab_hmac_key_file: /etc/hostname can be read by others",
    ),
    (
        "[[tls.acme.ca]]\n" * 9,
        "tls.acme.ca: from 1 to 8 are needed; each begins with its name in double brackets, as in",
    ),
    ("x" * (2 << 20), "the file is larger than"),
]


@pytest.mark.parametrize(("text", "problem"), WRONG)
def test_a_mistake_is_named_with_its_key_and_a_remedy(text: str, problem: str, tmp_path: Path) -> None:
    assert [each for each in problems(text, tmp_path) if each.startswith(problem)], problems(text, tmp_path)


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
    assert settings.listen.http == config.PLAIN_BESIDE_TLS
    assert settings.listen.https == ("tcp:8443", "haproxy:tcp:8444")
    assert settings.tls is not None
    assert (settings.tls.acme_webroot, settings.tls.public_port) == (Path("/srv/webroot"), 8443)
    assert not settings.redirects_http
    assert settings.tls.files == (CertificateFiles(Path("/nonexistent/chain.pem"), Path("/nonexistent/key.pem")),)
    assert settings.orders == (("docker.example.com",), ("a.example.com", "b.example.com"))
    assert settings.tls.acme is not None
    assert settings.tls.acme.challenges == (ChallengeKind.HTTP,)
    assert [(ca.directory, ca.profile, ca.eab_key_id) for ca in settings.tls.acme.cas] == [
        ("https://ca.test:14000/dir", "shortlived", "kid-1")
    ]


def test_without_a_list_of_domains_each_host_has_a_certificate_of_its_own(tmp_path: Path) -> None:
    text = 'hosts = ["a.test", "192.0.2.1", "b.test"]\n[tls.acme]\nagree_to_terms = true'
    settings = read(text, tmp_path).config
    assert settings.orders == (("a.test",), ("b.test",))
    assert settings.tls is not None
    assert settings.tls.acme is not None
    assert settings.tls.acme.cas == (Ca(),)


def test_the_plain_port_may_be_switched_off_beside_tls(tmp_path: Path) -> None:
    assert read("[listen]\nhttp = []\n[tls]", tmp_path).config.listen.http == ()


def test_tls_without_a_certificate_is_warned_of(tmp_path: Path) -> None:
    assert read('hosts = ["a.test"]\n[tls]' + TWO, tmp_path).warnings[0].startswith("tls: there is no certificate but")


def test_a_certificate_for_a_name_that_is_not_answered_for_is_warned_of(tmp_path: Path) -> None:
    text = 'hosts = ["a.test"]\n[tls.acme]\nagree_to_terms = true\ndomains = ["a.test", "b.test"]' + TWO
    assert read(text, tmp_path).warnings[0].startswith("tls.acme.domains: b.test is not among the hosts")


def test_clients_credentials_may_pass_where_the_plain_port_sends_everybody_to_https(tmp_path: Path) -> None:
    private = '[[backend]]\nname = "x"\nurl = "https://x"\nauth = "client"'
    assert read('hosts = ["a.test"]\n[tls]\n' + private, tmp_path).config.rules.private == "x"
    found = problems('hosts = ["a.test"]\n[tls]\nredirect_http = false\n' + private, tmp_path)
    assert found[0].startswith('backend[0].auth: "client" over plain HTTP is for loopback addresses alone')


@pytest.mark.parametrize("interface", ["127.0.0.1", "127.0.0.9:backlog=5", "\\\\:\\\\:1"])
def test_clients_credentials_may_pass_on_loopback_addresses(interface: str, tmp_path: Path) -> None:
    listen = f'[listen]\nhttp = "tcp:8080:interface={interface}"\n'
    settings = read(listen + '[[backend]]\nname = "x"\nurl = "https://x"\nauth = "client"', tmp_path).config
    assert settings.rules.private == "x"


def test_credentials_are_refused_without_a_list_of_repositories(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("s3cret")
    password.chmod(0o600)
    account = f'username = "me"\npassword_file = "{password}"\n'
    found = problems(TWO + account, tmp_path)
    assert found[0].startswith("backend[1].username: with empty `repositories` anybody could spend it")
    settings = read('repositories = ["org/*"]' + TWO + account + "rename = {}", tmp_path).config
    assert settings.backends[1].credentials is not None
    password.write_text("")
    found = problems('repositories = ["org/*"]' + TWO + account, tmp_path)
    assert found[0].startswith("backend[1].password_file: ")
    assert "s3cret" not in repr(settings)


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    text = """
        bogus = 1
        repositories = ["org/*"]
        [health]
        interval = 5
        canary = "evil/app"
        [listen]
        http = "nonsense"
        [[backend]]
        name = "a"
        [[backend]]
        name = "b"
        url = "nonsense"
        [[backend]]
        name = "c"
        url = "https://c.test"
        [[backend]]
        name = "c"
        url = "https://d.test"
    """
    keys = {problem.split(":")[0] for problem in problems(text, tmp_path)}
    assert {"bogus", "health.interval", "health.canary", "listen.http", "backend[0].url", "backend[1].url"} <= keys
    assert len(keys) == 7, "and a name that is there twice"


def test_no_problem_is_made_up_because_of_another(tmp_path: Path) -> None:
    found = problems('[health]\ninterval = "30"\nfast_interval = "20s"', tmp_path)
    assert [problem.split(":")[0] for problem in found] == ["health.interval"]


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load(tmp_path / "none.toml", None, {}, reactor)
    (tmp_path / "latin.toml").write_bytes(b"# \xff")
    with pytest.raises(SettingsError, match="not TOML"):
        load(tmp_path / "latin.toml", None, {}, reactor)


def test_without_a_file_there_are_docker_hub_and_ghcr_and_no_failover() -> None:
    loaded = load(None, None, {}, reactor)
    assert loaded.config == Config()
    assert [backend.name for backend in loaded.config.backends] == ["docker-hub", "ghcr"]
    assert [route.backends for route in loaded.config.rules.routes] == [("docker-hub",)]
    assert "there is no failover" in loaded.warnings[0]


def test_the_organisation_on_the_command_line_names_the_repositories(tmp_path: Path) -> None:
    loaded = load(None, "example", {}, reactor)
    assert [pattern.text for pattern in loaded.config.repositories] == ["example/**"]
    assert [route.backends for route in loaded.config.rules.routes] == [("docker-hub", "ghcr")]
    assert "rename = {} confirms" in loaded.warnings[0]
    for wrong in ("", "Example", "a b", "*", "../x"):
        with pytest.raises(SettingsError, match="--org"):
            load(None, wrong, {}, reactor)
    (tmp_path / "facaded.toml").write_text("")
    with pytest.raises(SettingsError, match="--org: it is for running without a file"):
        load(tmp_path / "facaded.toml", "example", {}, reactor)


def test_the_system_s_file_is_read_if_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "system.toml").write_text('repositories = ["system/*"]')
    assert load(None, None, {"REGISTRY_ORG": "ignored"}, reactor).config.repositories[0].text == "system/*"


def test_the_environment_of_the_first_facade_s_container_is_understood() -> None:
    loaded = load(None, None, {"REGISTRY_HOST": "ghcr.io", "REGISTRY_ORG": "example"}, reactor)
    assert [(backend.name, backend.url) for backend in loaded.config.backends] == [("ghcr", "https://ghcr.io")]
    assert [pattern.text for pattern in loaded.config.repositories] == ["example/**"]
    renamed = load(None, None, {"REGISTRY_HOST": "registry.hub.docker.com"}, reactor)
    assert renamed.config.backends[0].url == "https://registry-1.docker.io"
    assert "registry.hub.docker.com is read as registry-1.docker.io" in renamed.warnings[0]
    with pytest.raises(SettingsError, match=r"backend\[0\].url"):
        load(None, None, {"REGISTRY_HOST": "a/b"}, reactor)


WATCHED = 'repositories = ["org/*"]\n[health]\ncanary = "org/app"\n'


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        (TWO, "repositories: empty, so there is no failover: everything is sent to main and nothing to second"),
        (WATCHED + TWO, "backend[1].rename: second is asked for the same names as main"),
        (WATCHED + TWO + "rename = {}", None),
        (WATCHED + TWO.replace("second.test", "main.test"), None),
        (
            'repositories = ["org/*"]' + TWO + "rename = {}",
            "health.canary: there is none for main, second, so that it is",
        ),
        (
            'repositories = ["org/*"]' + TWO + 'rename = {}\ncanary = "org/app"',
            "health.canary: there is none for main, so that it is not noticed",
        ),
        ('[[backend]]\nname = "x"\nurl = "https://x"', "backend: there is only one, so there is no failover"),
    ],
)
def test_what_the_settings_allow_but_a_person_should_know_is_said(
    text: str, warned: str | None, tmp_path: Path
) -> None:
    warnings = read(text, tmp_path).warnings
    assert [warning[: len(warned or "")] for warning in warnings] == ([warned] if warned else [])


def test_the_state_is_kept_where_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_directory(Config(), {"STATE_DIRECTORY": "/a:/b"}) == Path("/a")
    monkeypatch.setattr(config, "SYSTEM_STATE", tmp_path / "lib" / "facaded")
    assert state_directory(Config(), {"XDG_STATE_HOME": "/x"}) == Path("/x/facaded")
    assert state_directory(Config(), {"HOME": "/h"}) == Path("/h/.local/state/facaded")
    (tmp_path / "lib").mkdir()
    assert state_directory(Config(), {}) == tmp_path / "lib" / "facaded"
    (tmp_path / "lib" / "facaded").symlink_to("private/facaded")
    assert state_directory(Config(), {"HOME": "/h"}) == Path("/h/.local/state/facaded"), (
        "the state of a service of another user"
    )


def test_the_control_socket_is_closed_to_others_unless_the_setting_opens_it(tmp_path: Path) -> None:
    def path(settings: Config, environ: dict[str, str]) -> tuple[str, str]:
        endpoint = control_endpoint(settings, environ)
        return control_path(endpoint), endpoint.rpartition(":")[2]

    assert path(Config(), {"RUNTIME_DIRECTORY": "/run/a:b"}) == ("/run/a/control.sock", "mode=600")
    assert path(Config(), {"STATE_DIRECTORY": "/odd=dir\\x"}) == ("/odd=dir\\x/control.sock", "mode=600")
    given = read('[listen]\ncontrol = "unix:/run/x.sock:mode=660"', tmp_path).config
    assert path(given, {}) == ("/run/x.sock", "mode=660")
    bare = read('[listen]\ncontrol = "unix:address=/run/a\\\\:b.sock"', tmp_path).config
    assert path(bare, {}) == ("/run/a:b.sock", "mode=600")
