"""Every key of the settings as data: its kind of value, its default, what it does, and when to change it.

From here come what `reading` accepts, the manual's table, conf/facaded.toml and its JSON Schema (see `generated`).
"""

from facaded.config import values
from facaded.config.history_schema import HISTORY
from facaded.config.limits_schema import LIMITS
from facaded.config.sections import (
    Backend,
    CacheSettings,
    Config,
    HealthSettings,
    ListenSettings,
    NotifySettings,
    StateSettings,
)
from facaded.config.tables import Inner, Key, Table
from facaded.config.tls_schema import TLS
from facaded.policy.decision import Route

BACKENDS = 16
"""Registries behind one facade: each is probed, and a request that fails may try them all."""

LISTEN = Table(
    ListenSettings,
    (
        Key(
            "http",
            values.ADDRESSES,
            '":8080"',
            'Where clients are answered over plain HTTP. With [tls] the default is ":80", which redirects to https.',
            "Change it to listen on one address or on another port, or on a socket that systemd opens "
            '("systemd:http"); [] switches it off.',
        ),
        Key(
            "https",
            values.ADDRESSES,
            '":443"',
            "Where clients are answered over TLS, with [tls].",
            'Change it for another port, for a proxy that speaks the PROXY protocol ("haproxy:tcp:443"), or for a '
            'socket that systemd opens ("systemd:https").',
        ),
        Key(
            "admin",
            values.ADDRESSES,
            '"127.0.0.1:9180"',
            "Where the status page is, and /livez, /readyz, /statusz and /metrics for load balancers and monitoring.",
            "Change it to reach them from another machine; [] switches it off.",
        ),
        Key(
            "admin_hosts",
            values.HOSTS,
            "[]",
            "Host names that the admin listener answers besides localhost and IP addresses.",
            "Set it if a monitor reaches the admin listener by name.",
        ),
        Key(
            "control",
            values.CONTROL,
            '"unix:/run/facaded/control.sock"',
            "The socket of the commands that talk to the daemon, with mode 0600 unless it says mode=. By default "
            "control.sock in $RUNTIME_DIRECTORY, else in the state directory.",
            'Change it to let a group use the commands: "unix:/run/facaded/control.sock:mode=660".',
            is_example=True,
        ),
    ),
)

HEALTH = Table(
    HealthSettings,
    (
        Key(
            "interval",
            values.DURATION,
            '"10s"',
            "Time from the end of one probe of a backend to the start of the next; up to a tenth is taken off at "
            "random.",
            "Shorten it to notice an outage sooner, at the price of more requests to the registries.",
        ),
        Key(
            "fast_interval",
            values.DURATION,
            '"1s"',
            "The same while a change is being decided: failing but not yet down, or working again but not yet up.",
            "Shorten it to fail over sooner.",
        ),
        Key(
            "deep_interval",
            values.DURATION,
            '"60s"',
            "Time between probes that also fetch the first byte of the canary's smallest blob from the registry's CDN.",
            "Shorten it to notice a dead CDN sooner.",
        ),
        Key(
            "timeout",
            values.DURATION,
            '"3s"',
            "Timeout of each request of a probe. A registry that hangs is noticed within interval + (fall - 1) x "
            "fast_interval + fall x timeout, and sooner while clients pull.",
            "Raise it if a registry is far away.",
        ),
        Key(
            "rise",
            values.COUNT,
            "2",
            "Good probe results in a row that make a backend up.",
            "Raise it if a registry works only now and then after an outage.",
        ),
        Key(
            "fall",
            values.COUNT,
            "2",
            "Bad probe results in a row that make a backend down.",
            "Raise it if a registry often fails for a moment.",
        ),
        Key(
            "failback_after",
            values.DURATION,
            '"60s"',
            "How long an earlier backend must be up before it becomes active again; doubled, up to 30 minutes, each "
            "time "
            "that it goes down again within 10 minutes.",
            "Raise it if outages come in bursts.",
        ),
        Key(
            "handover",
            values.DURATION,
            '"1h"',
            "How long Docker's manifests and blobs are served after GET /v2/ has moved to another backend, so that "
            "pulls in "
            "progress finish.",
            "Shorten it if serving uses up this machine's quota at the registries.",
        ),
        Key(
            "trust",
            values.DURATION_OR_OFF,
            '"2s"',
            "How old the last good answer of a registry may be when a client is redirected there; an older one is "
            "renewed first, at most once a second and while the request waits for 1 s at most. If the registry does "
            "not answer, the request is served. The CDN of a blob is checked in the same way before a served client is "
            'sent there; if it fails, another backend is tried. "0s" never checks on demand.',
            "Raise it to send the registries fewer requests.",
        ),
        Key(
            "canary",
            values.IMAGE,
            '"example/image:latest"',
            "A small public image that every backend has, by its name here; probes fetch it.",
            "Set it: without it, a registry that fails only for manifests or blobs looks healthy.",
            is_example=True,
        ),
    ),
)

