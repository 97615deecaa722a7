"""Settings with one mistake each, and how the error begins that it gives."""

from tests.config.reading import TWO

WRONG = [
    (
        "bogus = 1",
        "facaded.toml:1: bogus: unknown key; known here: answer, backend, cache, health, hosts, listen, repositories,",
    ),
    ('answer = "proxy"', 'facaded.toml:1: answer: \'proxy\': expected "auto", "redirect" or "serve"'),
    ("answer = 1", 'facaded.toml:1: answer: 1: expected "auto", "redirect" or "serve"'),
    (
        '[cache]\nmanifests = "64 MB"',
        "facaded.toml:2: cache.manifests: '64 MB' is not a size: write a number and a unit, as in \"64MiB\", up to",
    ),
    (
        '[cache]\nmanifests = "999GiB"',
        "facaded.toml:2: cache.manifests: '999GiB' is not a size: write a number and a unit, as in \"64MiB\", up to",
    ),
    ("route = 1", "facaded.toml:1: route: expected a list of tables, got an integer: write [[route]]"),
    ('[[route]]\nrepositories = ["a"]', "facaded.toml:1: route[0].backends: missing: it is required here, so add it"),
    (
        '[[route]]\nrepositories = []\nbackends = ["ghcr"]',
        "facaded.toml:2: route[0].repositories: empty: name the repositories of this route",
    ),
    (
        '[[route]]\nrepositories = ["a"]\nbackends = ["quay"]',
        "facaded.toml:3: route[0].backends[0]: there is no backend called quay: choose from docker-hub, ghcr",
    ),
    (
        '[[route]]\nrepositories = ["a"]\nbackends = ["ghcr", "ghcr"]',
        "facaded.toml:3: route[0].backends: name each backend once, and at least one",
    ),
    (
        TWO + 'rename = { "*" = "a/**" }',
        "facaded.toml:8: backend[1].rename.\"*\": '*' = 'a/**': write one wildcard, the same on both sides, or none:",
    ),
    (
        'answer = "redirect"' + TWO + 'rename = { "a" = "b" }',
        'facaded.toml:8: backend[1].rename: a redirect keeps the name: set answer = "auto" or "serve"',
    ),
    (TWO + 'auth = "token"', 'facaded.toml:8: backend[1].auth: \'token\': expected "anonymous" or "client"'),
    (
        '[[backend]]\nname = "x"\nurl = "https://x"\nauth = "client"',
        'facaded.toml:4: backend[0].auth: "client" over plain HTTP is refused except on loopback addresses: set',
    ),
    (TWO + 'username = "me"', "facaded.toml:8: backend[1].username: set without password_file: set both or none"),
    (
        TWO + 'username = "me:you"',
        "facaded.toml:8: backend[1].username: 'me:you' is not a user name for Basic authentication: write ASCII",
    ),
    (
        TWO + 'password_file = "/nonexistent"',
        "facaded.toml:8: backend[1].password_file: set without username: set both or none",
    ),
    (
        TWO + 'password_file = "/etc/hostname"',
        "facaded.toml:8: backend[1].password_file: set without username: set both or none",
    ),
    (
        TWO + "publish_private = true",
        "facaded.toml:8: backend[1].publish_private: it concerns an account: set username and password_file as well",
    ),
    (
        TWO + 'publish_private = "yes"',
        "facaded.toml:8: backend[1].publish_private: expected true or false, got a string",
    ),
    (
        TWO + 'realm = "http://x/token"',
        "facaded.toml:8: backend[1].realm: 'http://x/token' is not a realm: write its URL, as in",
    ),
    ("repository = []", "facaded.toml:1: repository: unknown key; did you mean repositories?"),
    ('[health]\nintervall = "1s"', "facaded.toml:2: health.intervall: unknown key; did you mean interval?"),
    ("hosts = 5", "facaded.toml:1: hosts: expected a list, got an integer: put it in [ ]"),
    (
        'hosts = ["https://x"]',
        "facaded.toml:1: hosts[0]: 'https://x' is not a host name: write it without scheme, port and path, as in",
    ),
    (
        'hosts = ["x:80"]',
        "facaded.toml:1: hosts[0]: 'x:80' is not a host name: write it without scheme, port and path, as in",
    ),
    (
        'hosts = ["a b"]',
        "facaded.toml:1: hosts[0]: 'a b' is not a host name: write it without scheme, port and path, as in",
    ),
    (
        "repositories = [1]",
        "facaded.toml:1: repositories[0]: expected a string, got an integer: put it in double quotes",
    ),
    (
        'repositories = ["a\\n"]',
        "facaded.toml:1: repositories[0]: control characters are not allowed here: remove them",
    ),
    (f"repositories = {['a'] * 1001}", "facaded.toml:1: repositories: a list of more than 1000 entries: shorten it"),
    (
        "[health]\ninterval = 10",
        'facaded.toml:2: health.interval: 10 is not a time: write a number and a unit, as in "500ms", "10s", "10m" or',
    ),
    (
        '[health]\ninterval = "10"',
        'facaded.toml:2: health.interval: \'10\' is not a time: write a number and a unit, as in "500ms", "10s", "10m"',
    ),
    ('[health]\ninterval = "1ms"', 'facaded.toml:2: health.interval: \'1ms\' is out of range: from "50ms" to "24h"'),
    ('[health]\ninterval = "25h"', 'facaded.toml:2: health.interval: \'25h\' is out of range: from "50ms" to "24h"'),
    ("[health]\nfall = 0", "facaded.toml:2: health.fall: 0 is not a count: write an integer from 1 to 100"),
    ("[health]\nfall = true", "facaded.toml:2: health.fall: True is not a count: write an integer from 1 to 100"),
    (
        '[health]\nfast_interval = "11s"',
        "facaded.toml:2: health.fast_interval: longer than health.interval: shorten it, or leave it out",
    ),
    (
        '[health]\ncanary = "Org"',
        "facaded.toml:2: health.canary: 'Org' is not a repository name: use lower-case letters, digits, and . _ - /",
    ),
    (
        'repositories = ["org/*"]\n[health]\ncanary = "evil/app"',
        "facaded.toml:3: health.canary: evil/app is not in `repositories`: add it there, or choose another image",
    ),
    ("health = 5", "facaded.toml:1: health: expected a table, got an integer: write [health]"),
    ("backend = []", "facaded.toml:1: backend: 0 entries: from 1 to 16 are possible; write each as [[backend]]"),
    ("backend = 5", "facaded.toml:1: backend: expected a list of tables, got an integer: write [[backend]]"),
    ('backend = ["x"]', "facaded.toml:1: backend[0]: expected a table, got a string: write each entry as [[backend]]"),
    ('[[backend]]\nname = "x"', "facaded.toml:1: backend[0].url: missing: it is required here, so add it"),
    ('[[backend]]\nurl = "https://x"', "facaded.toml:1: backend[0].name: missing: it is required here, so add it"),
    (
        '[[backend]]\nname = "Hub"\nurl = "https://x"',
        "facaded.toml:2: backend[0].name: 'Hub' is not a name: write 1 to 63 lower-case letters, digits, and . _ -",
    ),
    (
        '[[backend]]\nname = "x"\nurl = "x.test"',
        "facaded.toml:3: backend[0].url: 'x.test' is not a registry's URL: write scheme and host, as in",
    ),
    (
        '[[backend]]\nname = "x"\nurl = "ftp://x.test"',
        "facaded.toml:3: backend[0].url: 'ftp://x.test' is not a registry's URL: write scheme and host, as in",
    ),
    (
        '[[backend]]\nname = "x"\nurl = "https://u:p@x.test"',
        "facaded.toml:3: backend[0].url: 'https://u:p@x.test' is not a registry's URL: write scheme and host, as in",
    ),
    (
        '[[backend]]\nname = "x"\nurl = "https://x.test:99999"',
        "facaded.toml:3: backend[0].url: 'https://x.test:99999' is not a registry's URL: write scheme and host, as in",
    ),
    (
        '[[backend]]\nname = "x"\nurl = "https://x.test/v2"',
        "facaded.toml:3: backend[0].url: 'https://x.test/v2' has more than scheme and host: leave out everything after",
    ),
    (
        '[[backend]]\nname = "x"\nurl = "https://registry.hub.docker.com"',
        "facaded.toml:3: backend[0].url: registry.hub.docker.com no longer works as a registry: write",
    ),
    (
        TWO.replace("second", "main"),
        "facaded.toml:6: backend[1].name: main is the name of an earlier backend: give each its own name",
    ),
    (
        TWO + "rename = 1",
        'facaded.toml:8: backend[1].rename: expected a table, got an integer: write { "org/*" = "other/*" }',
    ),
    (TWO + 'ca_file = "/nonexistent"', "facaded.toml:8: backend[1].ca_file: /nonexistent cannot be read"),
    (
        TWO + 'ca_file = "/dev/null"',
        "facaded.toml:8: backend[1].ca_file: /dev/null has no readable certificate: write it in PEM format",
    ),
    (
        TWO + 'ca_file = "ca.pem"',
        "facaded.toml:8: backend[1].ca_file: 'ca.pem' is not an absolute path: begin it with /",
    ),
    (
        '[listen]\nhttp = "nonsense:1"',
        "facaded.toml:2: listen.http: 'nonsense:1' is not an address: expected an address as in \":8080\",",
    ),
    ('[listen]\nhttp = "tcp:99999"', "facaded.toml:2: listen.http: '99999' is not a port: write a number up to 65535"),
    ('[listen]\nhttp = "tcp:-1"', "facaded.toml:2: listen.http: '-1' is not a port: write a number up to 65535"),
    (
        '[listen]\nhttp = "stdio:"',
        "facaded.toml:2: listen.http: 'stdio:' is not an address: expected an address as in \":8080\",",
    ),
    ("[[backend]]", "facaded.toml:1: backend[0]: name and url are missing: they are required here, so add them"),
    (
        '[[backend]]\nname = "x"\nurl = "https://[::1]:5000"',
        "facaded.toml:3: backend[0].url: 'https://[::1]:5000': IPv6 addresses are not supported here: give the",
    ),
    (
        "[health]\nrise = " + "9" * 5000,
        "facaded.toml:2: it is not valid TOML (Exceeds the limit (4300 digits) for integer string conversion: value",
    ),
    (
        "a = " + "[" * 5000,
        "facaded.toml:1: more than 50 lists or tables inside each other: check that it is the right file",
    ),
    (
        '"\\u001b[2Jx" = 1',
        'facaded.toml:1: "?[2Jx": unknown key; known here: answer, backend, cache, health, hosts, listen,',
    ),
    (
        "[listen]\nhttp = []",
        "facaded.toml:2: listen.http: empty, so nothing would be answered: leave it out for the default",
    ),
    (
        '[listen]\ncontrol = "tcp:1"',
        "facaded.toml:2: listen.control: 'tcp:1' is not a unix socket: write \"unix:/run/facaded/control.sock\"",
    ),
    (
        "[state]\ndirectory = 2026-01-01",
        "facaded.toml:2: state.directory: expected a string, got a date or time: put it in double quotes",
    ),
    (
        "= 5",
        "facaded.toml:1: it is not valid TOML (Invalid statement): write each setting as key = value, and each section",
    ),
    ("tls = 5", "facaded.toml:1: tls: expected a table, got an integer: write [tls]"),
    (
        "[tls]",
        "facaded.toml:1: tls.redirect_http: with empty `hosts` there is no name to redirect to: list your names there,",
    ),
    (
        "[tls]\nredirect_http = false\n[listen]\nhttps = []",
        "facaded.toml:4: listen.https: empty, so there would be no HTTPS: leave it out for the default",
    ),
    (
        'hosts = ["h.test"]\n[tls]\n[listen]\nhttps = "nonsense"',
        "facaded.toml:4: listen.https: 'nonsense' is not an address: expected an address as in \":8080\",",
    ),
    (
        'hosts = ["h.test"]\n[tls]\npublic_port = 0',
        "facaded.toml:3: tls.public_port: 0 is not a port: write an integer from 1 to 65535",
    ),
    (
        'hosts = ["h.test"]\n[tls]\npublic_port = true',
        "facaded.toml:3: tls.public_port: True is not a port: write an integer from 1 to 65535",
    ),
    (
        'hosts = ["h.test"]\n[tls]\nacme_webroot = "webroot"',
        "facaded.toml:3: tls.acme_webroot: 'webroot' is not an absolute path: begin it with /",
    ),
    (
        'hosts = ["h.test"]\n[tls]\ncertificate = 5',
        "facaded.toml:3: tls.certificate: expected a list of tables, got an integer: write [[tls.certificate]]",
    ),
    (
        'hosts = ["h.test"]\n[[tls.certificate]]\nchain = "/x"',
        "facaded.toml:2: tls.certificate[0].key: missing: it is required here, so add it",
    ),
    (
        'hosts = ["h.test"]\n[[tls.certificate]]\nkey = "/x"',
        "facaded.toml:2: tls.certificate[0].chain: missing: it is required here, so add it",
    ),
    (
        'hosts = ["h.test"]\n[[tls.certificate]]\nchain = "/x"\nkey = "/etc/hostname"',
        "facaded.toml:4: tls.certificate[0].key: /etc/hostname can be read by others: chmod o= /etc/hostname, or",
    ),
    (
        'hosts = ["a.test"]\n[tls.acme]',
        "facaded.toml:2: tls.acme.agree_to_terms: the authority requires that you agree to its terms of service (Let's",
    ),
    (
        "[tls.acme]\nagree_to_terms = true",
        "facaded.toml:1: tls.acme.domains: there is no name to obtain a certificate for: list your names in `hosts`,",
    ),
    (
        'hosts = ["192.0.2.1"]\n[tls.acme]\nagree_to_terms = true',
        "facaded.toml:2: tls.acme.domains: there is no name to obtain a certificate for: list your names in `hosts`,",
    ),
    (
        'hosts = ["h.test"]\n[tls.acme]\nagree_to_terms = true\ndomains = ["*.a.test"]',
        "facaded.toml:4: tls.acme.domains[0]: *.a.test: a wildcard needs a dns-01 challenge, which facaded does",
    ),
    (
        'hosts = ["h.test"]\n[tls.acme]\nagree_to_terms = true\ndomains = [["a.test", "*.a.test"]]',
        "facaded.toml:4: tls.acme.domains[0]: *.a.test: a wildcard needs a dns-01 challenge, which facaded does",
    ),
    (
        'hosts = ["h.test"]\n[tls.acme]\nagree_to_terms = true\ndomains = ["192.0.2.1"]',
        "facaded.toml:4: tls.acme.domains[0]: 192.0.2.1: this is an address, and certificates are ordered for names:",
    ),
    (
        'hosts = ["h.test"]\n[tls.acme]\nagree_to_terms = true\ndomains = ["a.test", ["b.test", "a.test"]]',
        "facaded.toml:4: tls.acme.domains[1]: a.test is in another entry too, and authorities count failures by name:",
    ),
    (
        'hosts = ["h.test"]\n[tls.acme]\nagree_to_terms = true\ndomains = [[]]',
        "facaded.toml:4: tls.acme.domains[0]: one certificate has from 1 to 100 names: split the list",
    ),
    (
        'hosts = ["h.test"]\n[tls.acme]\nagree_to_terms = true\ndomains = "a.test"',
        "facaded.toml:4: tls.acme.domains: expected a list, got a string: put it in [ ]",
    ),
    (
        'hosts = ["h.test"]\n[tls.acme]\nagree_to_terms = true\nemail = "me"',
        "facaded.toml:4: tls.acme.email: 'me' is not an email address: write it as in \"ops@example.com\"",
    ),
    (
        'hosts = ["h.test"]\n[tls.acme]\nagree_to_terms = true\nchallenges = []',
        'facaded.toml:4: tls.acme.challenges: name each once, and at least one: "tls-alpn-01", "http-01"',
    ),
    (
        'hosts = ["h.test"]\n[tls.acme]\nagree_to_terms = true\nchallenges = ["dns-01"]',
        'facaded.toml:4: tls.acme.challenges[0]: \'dns-01\': expected "tls-alpn-01" or "http-01"',
    ),
    (
        'hosts = ["h.test"]\n[listen]\nhttp = []\n[tls.acme]\nagree_to_terms = true\nchallenges = ["http-01"]',
        "facaded.toml:6: tls.acme.challenges: http-01 is verified on the plain port: set listen.http, or add",
    ),
    (
        'hosts = ["h.test"]\n[tls.acme]\nagree_to_terms = true\n[[tls.acme.ca]]\ndirectory = "http://ca.test/"',
        "facaded.toml:5: tls.acme.ca[0].directory: 'http://ca.test/' is not an ACME directory: write its URL, as in",
    ),
    (
        'hosts = ["h.test"]\n[tls.acme]\nagree_to_terms = true\n[[tls.acme.ca]]\nprofile = "a b"',
        "facaded.toml:5: tls.acme.ca[0].profile: 'a b': expected up to 200 ASCII characters without spaces: copy it",
    ),
    (
        'hosts = ["h.test"]\n[tls.acme]\nagree_to_terms = true\n[[tls.acme.ca]]\neab_key_id = "x"',
        "facaded.toml:5: tls.acme.ca[0].eab_key_id: set without eab_hmac_key_file: set both or none",
    ),
    (
        'hosts = ["h.test"]\n[tls.acme]\nagree_to_terms = true\n[[tls.acme.ca]]\neab_hmac_key_file = "/etc/hostname"',
        "facaded.toml:5: tls.acme.ca[0].eab_hmac_key_file: set without eab_key_id: set both or none",
    ),
    (
        'hosts = ["h.test"]\n[tls.acme]\nagree_to_terms = true\n' + "[[tls.acme.ca]]\n" * 9,
        "facaded.toml:4: tls.acme.ca: 9 entries: from 1 to 8 are possible; write each as [[tls.acme.ca]]",
    ),
    ("x" * (2 << 20), "facaded.toml: it is larger than 524288 bytes: check that it is the right file"),
    (
        'hosts = ["*.example.com"]',
        "facaded.toml:1: hosts[0]: '*.example.com': wildcards are not supported here: list each host name",
    ),
    (
        'repositories = ["example"]',
        'facaded.toml:1: repositories[0]: "example" is one repository, and registry-1.docker.io has none with so short',
    ),
    (
        'repositories = ["docker.io/example/**"]',
        'facaded.toml:1: repositories[0]: "docker.io/example/**" begins with a registry\'s host: write "example/**"',
    ),
    (
        'repositories = ["ghcr.io/example/**"]',
        'facaded.toml:1: repositories[0]: "ghcr.io/example/**" begins with a registry\'s host: write "example/**"',
    ),
    (
        'hosts = ["docker.example.com"]\nrepositories = ["docker.example.com/example/**"]',
        'facaded.toml:2: repositories[0]: "docker.example.com/example/**" begins with a registry\'s host: write',
    ),
    (
        '[[backend]]\nname = "x"\nurl = "https://hub.docker.com"',
        "facaded.toml:3: backend[0].url: hub.docker.com is Docker Hub's website, not its registry: write",
    ),
    (
        '[[backend]]\nname = "x"\nurl = "https://www.docker.com"',
        "facaded.toml:3: backend[0].url: www.docker.com is Docker's website, not a registry: write",
    ),
    (
        '[[backend]]\nname = "x"\nurl = "https://docker.io"',
        "facaded.toml:3: backend[0].url: docker.io is Docker Hub's website, not its registry: write",
    ),
    (
        '[[backend]]\nname = "x"\nurl = "https://github.com"',
        "facaded.toml:3: backend[0].url: github.com is a website, not a registry: write https://ghcr.io",
    ),
    (
        '[listen]\nhttp = ":8080"\nadmin = ":8080"',
        'facaded.toml:3: listen.admin: ":8080" is the same address as ":8080" in listen.http: choose another',
    ),
    (
        "[listen]\nhttp = 9180",
        'facaded.toml:1: listen.admin: "127.0.0.1:9180" is the same address as "9180" in listen.http: choose another',
    ),
    (
        '[listen]\nhttp = [":8080", "127.0.0.1:8080"]',
        'facaded.toml:2: listen.http: "127.0.0.1:8080" is the same address as ":8080" in listen.http: choose another',
    ),
    (
        '[listen]\nhttp = "unix:/run/x"\ncontrol = "unix:/run/x:mode=600"',
        'facaded.toml:3: listen.control: "unix:/run/x:mode=600" is the same address as "unix:/run/x" in listen.http:',
    ),
    (
        '[listen]\nhttp = "localhost:8080"',
        "facaded.toml:2: listen.http: 'localhost:8080' is not an address: expected an address as in \":8080\",",
    ),
    (
        '[listen]\nhttp = "[::1]"',
        "facaded.toml:2: listen.http: '[::1]' is not an address: expected an address as in \":8080\",",
    ),
    (
        '[listen]\nhttp = "999.0.0.1:80"',
        "facaded.toml:2: listen.http: '999.0.0.1' is not an IP address: expected an address as in \":8080\",",
    ),
    ('[listen]\nhttp = ":99999"', "facaded.toml:2: listen.http: '99999' is not a port: write a number up to 65535"),
    (
        "[listen]\nhttp = true",
        'facaded.toml:2: listen.http: expected an address as in ":8080", "127.0.0.1:8080", "[::1]:8080",',
    ),
    ('[listen]\nhttp = "tcp:"', "facaded.toml:2: listen.http: '' is not a port: write a number up to 65535"),
    (
        '[listen]\nhttp = "tcp:8080:nonsense=1"',
        "facaded.toml:2: listen.http: 'tcp:8080:nonsense=1' is not a Twisted endpoint (unexpected keyword argument",
    ),
    (
        '[listen]\nhttp = ":8080"\nrepositories = ["example/**"]',
        "facaded.toml:3: listen.repositories: it is not a key of this section: move it above the first [section]",
    ),
    ('interval = "5s"', "facaded.toml:1: interval: unknown key here; it belongs in [health]"),
    (
        '[health]\ntimeout = "3s"\n[listen]\ncanary = "a/b"',
        "facaded.toml:4: listen.canary: unknown key here; it belongs in [health]",
    ),
    (
        '[backend]\nname = "x"\nurl = "https://x.test"',
        "facaded.toml:1: backend: expected a list of tables, got [backend]: write [[backend]]",
    ),
    (
        '[[health]]\ninterval = "5s"',
        "facaded.toml:1: health: expected a table, got [[health]]: write it in single brackets",
    ),
    (
        "answer = auto",
        "facaded.toml:1: it is not valid TOML (Invalid value): the value is not valid: put text in double quotes, as",
    ),
    (
        'answer = "auto',
        "facaded.toml:1: it is not valid TOML (Unterminated string): close the text with the quote that it begins with",
    ),
    (
        'answer = "auto" hosts = []',
        "facaded.toml:1: it is not valid TOML (Expected newline or end of document after a statement): write one",
    ),
    (
        'hosts = ["a.test"\nanswer = "auto"',
        "facaded.toml:2: it is not valid TOML (Unclosed array): close the list with ]",
    ),
    (
        'answer = "auto"\nanswer = "serve"',
        "facaded.toml:2: it is not valid TOML (Cannot overwrite a value): this key is set twice: keep one of them",
    ),
    (
        "[health]\nrise = 1\n[health]\nfall = 1",
        "facaded.toml:3: it is not valid TOML (Cannot declare ('health',) twice): this section is there twice: put its",
    ),
    (
        'answer: "auto"',
        "facaded.toml:1: it is not valid TOML (Expected '=' after a key in a key/value pair): write each setting as",
    ),
    (
        "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a",
        "facaded.toml:1: a key with more than 16 parts: no setting has so many: check that it is the right file",
    ),
    (
        '[[backend]]\nname = "x"\nurl = "https://x.test"\n[[backend]]\nname = "y"\nurl = "https://x.test/"',
        "facaded.toml:6: backend[1].url: x is the same registry with the same names: remove one of them, or set rename",
    ),
    (
        'hosts = ["h.test"]\n[tls.acme]\nagree_to_terms = true\ndomains = ["a.test", ["b.test", "a.test"]]',
        "facaded.toml:4: tls.acme.domains[1]: a.test is in another entry too, and authorities count failures by name:",
    ),
    (
        "[health]\ninterval = 10s",
        "facaded.toml:2: it is not valid TOML (Expected newline or end of document after a statement): write one",
    ),
    (
        TWO + 'username = "me"\npassword_file = "s3cret"',
        "facaded.toml:9: backend[1].password_file: it is not an absolute path: write the secret to a file",
    ),
]
