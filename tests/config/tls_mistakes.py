"""Mistakes in [tls], as in `mistakes`."""

WRONG_TLS = [
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
        'hosts = ["10.0.0.1", "fd00::1"]\n[tls.acme]\nagree_to_terms = true',
        "facaded.toml:2: tls.acme.domains: there is no name to obtain a certificate for but private addresses: list",
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
        'hosts = ["h.test"]\n[tls.acme]\nagree_to_terms = true\ndomains = ["192.0.2.256"]',
        "facaded.toml:4: tls.acme.domains[0]: '192.0.2.256' is not an IP address: write four numbers from 0 to 255",
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
    (
        'hosts = ["h.test"]\n[tls.acme]\nagree_to_terms = true\ndomains = ["a.test", ["b.test", "a.test"]]',
        "facaded.toml:4: tls.acme.domains[1]: a.test is in another entry too, and authorities count failures by name:",
    ),
    (
        'hosts = ["h.test"]\n[listen]\nhttp = []\n[tls]\nacme_webroot = "/srv"',
        "facaded.toml:5: tls.acme_webroot: it is answered on the plain port, and listen.http is empty",
    ),
    ("[acme]\nagree_to_terms = true", "facaded.toml:1: acme: unknown section: write [tls.acme]"),
]
