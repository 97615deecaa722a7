"""The page that a person sees who opens the registry's name in a browser."""

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
font-size: 0.9rem }} </style> </head> <body> <h1>This is a container registry</h1> <p>There is nothing to browse
here. Pull an image with:</p> <pre><code>docker pull {image}</code></pre> {repositories} <footer>Answered by
facaded, a registry facade: it sends each pull on to the registry that holds the image, and holds none
itself.</footer> </body> </html>
"""

UNNAMED = "THIS-HOST"
"""Stands for the registry's name where the settings hold none: what the asker calls it is not repeated."""


def render(host: str, rules: Rules) -> bytes:
    """The page, for a registry called `host` (empty: it has no name in the settings)."""
    example = rules.repositories[0].text if rules.repositories else "**"
    named = example.replace("**", "org/image" if example == "**" else "image").replace("*", "image")
    image = f"{host or UNNAMED}/{named}"
    return _PAGE.format(image=escape(image), repositories=_repositories(rules)).encode()


def _repositories(rules: Rules) -> str:
    if not rules.repositories:
        return "<p>Any repository of the registry behind it can be asked for.</p>"
    items = "".join(f"<li><code>{escape(pattern.text)}</code></li>" for pattern in rules.repositories)
    return f"<p>It answers for these repositories:</p>\n<ul>{items}</ul>"
