"""[notify] command in the sandbox of the systemd unit: both examples of the manual's page post what has happened."""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.daemon import Registry, running, wait_until
from tests.process.receiver import Receiver
from tests.system.test_unit import HOST, SETTINGS, UNIT, booted_systemd

PAGE = (Path(__file__).parents[2] / "facaded" / "manual" / "notify.md").read_text()

EXAMPLES = [block for block in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL) if "[notify]" in block]

(DROP_IN,) = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)

SHARED = "mount --make-rshared /"
"""What systemd does on a machine, and not in a container: it mounts credentials in a process of its own."""

URL = "https://hooks.example.com/facaded"


@pytest.fixture
def registry() -> Iterator[Registry]:
    registry = Registry("127.0.0.2").start()
    with running(registry):
        yield registry


def test_the_page_has_an_example_with_and_without_a_secret() -> None:
    assert [URL in example for example in EXAMPLES] == [True, False]
    for example in EXAMPLES:
        assert tomllib.loads(example)["notify"]["command"][0] == "/usr/bin/curl"


@pytest.mark.parametrize("example", EXAMPLES, ids=["url", "secret"])
def test_the_example_works_in_the_unit(
    needs: Callable[..., None], tmp_path: Path, registry: Registry, example: str
) -> None:
    needs("curl")
    with Receiver().serving() as receiver:
        url = f"http://127.0.0.1:{receiver.port}/facaded"
        settings = SETTINGS.format(host=HOST, url=registry.url) + example.replace(URL, url)
        secret = tmp_path / "notify.curl"
        secret.write_text(f'url = "{url}"\n')
        secret.chmod(0o600)
        credential = DROP_IN.replace("[Service]\n", "").replace("/etc/facaded/notify.curl", str(secret))
        unit = UNIT.read_text().replace("[Service]\n", f"[Service]\n{credential}")
        with booted_systemd(needs, tmp_path, settings, unit, SHARED) as init:
            assert init.show("ActiveState") == "active"
            registry.mode = "500"
            wait_until(lambda: "all down" in receiver.kinds, "the command posts what has happened", 30)
            document = receiver.documents[-1]
            assert document["text"] == "ALL BACKENDS DOWN (main: answered 500)"
            registry.mode = "token"
            wait_until(lambda: "all down ended" in receiver.kinds, "the end is posted too", 30)
            assert init.show("NRestarts") == "0"
