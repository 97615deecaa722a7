"""The status page: complete without a script, bounded, and without markup that somebody else has written."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, has
from hypothesis import given
from hypothesis import strategies as st

from facaded.admin.day_strip import ConditionSpan
from facaded.admin.overview import Overview, PullOverview, RateOverview
from facaded.admin.request_rates import RequestRate
from facaded.admin.status import AccountStatus, CertificateStatus, Headline, OverrideStatus, RouteStatus
from facaded.admin.status_page import HEADERS, SCRIPT, write_status_page
from facaded.admin.status_pages import FILES
from facaded.history.past import PastChange
from facaded.history.queries import PullSum
from facaded.tls.certificates import SELF_SIGNED
from tests.admin.scenes import BACKENDS, DOCKER_HUB, GHCR, NOW, OUTAGE, PROCESSES, STATUS

FILES_OF_PAGE = Path(__file__).parent.parent.parent / "facaded" / "admin" / "page_files"


class Text(HTMLParser):
    """The text of a page, its elements, and its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "elements end in the order in which they began"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(overview: Overview) -> Text:
    parser = Text()
    parser.feed(write_status_page(overview).decode())
    parser.close()
    assert parser.open == []
    return parser


def words(overview: Overview) -> str:
    return " ".join("".join(read(overview).texts).split())


@pytest.mark.parametrize(
    "sentence",
    [
        "Clients are fine, but one thing needs a look",
        "docker-hub is down (manifest: answered 500; 5 of 5 confirming requests failed), since 02:13 UTC",
        "ghcr is active",
        "Down since 02:13 UTC (18 min ago)",
        "Active for redirects and serving, pinned",
        "manifest failed131 ms18 min ago",
        "Next probein 9 s",
        "Failed in 10 min93.2 % (41 of 44)",
        "Pulls left, address76 of 100",
        "Last 24 h: up 95.42 %, down 18 min, degraded 24 min, limited 24 min",
        "docker.example.comfrom ACME, by Let's Encrypt E72027-01-2661 d",
        "16:49 UTC● notice: ghcr is drained (ticket 4711: renaming packages)",
        "ghcr pinned since 02:14 UTC until 04:31 UTC: ticket 4712: Docker Hub is down",
        "containerd41",
        "A second, over the last 60 s; 68 in all",
        "example/server31,8746,021",
        "requests_per_source21202:19 UTC (12 min ago)",
        "0up3 d1049,120,332",
        "Handover until 03:13 UTC (in 42 min): manifests and blobs for Docker are served",
        "facaded 0.1.0 · settings: /etc/facaded/facaded.toml",
        "Without script, this page shows one moment: reload it.",
    ],
)
def test_every_fact_is_on_it(sentence: str) -> None:
    assert sentence in words(PROCESSES)


def test_without_a_history_it_says_so_and_still_works() -> None:
    off = evolve(OUTAGE, history="the history is off", pulls=None, changes=OUTAGE.changes[:1])
    backends = tuple(evolve(backend, day=()) for backend in BACKENDS)
    shown = words(evolve(off, backends=backends))
    for sentence in (
        "The last 24 hours are not shown: the history is off.",
        "Those before the start are not shown: the history is off.",
        "Images pulled mostNot known: the history is off.",
        "docker-hub is down",
    ):
        assert sentence in shown


def test_what_there_is_none_of_is_said() -> None:
    status = evolve(STATUS, certificates=(), limits=(), handover_until=None, hosts=())
    empty = evolve(OUTAGE, status=status, requests=RateOverview(60.0, 0.0, ()), pulls=PullOverview(7, PullSum(""), ()))
    shown = words(empty)
    for sentence in (
        "TLS is off.",
        "None.",
        "None since the start.",
        "No requests in the last minute.",
        "No pulls in the last 7 days.",
    ):
        assert sentence in shown
    assert "Processes" not in shown
    assert "Notes" not in shown


def test_certificates_without_a_life_are_marked() -> None:
    ok = STATUS.certificates[0]
    certificates = (
        evolve(ok, until=NOW - 60, expired=True),
        evolve(ok, until=None, error="the authority does not answer"),
        evolve(ok, source=SELF_SIGNED, names=()),
        evolve(ok, expires_soon=True),
    )
    shown = words(evolve(OUTAGE, status=evolve(STATUS, certificates=certificates)))
    for sentence in ("expired", "missing", "the authority does not answer", "any name", "temporary", "61 d, overdue"):
        assert sentence in shown


def test_several_routes_and_backends_without_one_are_named() -> None:
    spare = evolve(GHCR, name="spare", state=None, since=None)
    degraded = evolve(DOCKER_HUB, state="up", degraded_since=NOW - 60, drained=OverrideStatus(NOW - 5, None, "a <b>"))
    routes = (*STATUS.routes, RouteStatus(("org/next-*",), "redirect", "docker-hub", NOW, "docker-hub is active: x"))
    status = evolve(STATUS, routes=routes, backends=(degraded, GHCR, spare))
    shown = words(evolve(OUTAGE, status=status))
    for sentence in (
        "Active for redirects and serving of all others",
        "Active for redirects of org/next-*, drained",
        "Degraded since 02:30 UTC (60 s ago)",
        "spare○ not used",
        "No route uses this backend.",
        "docker-hub drained since 02:31 UTC: a <b>",
        "for org/next-*, docker-hub is active: x",
    ):
        assert sentence in shown, sentence


