"""The page for people who open the registry's name in a browser."""

from html import escape

from facaded.policy.decision import Rules

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
}

_PAGE = """<!DOCTYPE html>
<html lang="en"> <head> <meta charset="utf-8"> <meta name="viewport" content="width=device-width, initial-scale=1">
<title>A container registry</title> <style> :root {{ color-scheme: light dark }} body {{ font: 1.05rem/1.6
system-ui, sans-serif; max-width: 42rem; margin: 12vh auto 0; padding: 0 1.5rem }} h1 {{ font-size: 1.6rem;
line-height: 1.3 }} code {{ font: 0.95em ui-monospace, monospace }} pre {{ padding: 0.9rem 1.1rem; border: 1px solid
#8886; border-radius: 0.5rem; background: #8881; overflow-x: auto }} footer {{ margin-top: 3rem; opacity: 0.75;
font-size: 0.9rem }} </style> </head> <body> <h1>This is a container registry</h1> <p>It has no web
interface. Pull an image with:</p> <pre><code>docker pull {image}</code></pre> {repositories} <footer>Served by
facaded, a registry facade: it forwards each pull to a registry that has the image, and stores no images
itself.</footer> </body> </html>
"""

UNNAMED = "THIS-HOST"
"""Stands for the registry's name if the settings have none: the request's Host header is not repeated."""


def render(host: str, rules: Rules) -> bytes:
    """Return the HTML page for a registry called `host`, which is empty if the settings have no hosts."""
    pattern = rules.repositories[0].text if rules.repositories else "**"
    example = pattern.replace("**", "org/image" if pattern == "**" else "image").replace("*", "image")
    image = f"{host or UNNAMED}/{example}"
    return _PAGE.format(image=escape(image), repositories=_repositories(rules)).encode()


def _repositories(rules: Rules) -> str:
    if not rules.repositories:
        return "<p>It has all repositories of the registry behind it.</p>"
    items = "".join(f"<li><code>{escape(pattern.text)}</code></li>" for pattern in rules.repositories)
    return f"<p>It has these repositories:</p>\n<ul>{items}</ul>"
