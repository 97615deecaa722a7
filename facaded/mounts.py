"""Whether a directory outlives a restart: which file system it is on (proc(5), /proc/PID/mountinfo)."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from attrs import frozen

MOUNTS = Path("/proc/self/mountinfo")

MEMORY = ("tmpfs", "ramfs")
"""File systems that are only in memory."""

LAYERS = ("overlay", "fuse-overlayfs", "aufs")
"""File systems of containers: they are removed with the container, unless a volume is mounted over them."""

_ESCAPE = re.compile(r"\\([0-7]{3})")


@frozen
class Mount:
    """A mounted file system, and where it is mounted."""

    point: PurePosixPath
    kind: str


def read_mounts(text: str) -> Iterator[Mount]:
    """Return the mounts in a mountinfo file; lines in another form are left out."""
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(" "), after.partition(" ")[0]
        if separator and len(fields) >= 6 and kind:
            point = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[4])
            yield Mount(PurePosixPath(point), kind)


def why_lost(directory: Path, mounts: str) -> str | None:
    """Return why the content of a directory is lost at a restart, None if it is not known to be.

    `mounts` is the content of MOUNTS. The directory need not exist.
    """
    path = PurePosixPath(directory.resolve())
    chosen = Mount(PurePosixPath("/"), "")
    for mount in read_mounts(mounts):
        if path.is_relative_to(mount.point) and len(mount.point.parts) >= len(chosen.point.parts):
            chosen = mount  # of several at one place, the last one is visible
    if chosen.kind in MEMORY:
        return f"is on {chosen.kind}, in memory"
    if chosen.kind in LAYERS and chosen.point == PurePosixPath("/"):
        return "is in the container's own layer, which is removed with the container"
    return None