CACHE = Table(
    CacheSettings,
    (
        Key(
            "manifests",
            values.SIZE,
            '"64MiB"',
            "Memory for manifests that are served; 0 keeps none.",
            "Raise it if many different images are pulled in turn.",
        ),
        Key(
            "tag_ttl",
            values.DURATION,
            '"10s"',
            "How long the digest of a tag is cached.",
            "Shorten it to see pushed tags sooner; lengthen it to send the registries fewer requests.",
        ),
        Key(
            "stale_tags",
            values.DURATION_OR_OFF,
            '"10m"',
            'How long the last known digest of a tag is used if its backend fails or has few pulls left; "0s" never.',
            "Shorten it if the other backends never lag behind; lengthen it if they lag for longer.",
        ),
        Key(
            "blob_addresses",
            values.DURATION_OR_OFF,
            '"60s"',
            "How long the address of a blob at its registry's CDN is handed out again, unless it expires sooner; "
            '"0s" never.',
            "Shorten it if a registry's addresses work only for a moment.",
        ),
    ),
)

NOTIFY = Table(
    NotifySettings,
    (
        Key(
            "command",
            values.COMMAND,
            "[]",
            "A program and its arguments, run without a shell after a failover or failback, when all backends are down "
            "and when that ends, when a backend is limited, and on trouble with a certificate. It gets one JSON "
            "document on its standard input, and has 30 s; see the manual's page about notifications.",
            "Set it to learn of an outage where nothing reads the log or the metrics.",
        ),
    ),
)

STATE = Table(
    StateSettings,
    (
        Key(
            "directory",
            values.PATH,
            '"/var/lib/facaded"',
            "Where everything is kept that must outlive a restart; created if missing. By default $STATE_DIRECTORY, "
            "else "
            "/var/lib/facaded if it can be written, else facaded in $XDG_STATE_HOME or ~/.local/state.",
            "Set it if none of these suits.",
            is_example=True,
        ),
        Key(
            "acme_directory",
            values.PATH,
            '"/mnt/shared/facaded-acme"',
            "Where the accounts and certificates of [tls.acme] are stored, on a volume that several daemons share: one "
            "of them orders, all of them answer challenges and serve the certificates. By default acme in the state "
            "directory. A change needs a restart.",
            "Set it, to the same volume everywhere, if several daemons have the same names.",
            is_example=True,
        ),
    ),
)

BACKEND = Table(
    Backend,
    (
        Key(
            "name",
            values.BACKEND_NAME,
            '"docker-hub"',
            "Its name in logs, in `facaded status` and in the header X-Facaded-Backend.",
            "Required.",
            is_example=True,
            required=True,
        ),
        Key(
            "url",
            values.BACKEND_URL,
            '"https://registry-1.docker.io"',
            "Scheme, host and port, without a path.",
            "Required.",
            is_example=True,
            required=True,
        ),
        Key(
            "rename",
            values.RENAMES,
            '{ "example/*" = "example-gh/*" }',
            "What this backend calls your repositories: the name here = the name there, with one wildcard on both "
            "sides or "
            "none. Renamed repositories are always served.",
            "Set it for every backend but the first; {} confirms that the names are the same and yours.",
            is_example=True,
        ),
        Key(
            "auth",
            values.AUTH,
            '"anonymous"',
            'With "client", clients log in with their own account at this backend, which must be the only one.',
            'Set it to "client" for private images. Over plain HTTP it is refused except on loopback addresses.',
        ),
        Key(
            "username",
            values.USERNAME,
            '"example"',
            "An account of facaded's own, for its rate limit while serving. It is used only for public repositories.",
            "Set it if the registry limits this machine's address; it needs a list of `repositories`.",
            is_example=True,
            needs=("password_file",),
        ),
        Key(
            "password_file",
            values.SECRET_PATH,
            '"/run/credentials/facaded.service/ghcr"',
            "The file with the password or access token of that account, readable only by the daemon.",
            "With systemd use LoadCredential=, see the unit.",
            is_example=True,
            needs=("username",),
        ),
        Key(
            "publish_private",
            values.BOOLEAN,
            "false",
            "Whether that account is used for private repositories as well, which makes them public here.",
            "Set it to true if that is what you want.",
            needs=(
                "username",
                "password_file",
            ),
        ),
        Key(
            "realm",
            values.REALM,
            '"https://auth.example.com/token"',
            "A token server that may receive the account, besides those under the backend's own domain.",
            "Set it if the backend's token server is under another domain.",
            is_example=True,
            needs=(
                "username",
                "password_file",
            ),
        ),
        Key(
            "relay_blobs",
            values.BOOLEAN,
            "false",
            "Whether blobs that this backend does not redirect to a CDN are passed through this machine.",
            "Set it to true if pulls are answered 502 and the answer says so.",
        ),
        Key(
            "ca_file",
            values.PATH,
            '"/etc/facaded/ca.pem"',
            "The trust roots of this backend, in PEM format, instead of the system's.",
            "Set it for a registry with a private CA.",
            is_example=True,
        ),
        Key(
            "canary",
            values.IMAGE,
            '"example/image:latest"',
            "The canary of this backend, instead of health.canary.",
            "Set it if the backends have no image in common.",
            is_example=True,
        ),
    ),
)

