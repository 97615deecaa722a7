"""README and the manual: every command parses, all settings load, and all links, keys, metrics and alerts exist."""

import argparse
import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from facaded.cli import command_line, help_text
from facaded.config.schema import SETTINGS
from tests.config.reading import read
from tests.test_security_manual import keys

ROOT = Path(__file__).parent.parent
MANUAL = ROOT / "facaded" / "manual"
README = ROOT / "README.md"
PAGES = [README, *sorted(MANUAL.glob("*.md"))]
TEXTS = {page.name: page.read_text() for page in PAGES}

BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?<!`)`(facaded [^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
KEY = re.compile(r"`((?:health|cache|limits|listen|notify|state|tls)\.[a-z_]+)`")
PATH = re.compile(r"`((?:facaded|tests|conf|systemd)/[\w./-]+)`")
FILES = {"state.json"}
"""What looks like a setting, and is the name of a file."""
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)

BACKENDS = """
[[backend]]
name = "docker-hub"
url = "https://registry-1.docker.io"
[[backend]]
name = "ghcr"
url = "https://ghcr.io"
rename = {}
"""
"""Those of settings that are shown without theirs."""

(HOMEPAGE,) = re.findall(r'^Homepage = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)

README_COMMANDS = (
    "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/facaded",
    "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/python -m pytest",
)
"""What .ci/run takes from README."""


def blocks(name: str, language: str) -> list[str]:
    """Return the code blocks of a page in a language, without the indent of those in lists."""
    return [
        re.sub(f"^{indent}", "", text, flags=re.MULTILINE)
        for indent, kind, text in BLOCK.findall(TEXTS[name])
        if kind == language
    ]


def shell_lines() -> Iterator[tuple[str, str]]:
    """Yield the command lines of all pages, each after the name of its page; a continued line is one."""
    for name in TEXTS:
        for block in blocks(name, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                if line.strip():
                    yield name, line.strip()


def words(line: str) -> list[str]:
    """Split a command line as a shell does, with its operators as words. Raises ValueError for an open quote."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(lexer)


def calls(line: str) -> Iterator[list[str]]:
    """Yield the arguments of each call of facaded in a command line, also by sudo and in a container."""
    command: list[str] = []
    for word in [*words(line), ";"]:
        if set(word) <= set("();<>|&"):
            yield from _arguments(command)
            command = []
        else:
            command.append(word)


def _arguments(command: list[str]) -> Iterator[list[str]]:
    """Yield the arguments of a simple command if it runs facaded."""
    for prefix in (["sudo"], ["podman", "exec", "facaded"]):
        command = command[len(prefix) :] if command[: len(prefix)] == prefix else command
    if command[:1] == ["kubectl"] and "--" in command:
        command = command[command.index("--") + 1 :]
    if command and command[0].rpartition("/")[2] == "facaded":
        yield command[1:]


def facaded_lines() -> Iterator[tuple[str, str]]:
    return ((name, line) for name, line in shell_lines() if any(True for _ in calls(line)))


@cache
def subcommands() -> dict[str, argparse.ArgumentParser]:
    """Return the real parser of each command."""
    (actions,) = [
        action for action in command_line._parser()._actions if isinstance(action, argparse._SubParsersAction)
    ]
    return dict(actions.choices)


def known_commands() -> set[str]:
    return {name for group in help_text.GROUPS.values() for name in group} | subcommands().keys()


def parse(call: list[str]) -> None:
    """Parse a call of facaded as `main` does."""
    if not call or call[0].startswith("-"):
        call = ["serve", *call] if call != ["--help"] else ["version"]
    assert call[0] in known_commands(), call
    if call[0] in subcommands():
        subcommands()[call[0]].parse_args(call[1:])


@pytest.mark.parametrize("command", README_COMMANDS)
def test_the_readme_has_the_commands_of_the_gate(command: str) -> None:
    assert [line for _, line in shell_lines() if line == command] == [command]


def test_every_command_line_has_closed_quotes() -> None:
    assert all(words(line) for _, line in shell_lines())


@pytest.mark.parametrize(("name", "line"), list(facaded_lines()))
def test_a_command_line_is_one_that_facaded_understands(name: str, line: str) -> None:
    for call in calls(line):
        parse(call)


def test_there_are_command_lines_on_most_pages() -> None:
    assert {"README.md", "failover.md", "operations.md", "second-registry.md"} <= {name for name, _ in facaded_lines()}


@pytest.mark.parametrize("text", sorted({text for page in TEXTS.values() for text in INLINE.findall(page)}))
def test_a_command_in_the_text_exists_with_its_options(text: str) -> None:
    _, name, *_ = text.split()
    if not name.startswith(("-", "[", "[COMMAND")):
        assert name in known_commands() or name.isupper(), text
    if name in subcommands():
        known = subcommands()[name].format_help()
        for option in re.findall(r"--[a-z-]+", text):
            assert option in known, text


def settings_blocks() -> Iterator[tuple[str, str]]:
    for name in TEXTS:
        for block in blocks(name, "toml"):
            yield name, block


@pytest.mark.parametrize(("name", "block"), list(settings_blocks()))
def test_settings_of_a_page_can_be_used(name: str, block: str, tmp_path: Path) -> None:
    public = block.replace("203.0.113.7", "8.8.8.8").replace("2001:db8::7", "2606:4700:4700::1111")
    text = public if "[[backend]]" in block else f"{public}\n{BACKENDS}"
    tomllib.loads(text)
    assert read(_with_https(text), tmp_path).config.backends


def _with_https(text: str) -> str:
    """Settings that are shown in parts need TLS for what is refused without it."""
    is_part = "systemd:https" in text and "[tls" not in text
    return f'hosts = ["docker.example.com"]\n{text}\n[tls.acme]\nagree_to_terms = true\n' if is_part else text


def test_the_yaml_of_a_page_can_be_read() -> None:
    documents = [yaml.safe_load(block) for name in TEXTS for block in blocks(name, "yaml")]
    assert all(documents)
    assert any("packages" in str(document) for document in documents)


@pytest.mark.parametrize("path", sorted({path for page in TEXTS.values() for path in PATH.findall(page)}))
def test_a_named_file_of_the_repository_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("key", sorted({key for page in TEXTS.values() for key in KEY.findall(page)}))
def test_a_named_setting_exists(key: str) -> None:
    assert key in {*keys(SETTINGS), *FILES}


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    kept_characters = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text)]
    return {heading.replace(" ", "-") for heading in kept_characters}


def links() -> Iterator[tuple[str, str]]:
    for name, text in TEXTS.items():
        for target in LINK.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
            yield name, target


def local_path(name: str, target: str) -> Path | None:
    """Return the file that a link leads to; None for one that is elsewhere."""
    for prefix in (f"{HOMEPAGE}/blob/main/", f"{HOMEPAGE.replace('github.com', 'raw.githubusercontent.com')}/main/"):
        if target.startswith(prefix):
            return ROOT / target.removeprefix(prefix)
    if target.startswith("https://"):
        return None
    return (README.parent if name == README.name else MANUAL) / target if target else MANUAL / name


@pytest.mark.parametrize(("name", "target"), sorted(set(links())))
def test_a_link_leads_somewhere(name: str, target: str) -> None:
    file, _, anchor = target.partition("#")
    path = local_path(name, file)
    if path is None:
        return
    assert path.exists(), target
    if anchor:
        assert anchor in anchors(path.read_text()), target


def test_links_of_the_readme_are_absolute_because_package_indexes_show_it_too() -> None:
    assert [target for name, target in links() if name == README.name and not target.startswith("https://")] == []


def test_the_readme_links_every_page_of_the_manual_and_is_short() -> None:
    text = TEXTS[README.name]
    for page in MANUAL.glob("*.md"):
        assert f"[{page.stem}]({HOMEPAGE}/blob/main/facaded/manual/{page.name})" in text
    assert text.count("\n") <= 160


def test_operations_has_every_alert_in_order_with_its_command() -> None:
    rules = re.findall(
        r"- alert: (\w+)\n.*?command: \"([^\"]+)\"", (ROOT / "conf" / "alerts.yml").read_text(), re.DOTALL
    )
    sections = re.findall(r"^### (Facaded\w+)\n(.*?)(?=^##)", TEXTS["operations.md"], re.DOTALL | re.MULTILINE)
    assert [name for name, _ in sections] == [name for name, _ in rules]
    for (name, section), (_, command) in zip(sections, rules, strict=True):
        (block, *_) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
        assert command in block.splitlines(), name


@cache
def constants() -> set[str]:
    """Return all texts in the code, those with values in parts."""
    trees = (ast.parse(path.read_text()) for path in (ROOT / "facaded").rglob("*.py"))
    nodes = (node for tree in trees for node in ast.walk(tree))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


OWN_WORDS = (
    " is not among the repositories of this registry: check the name",
    "this registry has another host name: check the host in your image reference",
    "this registry is read-only: push to the registry behind it",
    ", or it is not public",
    "too many requests from your address: try again in a second, or ask the operator of this registry",
    " does not have it",
    "not running: there is no control socket at ",
    "another program listens there: stop it, or choose another address",
    "not permitted: choose a port from 1024 up or a directory of your own, or grant CAP_NET_BIND_SERVICE",
    " can be read by others: chmod o= ",
    " serves blobs itself instead of redirecting to a CDN: ",
    "the operator of this registry must set relay_blobs = true for that backend",
    "temporary self-signed certificate",
    "unknown key",
    "does not answer this machine",
)
"""What facaded itself says on the page about troubleshooting."""


@pytest.mark.parametrize("text", OWN_WORDS)
def test_what_the_page_about_troubleshooting_quotes_is_what_facaded_says(text: str) -> None:
    assert text in TEXTS["troubleshooting.md"]
    assert any(text in constant for constant in constants())
