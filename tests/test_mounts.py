"""Whether a directory is lost at a restart, by what is mounted."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.mounts import MOUNTS, read_mounts, why_lost

HOST = """22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /run rw,nosuid shared:2 - tmpfs tmpfs rw
24 22 0:22 / /var/lib/with\\040space rw - tmpfs tmpfs rw
25 22 8:2 / /data rw - ext4 /dev/sdb1 rw
26 25 0:23 / /data rw - tmpfs tmpfs rw"""

CONTAINER = """900 800 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/a:/b
901 900 0:51 / /proc rw - proc proc rw
902 900 8:1 /volumes/x /var/lib/facaded/acme rw master:1 - ext4 /dev/sda1 rw
903 900 0:52 / /dev/shm rw - tmpfs shm rw"""

LAYER = "is in the container's own layer, which is removed with the container"


@pytest.mark.parametrize(
    ("mounts", "directory", "reason"),
    [
        (HOST, "/var/lib/facaded", None),
        (HOST, "/run/facaded", "is on tmpfs, in memory"),
        (HOST, "/running/facaded", None),
        (HOST, "/var/lib/with space/facaded", "is on tmpfs, in memory"),
        (HOST, "/data/facaded", "is on tmpfs, in memory"),
        (CONTAINER, "/var/lib/facaded", LAYER),
        (CONTAINER, "/var/lib/facaded/acme", None),
        (CONTAINER, "/dev/shm/facaded", "is on tmpfs, in memory"),
        ("", "/var/lib/facaded", None),
        ("nonsense\n1 2 3 - x\n1 2 3 4 / rw -  \n", "/var/lib/facaded", None),
    ],
)
def test_a_directory_in_memory_or_in_a_layer_is_lost(mounts: str, directory: str, reason: str | None) -> None:
    assert why_lost(Path(directory), mounts) == reason


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "state").symlink_to("/run/facaded-of-a-test")
    assert why_lost(tmp_path / "state", HOST) == "is on tmpfs, in memory"


def test_the_mounts_of_this_process_are_read() -> None:
    assert "proc" in {mount.kind for mount in read_mounts(MOUNTS.read_text())}


@given(st.text() | st.lists(st.sampled_from([" - ", " ", "/", "tmpfs", "\\040", "\n", "1"])).map("".join))
def test_any_text_has_an_answer(text: str) -> None:
    reason = why_lost(Path("/var/lib/facaded"), text)
    assert reason is None or reason.startswith("is ")