ROUTE = Table(
    Route,
    (
        Key(
            "repositories",
            values.PATTERNS,
            '["example/next-*"]',
            "The repositories of this route, as in `repositories` above.",
            "Required.",
            is_example=True,
            required=True,
        ),
        Key(
            "backends",
            values.BACKEND_NAMES,
            '["ghcr", "docker-hub"]',
            "The names of the backends that have them, in order of preference.",
            "Required.",
            is_example=True,
            required=True,
        ),
    ),
)

SETTINGS = Table(
    Config,
    (
        Key(
            "hosts",
            values.HOSTS,
            "[]",
            "The host names that this registry answers for, or IP addresses, without port; others are answered 421. "
            "Empty: any. Requests to any IP address get 200 for GET /v2/, for health checks.",
            "Set it as soon as the registry has its name, so that no other name can lead here.",
        ),
        Key(
            "repositories",
            values.PATTERNS,
            "[]",
            "The repositories that are answered for: * is one component of a name or a part of one, ** any number of "
            "components. Empty: all repositories of the first backend, without failover, because the same name at "
            "another "
            "registry may belong to somebody else.",
            'Set it to your organisation: ["example/**"].',
        ),
        Key(
            "answer",
            values.MODE,
            '"auto"',
            '"auto" redirects the clients that authenticate at the host they are redirected to (Docker, containerd, '
            "BuildKit, "
            'regclient) and serves all others; "redirect" and "serve" do the same for all clients.',
            'Set it to "serve" if every answer should come from here; that uses this machine\'s quota at the '
            "registries.",
        ),
        Key(
            "merge_referrers",
            values.BOOLEAN,
            "true",
            "Answer with the referrers (signatures, SBOMs) of an image that all of its registries have, whichever way "
            "each of them keeps them; false relays those of one registry.",
            "Set it to false if another registry's owner must not add referrers to your images.",
        ),
        Key(
            "workers",
            values.WORKERS,
            "1",
            "Processes that answer clients, up to 64; each uses one core. One is enough for nearly everybody: see the "
            'manual\'s page about workers. "auto" is one for each core that facaded may use. It changes only at a '
            "restart.",
            'Set it to "auto" if one core is busy with facaded for long; in a container with a CPU limit, to a number.',
        ),
        Key(
            "log",
            values.LOG_STYLE,
            '"auto"',
            'The form of the log on standard error: "auto" writes text for people, with priorities for the journal, or '
            'with the time on a terminal and in a file; "json" writes one JSON object a line.',
            'Set it to "json" if a program reads the log.',
        ),
        Key(
            "access_log",
            values.LOGGED_ANSWERS,
            '"all"',
            'Which answers have a line in the log: "all", "errors" (status 400 and above) or "off".',
            'Set it to "errors" if the metrics tell enough about the others.',
        ),
        Key(
            "addresses",
            values.ADDRESS_DETAIL,
            '"full"',
            'How the log shows clients\' addresses: "full", "masked" (the IPv4 /24 or the IPv6 /48) or "none".',
            "Change it if logs must not name people.",
        ),
        Key(
            "trusted_proxies",
            values.NETWORKS,
            "[]",
            "Networks of the proxies in front of facaded whose header X-Forwarded-For, or Forwarded without that one, "
            "says where a request comes from: the rightmost address that is not in these networks. Anybody else's is "
            "ignored. 127.0.0.1 stands for Unix sockets too. An endpoint haproxy: needs no entry.",
            'Set it if a proxy ends TLS for facaded: ["127.0.0.1"].',
        ),
        Key(
            "stop_delay",
            values.DURATION_OR_OFF,
            '"0s"',
            "How long facaded goes on answering after a stop while /readyz already says no, so that load balancers "
            "notice in time.",
            'Set it on Kubernetes, to "5s".',
        ),
    ),
    (
        Inner("listen", "listen", LISTEN, "Listeners. They change only at a restart."),
        Inner("health", "health", HEALTH, "Health checks and failover."),
        Inner("cache", "cache", CACHE, "What is kept in memory while serving."),
        Inner("limits", "limits", LIMITS, "What keeps single clients from using up this machine or the registries."),
        Inner("notify", "notify", NOTIFY, "What is run when something has happened."),
        Inner("state", "state", STATE, "What must outlive a restart."),
        Inner("history", "history", HISTORY, "What has happened, and what was pulled how often."),
        Inner(
            "tls",
            "tls",
            TLS,
            "HTTPS: TLS 1.2 and 1.3, HTTP/1.1. Without it only plain HTTP is spoken, for a proxy in front that ends "
            "TLS. "
            "Adding or removing it needs a restart. Until there is a certificate, a self-signed one is used.",
        ),
        Inner(
            "backend",
            "backends",
            BACKEND,
            "The registries, in order of preference. Default: Docker Hub, then GHCR.",
            BACKENDS,
        ),
        Inner(
            "route",
            "routes",
            ROUTE,
            "Other backends for some repositories; the first route that matches counts.",
            values.LIST_LENGTH,
        ),
    ),
)
