"""The page for people who open the registry's name, or that of an image, in a browser."""

from pathlib import Path

from facaded.oci.requests import PAGE_FILES
from facaded.policy.decision import Rules
from facaded.policy.repositories import Pattern
from facaded.web.markup import Content, Html, element, join, write_page
from facaded.web.static_files import StaticFile, read_static_file

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}

STYLE, SCRIPT = PAGE_FILES

DIRECTORY = Path(__file__).parent / "page_files"

UNNAMED = "THIS-HOST"
"""Stands for the registry's name if the settings have none: the request's Host header is not repeated. The script
replaces it by the host that the browser shows."""


def read_file(path: str) -> StaticFile:
    """Return one of PAGE_FILES."""
    return read_static_file(DIRECTORY / path.rpartition("/")[2])


def render(host: str, image: str, rules: Rules) -> bytes:
    """Return the HTML page for a registry called `host`, which is empty if the settings have no hosts.

    `image` is the image whose path was asked for, empty without one. Whether there is such an image makes no
    difference: nobody must find out from this page what a registry has.
    """
    return write_page(
        (
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            _indexing(image),
            element("title", image or host or "A container registry"),
            element("link", rel="stylesheet", href=STYLE),
            element("script", src=SCRIPT, defer=True),
        ),
        element(
            "main",
            _heading(host),
            _command(host, image or _example(rules)),
            list_repositories(rules.repositories),
            _footer(),
        ),
    )


def _indexing(image: str) -> Content:
    """Keep the pages of images out of search engines: anybody can link to names that they made up."""
    return element("meta", name="robots", content="noindex") if image else ()


def _heading(host: str) -> tuple[Html, ...]:
    return (
        element("p", "Container registry", class_="kind"),
        element("h1", element("span", host or UNNAMED, data_host=not host)),
        element("p", "This is a registry for container images. Pull one with:"),
    )


def _command(host: str, image: str) -> Html:
    parts = ("docker pull ", f"{host}/{image}") if host else ("docker pull ", f"{UNNAMED}/{image}")
    return element(
        "div",
        element("pre", element("code", *parts, id="command", data_host=not host)),
        element("button", "Copy", type="button", id="copy", hidden=True),
        element("span", role="status", id="copied", class_="hidden"),
        class_="command",
    )


def _example(rules: Rules) -> str:
    """Return the name of an image that the registry could have."""
    pattern = rules.repositories[0].text if rules.repositories else "**"
    return pattern.replace("**", "org/image" if pattern == "**" else "image").replace("*", "image")


class RepositoryLists:
    """Writes the list of repositories, and keeps the last one: that of a thousand takes 6 ms."""

    def __init__(self) -> None:
        self._patterns: tuple[Pattern, ...] | None = None
        self._written = join(())

    def write(self, patterns: tuple[Pattern, ...]) -> Html:
        """Return the list of the repositories that the settings name by these patterns."""
        if patterns is not self._patterns:  # nor compared, which takes as long
            self._patterns, self._written = patterns, _list_repositories(patterns)
        return self._written


list_repositories = RepositoryLists().write


def _list_repositories(patterns: tuple[Pattern, ...]) -> Html:
    if not patterns:
        return element("p", "It has all repositories of the registry behind it.")
    items = [element("li", element("code", pattern.text)) for pattern in patterns]
    return join((element("h2", "Repositories"), element("ul", items)))


def _footer() -> Html:
    return element(
        "footer",
        "Served by facaded, a registry facade: it forwards each pull to a registry that has the image, and stores no "
        "images itself.",
    )
