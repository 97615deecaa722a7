"""Settings with one mistake each, and how the error begins that it gives. Those of [tls] are in `tls_mistakes`."""

from tests.config.reading import TWO

WRONG = [
    (
        '[notify]\ncommand = "curl -d @- https://hooks.example.com"',
        "facaded.toml:2: notify.command: 'curl -d @- https://hooks.example.com': no shell runs it: write a list of",
    ),
    (
        '[notify]\ncommand = ["bin/notify"]',
        "facaded.toml:2: notify.command: 'bin/notify' is not a program: write its absolute path, or a name that is in",
    ),
    ('[notify]\ncommand = [""]', "facaded.toml:2: notify.command: '' is not a program: write its absolute path, or"),
    ("[notify]\ncommand = 5", "facaded.toml:2: notify.command: expected a list, got an integer: put it in [ ]"),
    (
        '[notify]\ncommand = ["notify", 5]',
        "facaded.toml:2: notify.command[1]: expected a string, got an integer: put it in double quotes",
    ),
    (
        f"[notify]\ncommand = {['x'] * 101}",
        "facaded.toml:2: notify.command: more than 100 words: put them into a script",
    ),
    (
        f"[notify]\ncommand = ['x', '{'x' * 4097}']",
        "facaded.toml:2: notify.command[1]: longer than 4096 characters: put it into a script",
    ),
    (
        '[limits]\nconnections = "many"',
        "facaded.toml:2: limits.connections: 'many': expected a number or \"auto\"",
    ),
    (
        'workers = "all"',
        "facaded.toml:1: workers: 'all': expected a number or \"auto\"",
    ),
    ("workers = 0", "facaded.toml:1: workers: 0 is not a number: write an integer from 1 to 64"),
    ("workers = 65", "facaded.toml:1: workers: 65 is not a number: write an integer from 1 to 64"),
    ("workers = 1.5", "facaded.toml:1: workers: 1.5 is not a number: write an integer from 1 to 64"),
    (
        "[limits]\nconnections_per_source = 0",
        "facaded.toml:2: limits.connections_per_source: 0",
    ),
    (
        "[limits]\nquota_reserve = 100",
        "facaded.toml:2: limits.quota_reserve: 100",
    ),
    (
        '[limits]\nexempt = ["192.0.2.7/24"]',
        "facaded.toml:2: limits.exempt[0]: '192.0.2.7/24' is not a network: write it as in \"192.0.2.0/24\",",
    ),
    (
        'trusted_proxies = ["proxy.example.com"]',
        "facaded.toml:1: trusted_proxies[0]: 'proxy.example.com' is not a network: write it as in",
    ),
    (
        "bogus = 1",
        "facaded.toml:1: bogus: unknown key; known here: access_log, addresses, answer, backend, cache, health,",
    ),
    ('answer = "proxy"', 'facaded.toml:1: answer: \'proxy\': expected "auto", "redirect" or "serve"'),
    ('log = "text"', 'facaded.toml:1: log: \'text\': expected "auto" or "json"'),
    ("access_log = true", 'facaded.toml:1: access_log: True: expected "off", "errors" or "all"'),
    ('addresses = "hidden"', 'facaded.toml:1: addresses: \'hidden\': expected "full", "masked" or "none"'),
    ("answer = 1", 'facaded.toml:1: answer: 1: expected "auto", "redirect" or "serve"'),
    (
        '[cache]\nmanifests = "64 MB"',
        "facaded.toml:2: cache.manifests: '64 MB' is not a size: write a number and a unit, as in \"64MiB\", up to",
    ),
    (
        '[cache]\nmanifests = "999GiB"',
        "facaded.toml:2: cache.manifests: '999GiB' is not a size: write a number and a unit, as in \"64MiB\", up to",
    ),
    (
        '[history]\nsize = "1MiB"',
        "facaded.toml:2: history.size: '1MiB' is too small: write at least \"16MiB\"",
    ),
    (
        "[history]\ndays = -1",
        "facaded.toml:2: history.days: -1 is not a number of days: write an integer from 0 to 3650",
    ),
    (
        '[cache]\nstale_tags = "-1s"',
        'facaded.toml:2: cache.stale_tags: \'-1s\' is not a time: write a number and a unit, as in "500ms", "10s",',
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
        "facaded.toml:8: backend[1].ca_file: /dev/null is not a regular file: name a file",
    ),
    (
        TWO + 'ca_file = "ca.pem"',
        "facaded.toml:8: backend[1].ca_file: 'ca.pem' is not an absolute path: begin it with /",
    ),
    (
        '[listen]\nhttp = "nonsense:1"',
        "facaded.toml:2: listen.http: 'nonsense:1' is not an address: expected an address as in \":8080\",",
    ),
    ('[listen]\nhttp = "tcp:99999"', "facaded.toml:2: listen.http: '99999' is not a port: write a number from"),
    ('[listen]\nhttp = "systemd:"', "facaded.toml:2: listen.http: 'systemd:' names no socket of systemd: write"),
    (
        '[listen]\nhttp = "systemd:web"\nadmin = "systemd:domain=INET6:name=web"',
        'facaded.toml:3: listen.admin: "systemd:domain=INET6:name=web" is the same address as "systemd:web" in',
    ),
    ('[listen]\nhttp = "tcp:-1"', "facaded.toml:2: listen.http: '-1' is not a port: write a number from"),
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
        'facaded.toml:1: "?[2Jx": unknown key; known here: access_log, addresses, answer, backend, cache,',
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
    ('[listen]\nhttp = ":99999"', "facaded.toml:2: listen.http: '99999' is not a port: write a number from"),
    (
        "[listen]\nhttp = true",
        'facaded.toml:2: listen.http: expected an address as in ":8080", "127.0.0.1:8080", "[::1]:8080",',
    ),
    ('[listen]\nhttp = "tcp:"', "facaded.toml:2: listen.http: '' is not a port: write a number from"),
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
        "facaded.toml:1: it is not valid TOML (Invalid value): put text in double quotes, as",
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
        "[health]\ninterval = 10s",
        "facaded.toml:2: it is not valid TOML (Expected newline or end of document after a statement): write one",
    ),
    (
        TWO + 'username = "me"\npassword_file = "s3cret"',
        "facaded.toml:9: backend[1].password_file: it is not an absolute path: write the secret to a file",
    ),
    (
        'repositories = ["org/**"]' + TWO + 'rename = { "other/*" = "org/*" }',
        'facaded.toml:8: backend[1].rename."other/*": "other/*" matches nothing in `repositories`: correct it',
    ),
    (
        'repositories = ["org/**"]\n[[route]]\nrepositories = ["other/**"]\nbackends = ["ghcr"]',
        'facaded.toml:3: route[0].repositories[0]: "other/**" matches nothing in `repositories`',
    ),
    (
        'hosts = ["main.test"]' + TWO,
        "facaded.toml:4: backend[0].url: it is a name in `hosts`, so facaded would ask itself",
    ),
    (
        '[[backend]]\nname = "x"\nurl = "https://x.test"\n[[backend]]\nname = "y"\nurl = "https://X.test:443"',
        "facaded.toml:6: backend[1].url: x is the same registry with the same names",
    ),
    (
        '[[backend]]\nname = "x"\nurl = "https://999.1.1.1"',
        "facaded.toml:3: backend[0].url: 'https://999.1.1.1': 999.1.1.1 is not a valid IP address",
    ),
    (
        '[[backend]]\nname = "x"\nurl = "https://auth.docker.io"',
        "facaded.toml:3: backend[0].url: auth.docker.io is Docker Hub's token server, not its registry",
    ),
    ('repositories = ["org/.*"]', "facaded.toml:1: repositories[0]: 'org/.*' matches no valid repository name"),
    ('repositories = ["gcr.io/org/**"]', 'facaded.toml:1: repositories[0]: "gcr.io/org/**" begins with a registry'),
    (
        '[health]\ncanary = "ghcr.io/org/app:latest"',
        "facaded.toml:2: health.canary: 'ghcr.io/org/app:latest': leave out the registry's host: write 'org/app",
    ),
    (
        '[health]\ncanary = "localhost:5000/org/app"',
        "facaded.toml:2: health.canary: 'localhost:5000/org/app': leave out the registry's host: write 'org/app'",
    ),
    (
        f'[health]\ncanary = "org/app:v1@sha256:{"0" * 64}"',
        "facaded.toml:2: health.canary: 'org/app:v1@sha256:",
    ),
    ('[health]\ncanary = "alpine"', "facaded.toml:2: health.canary: registry-1.docker.io has no repository with so"),
    ("[listen]\nhttp = 0", "facaded.toml:2: listen.http: '0' is not a port: write a number from 1 to 65535"),
    ('[listen]\nhttp = "unix:run/x.sock"', "facaded.toml:2: listen.http: 'unix:run/x.sock' is not an absolute path"),
    (f'[listen]\nhttp = "unix:/{"x" * 120}"', "facaded.toml:2: listen.http: 'unix:/xxxx"),
    (
        '[listen]\nhttp = ["0.0.0.0:80", "[::]:80"]',
        'facaded.toml:2: listen.http: "[::]:80" is the same address as "0.0.0.0:80" in listen.http: write ":80"',
    ),
    (
        '[state]\nacme_directory = "/etc/hostname"',
        "facaded.toml:2: state.acme_directory: /etc/hostname is not a directory",
    ),
    ('[state]\ndirectory = "/etc/hostname"', "facaded.toml:2: state.directory: /etc/hostname is not a directory"),
    (
        TWO + 'health.canary = "org/app"',
        "facaded.toml:8: backend[1].health: it is not a key of this section: move it above the first [section]",
    ),
    (
        TWO + 'username = "me"\npassword = "s3cret"',
        "facaded.toml:9: backend[1].password: unknown key; did you mean password_file?",
    ),
]
