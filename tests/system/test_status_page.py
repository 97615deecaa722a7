"""The status page and the public page in Chromium: fresh, readable by everybody, small, and from one host."""

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.process.daemon import FAST, Daemon, Registry, running
from tests.system.browser import Browser, Tab, running_browser

BYTES = 60_000
"""Most bytes of the page with its files."""

PHONE = 360
"""Pixels: the width of a small phone."""

READ = "document.getElementById('headline').textContent"


@pytest.fixture(scope="module")
def browser(needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    needs("chromium")
    with running_browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def axe(needs: Callable[..., None]) -> str:
    """The script of axe-core, which checks the accessibility of a page."""
    found = find_spec("axe_core_python")
    needs(unmet="" if found else "axe-core-python is not installed")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).with_name("axe.min.js").read_text()


def registries() -> tuple[Registry, Registry]:
    return Registry("127.18.0.2").start(), Registry("127.18.0.3").start()


@pytest.fixture(scope="module")
def amber(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose second registry fails: clients are fine, but that needs a look."""
    main, second = registries()
    second.mode = "500"
    daemon = Daemon(tmp_path_factory.mktemp("daemon"), FAST.format(main=main, second=second))
    with running(daemon, main, second):
        yield daemon.start()


def status_page(daemon: Daemon) -> str:
    return f"http://127.0.0.1:{daemon.admin}/"


def image_page(daemon: Daemon) -> str:
    return f"http://127.0.0.1:{daemon.port}/org/app:v1"


def test_failovers_outages_and_restarts_show_without_reloading(browser: Browser, tmp_path: Path) -> None:
    main, second = registries()
    daemon = Daemon(tmp_path, FAST.format(main=main, second=second))
    with running(daemon, main, second):
        daemon.start()
        follow(browser.open(status_page(daemon)), daemon, main, second)


def follow(tab: Tab, daemon: Daemon, main: Registry, second: Registry) -> None:
    """Let the page show a failover, an outage, and the end and the start of the daemon."""
    tab.evaluate("window.isSameDocument = document.getElementById('headline').isSameElement = true")
    assert tab.evaluate(READ).endswith("Clients are fine")
    assert "Active for redirects and serving" in tab.text
    main.mode = "500"
    tab.wait_for(f"{READ}.includes('Clients are fine, but one thing needs a look')")
    tab.wait_for("document.title.startsWith('!')")
    tab.wait_for("document.getElementById('icon').href.endsWith('/status-amber.svg')")
    assert "second is active: main is down (GET /v2/: answered 500" in tab.text
    assert tab.evaluate("document.getElementById('headline').isSameElement"), "else a screen reader does not say it"
    second.stop()
    tab.wait_for(f"{READ}.includes('ALL BACKENDS DOWN')")
    assert "Pulls affected since" in tab.evaluate(READ)
    assert tab.complaints == []
    daemon.kill()
    tab.wait_for("document.body.classList.contains('stale')")
    assert "facaded does not answer: this is what it said at" in tab.text
    main.mode = "token"
    second.start()
    daemon.start()
    tab.wait_for(f"!document.body.classList.contains('stale') && {READ}.includes('Clients are fine')")
    assert "does not answer" not in tab.text
    assert tab.evaluate("window.isSameDocument") is True


def test_everything_is_there_without_script(browser: Browser, amber: Daemon) -> None:
    with_script = browser.open(status_page(amber)).evaluate("document.getElementById('main').innerText")
    tab = browser.open(status_page(amber), has_script=False)
    headings = tab.call("DOM.getDocument", depth=-1)
    shown = json.dumps(headings)
    assert "Without script, this page shows one moment: reload it." in shown
    for sentence in ("Clients are fine", "Active for redirects and serving", "Last changes", "second is down"):
        assert sentence in with_script
        assert sentence in shown
    page = browser.open(image_page(amber), has_script=False)
    document = json.dumps(page.call("DOM.getDocument", depth=-1))
    assert "docker pull THIS-HOST/org/app:v1" in document
    assert '"hidden"' in document, "a button that could do nothing"


@pytest.mark.parametrize("page", [status_page, image_page])
def test_a_page_is_small_and_asks_no_other_host(browser: Browser, amber: Daemon, page: Callable[[Daemon], str]) -> None:
    tab = browser.open(page(amber))
    browser.receive(0.2)
    hosts = {urlsplit(url).netloc for url in tab.urls}
    assert hosts == {urlsplit(page(amber)).netloc}
    assert len(tab.urls) >= 3
    assert 0 < sum(event["encodedDataLength"] for event in tab.events("Network.loadingFinished")) < BYTES
    assert tab.complaints == []


@pytest.mark.parametrize("page", [status_page, image_page])
@pytest.mark.parametrize(("width", "is_dark"), [(1280, False), (PHONE, True)])
def test_a_page_is_accessible_and_fits_a_phone(
    browser: Browser, amber: Daemon, axe: str, page: Callable[[Daemon], str], width: int, is_dark: bool
) -> None:
    tab = browser.open(page(amber), width=width, is_dark=is_dark)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    if is_dark:
        tab.evaluate("document.body.classList.add('stale')")  # as when the daemon does not answer
    assert find_violations(tab, axe) == []


@pytest.mark.parametrize("page", [status_page, image_page])
def test_a_printed_page_has_all_that_paper_can_show(
    browser: Browser, amber: Daemon, page: Callable[[Daemon], str]
) -> None:
    tab = browser.open(page(amber), is_dark=True)
    tab.call("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    style = "(name, key) => getComputedStyle(document.querySelector(name))[key]"
    assert tab.evaluate(f"({style})('body', 'backgroundColor')") == "rgb(255, 255, 255)"
    if page is image_page:
        assert tab.evaluate(f"({style})('button', 'display')") == "none", "it does nothing on paper"
    else:
        assert tab.evaluate(f"({style})('.level', 'printColorAdjust')") == "exact", "white on no background"
        assert tab.evaluate(f"({style})('.backend', 'breakInside')") == "avoid"


def find_violations(tab: Tab, axe: str) -> list[str]:
    """Return what axe-core finds, by its rules and the elements that break them."""
    tab.evaluate(f"{axe}\nnull")
    found = json.loads(tab.evaluate("axe.run().then(results => JSON.stringify(results.violations))"))
    return [f"{one['impact']}: {one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]


def test_the_button_copies_the_command(browser: Browser, amber: Daemon) -> None:
    tab = browser.open(image_page(amber))
    command = f"docker pull 127.0.0.1:{amber.port}/org/app:v1"
    assert command in tab.text
    browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    tab.call("Page.bringToFront")
    tab.evaluate("document.getElementById('copy').click()")
    tab.wait_for("document.getElementById('copy').textContent == 'Copied'")
    assert tab.evaluate("navigator.clipboard.readText()") == command
    assert tab.complaints == []
