"""The keys of [tls], as data: see `schema`."""

from facaded.config import values
from facaded.config.sections import AcmeTable, TlsSettings
from facaded.config.tables import Inner, Key, Table
from facaded.tls.acme.settings import CertificateAuthority
from facaded.tls.certificate_files import CertificateFiles

AUTHORITIES = 8
"""Certificate authorities that are tried in turn."""

CERTIFICATE = Table(
    CertificateFiles,
    (
        Key(
            "chain",
            values.PATH,
            '"/etc/facaded/tls/fullchain.pem"',
            "The certificate and its intermediate certificates, in PEM format.",
            "Required.",
            is_example=True,
            required=True,
        ),
        Key(
            "key",
            values.PATH,
            '"/etc/facaded/tls/privkey.pem"',
            "Its private key, without a passphrase, and not readable by others: mode 0640, group facaded.",
            "Required.",
            is_example=True,
            required=True,
        ),
    ),
)

AUTHORITY = Table(
    CertificateAuthority,
    (
        Key(
            "directory",
            values.DIRECTORY_URL,
            '"https://acme-v02.api.letsencrypt.org/directory"',
            "The URL of the authority's ACME directory.",
            "Change it for another authority, or for Let's Encrypt's staging one while you try.",
        ),
        Key(
            "staging",
            values.DIRECTORY_URL,
            '"https://acme-staging-v02.api.letsencrypt.org/directory"',
            "The URL of the authority's directory for tests, where `facaded check --dry-run` orders, each time with a "
            "new account. Let's Encrypt's is known. A private authority may have its `directory` here: a test issues "
            "no certificate.",
            "Set it for another authority that has one.",
            is_example=True,
        ),
        Key(
            "profile",
            values.KEY_ID,
            '"tlsserver"',
            "A kind of certificate that the authority offers, such as Let's Encrypt's \"shortlived\". Certificates for "
            "IP addresses always have that one there, because it issues them with no other.",
            "Set it if you want another than the authority's default.",
            is_example=True,
        ),
        Key(
            "eab_key_id",
            values.KEY_ID,
            '"example"',
            "The key identifier of an account that you already have there (external account binding).",
            "Set it if the authority gave you one.",
            is_example=True,
            needs=("eab_hmac_key_file",),
        ),
        Key(
            "eab_hmac_key_file",
            values.SECRET_PATH,
            '"/run/credentials/facaded.service/eab"',
            "The file with that account's HMAC key in base64url, readable only by the daemon.",
            "Set it with the identifier.",
            is_example=True,
            needs=("eab_key_id",),
        ),
        Key(
            "ca_file",
            values.PATH,
            '"/etc/facaded/ca.pem"',
            "The trust roots for the authority's URL, in PEM format, instead of the system's.",
            "Set it for a private authority.",
            is_example=True,
        ),
    ),
)

ACME = Table(
    AcmeTable,
    (
        Key(
            "agree_to_terms",
            values.BOOLEAN,
            "true",
            "Whether you agree to the terms of service of the authorities below; false by default.",
            "Set it to true: no certificate is ordered before.",
            is_example=True,
        ),
        Key(
            "email",
            values.EMAIL,
            '"ops@example.com"',
            "Where the authority can reach you.",
            "Set it if you want the authority's mails.",
            is_example=True,
            needs=("agree_to_terms",),
        ),
        Key(
            "domains",
            values.DOMAINS,
            "[]",
            "The certificates to obtain: each entry is one, for a name or an IP address, or for a list of them. Empty: "
            "one for each of `hosts`, except for private addresses at public authorities, which issue none for them.",
            "Set it to put several names into one certificate. Wildcards are not possible, because they need dns-01.",
            needs=("agree_to_terms",),
        ),
        Key(
            "challenges",
            values.CHALLENGES,
            '["tls-alpn-01", "http-01"]',
            "How the authority verifies a name: on the https port, which it must reach as 443, or on the plain port, "
            "as 80.",
            "Change it if only one of these ports is reachable.",
            needs=("agree_to_terms",),
        ),
    ),
    (Inner("ca", "cas", AUTHORITY, "The authorities; the next one is tried after one has failed.", AUTHORITIES),),
)

TLS = Table(
    TlsSettings,
    (
        Key(
            "acme_webroot",
            values.PATH,
            '"/var/lib/facaded/webroot"',
            "The directory that certbot and similar programs write challenges into (certbot's --webroot-path); they "
            "are "
            "answered on the plain port.",
            "Set it if another program on this machine renews the certificates.",
            is_example=True,
        ),
        Key(
            "redirect_http",
            values.BOOLEAN,
            "true",
            "Whether the plain port redirects everything to https: to the requested host if it is in `hosts`, else "
            "to the "
            "first of them.",
            "Set it to false behind a proxy that ends TLS on another port, or if `hosts` is empty.",
        ),
        Key(
            "public_port",
            values.PORT,
            "443",
            "The port of https in that redirect.",
            "Change it if clients reach https at another port.",
        ),
    ),
    (
        Inner(
            "certificate",
            "certificates",
            CERTIFICATE,
            "Certificates from files. The one whose names match the requested one is used, else the first. They are "
            "read "
            "again when they change, and may be missing at the start.",
            values.LIST_LENGTH,
        ),
        Inner("acme", "acme", ACME, "Certificates that facaded obtains and renews by itself, over ACME."),
    ),
)
