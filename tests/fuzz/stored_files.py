"""Files of the operator and of an earlier run: any settings or state file is used, or refused with a reason."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import strategies as st
from twisted.internet.testing import MemoryReactorClock

from facaded import state
from facaded.config.loading import load
from facaded.config.settings_error import SettingsError
from facaded.policy.plan import Identity
from facaded.state import FILE, Clocks
from tests.fuzz import seeds
from tests.fuzz.checking import Property
from tests.fuzz.mutations import mostly_mutated, mutated_json

EXAMPLE_FILE = Path(__file__).parents[2] / "conf" / "facaded.toml"

SETTINGS = b"""\
hosts = ["docker.example.com", "[::1]"]
repositories = ["org/*", "team/**"]
answer = "auto"
trusted_proxies = ["127.0.0.0/8"]
stop_delay = "5s"
[cache]
manifests = "1MiB"
tag_ttl = "5s"
[[route]]
repositories = ["org/next-*"]
backends = ["second", "main"]
[listen]
http = ["tcp:80", "tcp:8080:interface=\\\\:\\\\:"]
admin = []
control = "unix:/run/x.sock:mode=660"
[health]
interval = "1m"
canary = "org/app:v1"
[limits]
connections = 500
exempt = ["192.0.2.7", "2001:db8:1::/48"]
[[backend]]
name = "main"
url = "https://main.test"
[[backend]]
name = "second"
url = "https://second.test:5000/"
rename = { "org/*" = "other/*" }
"""

TOML_WORDS = (
    b"\n",
    b"=",
    b'"',
    b"'''",
    b'"""',
    b"[",
    b"]",
    b"[[",
    b"{",
    b"}",
    b".",
    b"#",
    b"\\",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\r\n",
    b"-1",
    b"1e400",
    b"nan",
    b"true",
    b"0x10",
    b"1979-05-27",
    b'"10s"',
    b'"64MiB"',
    b"[tls]\n",
    b"[tls.acme]\n",
    b"[[backend]]\n",
    b'name = "main"\n',
    b"[" * 300,
    b"9" * 5000,
)

TOML_LIKE = st.text(st.sampled_from("ab.=[]{}\"'\\#\n \t1,-_:é"), max_size=120).map(str.encode)

PLACE = re.compile(r"(?::\d+)?: ")


@contextmanager
def stored(name: str, content: bytes) -> Iterator[Path]:
    """A directory of its own with this file."""
    with TemporaryDirectory(prefix="facaded-fuzz-") as directory:
        path = Path(directory) / name
        path.write_bytes(content)
        yield path


def check_settings(content: bytes) -> None:
    """A settings file is read, or each problem has the file, and a sentence with the remedy."""
    with stored("facaded.toml", content) as path:
        for problem in problems(path):
            assert problem.isprintable(), problem
            assert problem.startswith(str(path)), problem
            place = PLACE.match(problem.removeprefix(str(path)))
            assert place, problem
            what, remedy = problem.removeprefix(str(path))[place.end() :].split(": ", 1)
            assert what, problem
            assert remedy, problem


def problems(path: Path) -> tuple[str, ...]:
    """Return what is wrong with a settings file; nothing if it is read."""
    try:
        load(path, None, {}, MemoryReactorClock())
    except SettingsError as error:
        return error.problems or ("",)
    return ()


BACKENDS: Mapping[str, Identity] = {
    "hub": Identity("https://hub.test", "org/app:latest"),
    "ghcr": Identity("https://ghcr.test"),
}
NOW = Clocks(wall=1_800_000_060.0, monotonic=7.0)

STATE = json.dumps(
    {
        "version": state.VERSION,
        "written": 1800000000.0,
        "pinged": "https://ghcr.test/v2/",
        "changed": 1799999910.0,
        "pins": {"ghcr": {"since": 1799999950.0, "until": 1800007150.0}},
        "drains": {"hub": {"since": 1799999920.0, "until": None}},
        "charges": [{"route": ["hub", "ghcr"], "purpose": "redirect", "backend": "ghcr", "since": 1799999910.0}],
        "backends": {
            "hub": {
                "url": "https://hub.test",
                "canary": "org/app:latest",
                "state": "down",
                "since": 1799999900.0,
                "back": 1799999800.0,
                "relapses": 2,
                "limit_back": 1799999700.0,
                "limit_relapses": 1,
                "degraded": {"since": 1799999950.0, "step": "blob", "sent": 8, "failed": 6, "window": 600.0},
                "body": 1799999800.0,
                "retry": 1800000300.0,
                "proven": True,
                "hurdle": "blob",
                "failed": {"verdict": "bad", "step": "token server", "words": "timeout", "at": 1799999990.0},
            },
            "ghcr": {
                "url": "https://ghcr.test",
                "canary": "",
                "state": "up",
                "since": 1799999600.0,
                "back": None,
                "relapses": 0,
                "proven": False,
                "hurdle": None,
                "failed": None,
            },
        },
    },
    indent=1,
).encode()


def check_state(content: bytes) -> None:
    """A state file is set aside, or its content is a state that can be written and read back."""
    with stored(FILE, content) as path:
        saved = state.read(path.parent, BACKENDS, NOW)
        if saved.warning is not None:
            assert saved.warning.isprintable()
            assert saved.writable
            assert not path.exists(), "set aside"
            return
        assert saved.watch_state is not None
        assert saved.watch_state.healths.keys() <= BACKENDS.keys()
        state.write(path.parent, saved.watch_state, BACKENDS, NOW)
        again = state.read(path.parent, BACKENDS, NOW)
        assert again.warning is None
        assert again.watch_state is not None
        assert again.watch_state.healths.keys() == saved.watch_state.healths.keys()


PROPERTIES = (
    Property(
        "settings",
        TOML_LIKE | mostly_mutated([SETTINGS, EXAMPLE_FILE.read_bytes()], TOML_WORDS),
        check_settings,
        60,
    ),
    Property("state", mostly_mutated([STATE], seeds.JSON_WORDS) | mutated_json([STATE]), check_state, 70),
)
