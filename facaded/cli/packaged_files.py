"""The files that come with the program: conf/, systemd/ and the manual.

A wheel has the first two in facaded/_files/; in a checkout they are beside the package.
"""

from pathlib import Path

import facaded
from facaded.admin.control import CommandRefusedError

PACKAGE = Path(facaded.__file__).parent

MANUAL = PACKAGE / "manual"


def find_directory(name: str) -> Path:
    """Return the directory `conf` or `systemd`."""
    packaged = PACKAGE / "_files" / name
    return packaged if packaged.is_dir() else PACKAGE.parent / name


def read_packaged(directory: Path, name: str) -> str:
    """Return a file's content. Raises CommandRefusedError, which lists the files that there are."""
    names = sorted(path.name for path in directory.glob("*") if path.is_file())
    if name not in names:
        raise CommandRefusedError(f"there is no file called {name}: choose from {', '.join(names)}")
    return (directory / name).read_text("utf-8")


def list_topics() -> dict[str, str]:
    """Return the title of each page of the manual, by its topic."""
    return {path.stem: path.read_text("utf-8").partition("\n")[0].lstrip("# ") for path in sorted(MANUAL.glob("*.md"))}


def read_topic(topic: str) -> str:
    """Return a page of the manual. Raises CommandRefusedError, which lists the topics."""
    topics = list_topics()
    if topic not in topics:
        raise CommandRefusedError(f"the manual has no page {topic}: choose from {', '.join(topics)}")
    return (MANUAL / f"{topic}.md").read_text("utf-8")
