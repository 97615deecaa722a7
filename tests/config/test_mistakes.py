"""Every way to get the settings wrong."""

from pathlib import Path

import pytest
from twisted.internet import reactor

from facaded.config import SettingsError, load
from tests.config.reading import TWO, problems

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
