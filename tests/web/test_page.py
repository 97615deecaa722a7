"""The page for people: for the registry and for each image, without telling what the registry has."""

import re

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from facaded.policy.repositories import parse
from facaded.web import page
from facaded.web.markup import element, join
from tests.web.test_facade import DIGEST, RULES, Client, values

HOSTED = evolve(RULES, hosts=("facade.test",))
BROWSER = {"User-Agent": "Mozilla/5.0", "Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_an_image_has_a_page_with_its_command() -> None:
    client = Client(HOSTED)
    for image in ("org/app", "org/app:v1", f"org/app@{DIGEST}"):
        code, headers, body = client.ask("GET", f"/{image}", headers=BROWSER)
        assert (code, values(headers, "Content-Type")) == (200, ["text/html; charset=utf-8"])
        assert f">docker pull facade.test/{image}</code>" in body.decode()


def test_the_page_of_an_image_does_not_tell_whether_there_is_one() -> None:
    client = Client(HOSTED)
    pages = []
    for name in ("org/app", "not/it"):  # the first one is listed, and there
        code, headers, body = client.ask("GET", f"/{name}", headers=BROWSER)
        headers.removeHeader("Date")
        pages.append((code, sorted(headers.getAllRawHeaders()), body.replace(name.encode(), b"NAME")))
    assert pages[0] == pages[1]
    assert [fake.requests for fake in client.network.fakes.values()] == [[], []], "no registry is asked"


def test_a_browser_may_use_an_address_and_sees_the_name() -> None:
    client = Client(HOSTED)
    code, _, body = client.ask("GET", "/org/app", host="192.0.2.1:8080", headers=BROWSER)
    assert (code, b"192.0.2.1" in body) == (200, False)
    assert b"docker pull facade.test:8080/org/app<" in body
    assert client.ask("GET", "/", host="192.0.2.1", headers=BROWSER)[0] == 200
    assert client.ask("GET", page.STYLE, host="192.0.2.1")[0] == 200
    assert client.ask("GET", "/", host="evil.test", headers=BROWSER)[0] == 421


@pytest.mark.parametrize("accept", ["", "*/*", "application/json", "application/vnd.oci.image.manifest.v1+json"])
def test_other_clients_get_404_for_it(accept: str) -> None:
    headers = {"Accept": accept} if accept else {}
    code, fields, body = Client(HOSTED).ask("GET", "/org/app", headers=headers)
    assert (code, values(fields, "Content-Type")) == (404, ["application/json"])
    assert b"not found: the paths of a registry begin with /v2/" in body


@pytest.mark.parametrize("path", ["/v2/", "/v2/org/app/manifests/latest", "/v2/_catalog", "/v2/other/app/tags/list"])
def test_below_v2_a_browser_gets_what_others_get(path: str) -> None:
    accept = {"User-Agent": "docker/28", "Accept": "text/html"}
    answers = [Client(HOSTED).ask("GET", path, headers=headers) for headers in (accept, {"User-Agent": "docker/28"})]
    (first, first_fields, first_body), (second, second_fields, second_body) = answers
    assert (first, first_body) == (second, second_body)
    assert values(first_fields, "Content-Type") == values(second_fields, "Content-Type")


def test_a_file_of_the_page_is_sent_once_until_it_changes() -> None:
    client = Client(HOSTED)
    for path, media_type in ((page.STYLE, "text/css"), (page.SCRIPT, "text/javascript")):
        code, headers, body = client.ask("GET", path)
        assert (code, len(body) > 500) == (200, True)
        assert values(headers, "Content-Type") == [f"{media_type}; charset=utf-8"]
        assert values(headers, "Cache-Control") == ["no-cache"]
        tag = values(headers, "ETag")[0]
        code, headers, body = client.ask("GET", path, headers={"If-None-Match": f'"x", W/{tag}'})
        assert (code, body, values(headers, "ETag")) == (304, b"", [tag])


def test_the_policy_allows_no_inline_style_or_script_and_there_is_none() -> None:
    _, headers, body = Client(HOSTED).ask("GET", "/org/app", headers=BROWSER)
    assert "unsafe" not in values(headers, "Content-Security-Policy")[0]
    assert re.findall(rb"<style|\sstyle=|\son\w+=|<script>", body) == []
    sources = re.findall(rb'(?:src|href)="([^"]*)"', body)
    assert sources == [page.STYLE.encode(), page.SCRIPT.encode()]
    whole = len(body) + sum(len(page.read_file(path).content) for path in (page.STYLE, page.SCRIPT))
    assert whole < 10_000


def test_the_script_s_placeholder_is_that_of_the_page() -> None:
    assert f'"{page.UNNAMED}"' in page.read_file(page.SCRIPT).content.decode()
    assert b"data-host" in page.render("", "", RULES)
    assert b"data-host" not in page.render("facade.test", "", RULES)


@given(st.text(), st.text())
def test_no_text_becomes_markup(text: str, attribute: str) -> None:
    code = element("p", text, ("a", [text]), title=attribute).code
    assert re.fullmatch(r'<p title="[^"<>]*">[^<>"\']*</p>', code)
    assert code.encode().decode().isprintable()


def test_attributes_that_are_true_have_no_value_and_false_ones_are_left_out() -> None:
    assert element("script", defer=True, async_=False, data_x=1).code == '<script defer data-x="1"></script>'
    assert join((element("br"), "&", [])).code == "<br>&amp;"


def test_patterns_of_the_settings_are_escaped() -> None:
    rules = evolve(RULES, repositories=(parse("a/*"),))
    assert b"<li><code>a/*</code></li>" in page.render("<host>", "", rules)
    assert b"<host>" not in page.render("<host>", "", rules)


@pytest.mark.parametrize(
    "accept",
    [
        "text/html;q=0",
        "TEXT/html ; Q=0.000, */*",
        "application/json",
        'application/json;profile="text/html"',
        "x-text/html-x",
    ],
)
def test_who_does_not_accept_html_gets_none(accept: str) -> None:
    code, headers, _ = Client(HOSTED).ask("GET", "/org/app", headers={"Accept": accept})
    assert (code, values(headers, "Content-Type")) == (404, ["application/json"])


@pytest.mark.parametrize("accept", ["TEXT/HTML", "*/*, text/html ;level=1;q=0.1", "text/html, image/gif, *; q=.2"])
def test_who_accepts_html_gets_the_page(accept: str) -> None:
    assert Client(HOSTED).ask("GET", "/org/app", headers={"Accept": accept})[0] == 200


def test_search_engines_keep_no_page_of_an_image() -> None:
    assert b'<meta name="robots" content="noindex">' in page.render("facade.test", "words/of/strangers", RULES)
    assert b"noindex" not in page.render("facade.test", "", RULES)


def test_the_list_of_repositories_is_written_once_for_its_settings() -> None:
    patterns = tuple(parse(f"org-{number}/*") for number in range(100))
    rules = evolve(RULES, repositories=patterns)
    first = page.list_repositories(rules.repositories)
    assert page.list_repositories(rules.repositories) is first, "a request for the page takes no time for each of them"
    assert page.list_repositories((parse("a/*"),)) is not first
    assert page.list_repositories(patterns).code == first.code


def test_a_file_is_known_by_a_star_too() -> None:
    assert Client(HOSTED).ask("GET", page.STYLE, headers={"If-None-Match": "*"})[0] == 304