def test_a_strip_shows_a_short_outage_and_what_is_not_known() -> None:
    now = evolve(BACKENDS[0], day=(ConditionSpan(NOW - 3600, NOW - 10, "up"), ConditionSpan(NOW - 10, NOW, "down")))
    page = read(evolve(OUTAGE, backends=(now,)))
    bars = [attributes for tag, attributes in page.elements if tag == "rect"]
    assert [(bar["class"], bar["width"], bar["height"]) for bar in bars] == [
        ("unknown", "138", "2"),
        ("up", "5", "8"),
        ("down", "1", "24"),
    ]
    assert "Last 24 h: up 60 min, down 10 s, not known 23 h" in "".join(page.texts)


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert {f"{name} 'none'" for name in ("base-uri", "form-action", "frame-ancestors")} <= set(policy.split("; "))
    page = read(PROCESSES)
    scripts = [attributes.get("src") for tag, attributes in page.elements if tag == "script"]
    assert scripts == [SCRIPT]
    assert "style" not in [tag for tag, _ in page.elements]
    names = {name for _, attributes in page.elements for name in attributes}
    assert [name for name in names if name == "style" or name.startswith("on")] == []
    links = {attributes[name] for _, attributes in page.elements for name in ("src", "href") if name in attributes}
    assert all(link is not None and re.fullmatch(r"/[a-z.-]+", link) for link in links)
    for file in FILES_OF_PAGE.iterdir():
        content = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "//" not in re.sub(r"(^|\s)//.*", "", content), file
        assert "url(" not in content
    assert {f"/{file.name}" for file in FILES_OF_PAGE.iterdir()} == set(FILES)


def test_page_style_and_script_take_less_than_60_kb_together() -> None:
    files = sum(len(path.read_bytes()) for path in FILES_OF_PAGE.iterdir())
    assert files + len(write_status_page(PROCESSES)) < 40_000
    flapping = tuple(
        ConditionSpan(NOW - 86_400 + 432 * number, NOW - 86_400 + 432 * (number + 1), "down" if number % 2 else "up")
        for number in range(200)
    )
    long = "docker-hub is down (manifest: answered 500; 5 of 5 confirming requests failed) " * 3
    worst = evolve(
        PROCESSES,
        backends=tuple(evolve(backend, day=flapping) for backend in BACKENDS),
        changes=tuple(evolve(OUTAGE.changes[0], text=long) for _ in range(20)),
    )
    assert files + len(write_status_page(worst)) < 60_000


def test_tables_have_headers_and_times_have_a_form_for_programs() -> None:
    page = read(PROCESSES)
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in page.elements if tag == "th")
    times = [attributes["datetime"] for tag, attributes in page.elements if tag == "time"]
    assert len(times) > 15
    assert all(time and re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", time) for time in times)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("caption") == tags.count("table")
    assert tags.count("h1") == 1
    (headline,) = [attributes for _, attributes in page.elements if attributes.get("id") == "headline"]
    assert headline["role"] == "status", "a screen reader says what has changed"


HOSTILE = st.text() | st.sampled_from(
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "' onload='",
        "&lt;",
        "\u202e",
        "\x00",
        "\ud800",
        "]]>",
    ]
)


def hostile(value: Any, text: str) -> Any:
    """Return a value with all texts in it replaced, but for those that facaded alone chooses."""
    match value:
        case str():
            return text
        case tuple():
            return tuple(hostile(one, text) for one in value)
        case dict():
            return {hostile(key, text): hostile(one, text) for key, one in value.items()}
        case _ if has(type(value)):
            names = [name for name in type(value).__slots__ if not name.startswith("__")]
            return evolve(value, **{name: hostile(getattr(value, name), text) for name in names})
        case _:
            return value


@given(HOSTILE)
def test_no_text_of_anybody_becomes_markup(text: str) -> None:
    expected = [tag for tag, _ in read(hostile(PROCESSES, "x")).elements]
    page = read(hostile(PROCESSES, text))
    allowed = {"svg", "rect", "span", "strong", "li", "ul"}  # the same text may be a word that means something
    assert {tag for tag, _ in page.elements} <= set(expected) | allowed
    assert len([tag for tag, _ in page.elements if tag == "script"]) == 1
    names = {name for _, attributes in page.elements for name in attributes}
    assert [name for name in names if name.startswith("on")] == []


@given(st.floats(), st.integers())
def test_any_number_can_be_shown(number: float, count: int) -> None:
    account = AccountStatus("refused", number)
    backend = evolve(DOCKER_HUB, since=number, limited_until=number, account=account, relapses=count)
    certificate = CertificateStatus(("a.test",), None, number, False, False, "ACME")
    measured = evolve(BACKENDS[0], next_probe=number, sent=abs(count) + 1, failed=abs(count))
    overview = evolve(
        OUTAGE,
        status=evolve(STATUS, backends=(backend,), certificates=(certificate,), stale_names={"a": number}),
        backends=(measured,),
        changes=(PastChange(number, "down", "warning", "a", "b"),),
        requests=RateOverview(60.0, 1.0, (RequestRate("served", "docker", 1e300),)),
        headline=Headline("red", "text", number),
    )
    assert write_status_page(overview)
