"""kill -9 at random moments of orders at pebble. By hand: `python -m tests.system.kills --count 200 --seed 1`.

No certificate may be lost while its order still lives, and no key may ever be readable by others.
"""

import argparse
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from attrs import define, field
from cryptography import x509

from tests.process.daemon import Daemon, Registry, free_port, running
from tests.system.pebble import Pebble
from tests.system.renewing import RENEWED_WITHIN, KeyWatcher, start_verified, write_settings

HOST, CA_HOST, MAIN_HOST = "127.8.1.1", "127.8.1.2", "127.8.1.3"

ENVIRON = {"PEBBLE_WFE_NONCEREJECT": "20", "PEBBLE_AUTHZREUSE": "0"}

LONGEST_ORDER = 0.4
"""Seconds after the request to renew within which the daemon is killed: an order takes about half of it."""

ISSUED = re.compile(r"Issued certificate serial ([0-9a-f]+)")


@define
class Kills:
    """A daemon that is killed while it orders; `stored` are the serial numbers of the certificates that it has."""

    daemon: Daemon
    pebble: Pebble
    random: Random
    watcher: KeyWatcher
    in_flight: int = 0
    count: int = 0
    stored: set[int] = field(factory=set)

    @classmethod
    @contextmanager
    def begin(cls, directory: Path, seed: int) -> Iterator["Kills"]:
        main = Registry(MAIN_HOST).start()
        daemon = Daemon(directory, "", HOST, port=free_port(HOST), https=free_port(HOST))
        pebble = Pebble(directory / "pebble", CA_HOST, daemon.port, daemon.https, HOST, dict(ENVIRON))
        watcher = KeyWatcher(directory / "state" / "acme")
        with running(daemon, main):
            try:
                pebble.start()
                write_settings(daemon, pebble.authority, main)
                watcher.start()
                start_verified(daemon, pebble.fetch_root())
                kills = cls(daemon, pebble, Random(seed), watcher)
                kills.stored.add(kills.serial_number)
                yield kills
            finally:
                watcher.finish()
                pebble.stop()

    @property
    def acme(self) -> Path:
        return self.daemon.directory / "state" / "acme"

    @property
    def serial_number(self) -> int:
        """The serial number of the certificate on the disk."""
        (path,) = self.acme.rglob("certificate.pem")
        return x509.load_pem_x509_certificates(path.read_bytes())[0].serial_number

    @property
    def orders(self) -> list[Path]:
        return list(self.acme.rglob("order_*.json"))

    def kill_during_an_order(self) -> None:
        """Renew, kill the daemon at a random moment, and let the next one finish; note what it stores."""
        assert self.daemon.control("POST", "/renew") == 200
        time.sleep(self.random.uniform(0, LONGEST_ORDER))
        self.daemon.kill()
        before = self.serial_number
        self.stored.add(before)
        self.count += 1
        self.in_flight += bool(self.orders)
        self.daemon.start()
        assert self.daemon.control("POST", "/renew") == 200
        self.daemon.wait_until(lambda: self.serial_number != before and not self.orders, "renewed", RENEWED_WITHIN)
        self.stored.add(self.serial_number)

    def check(self) -> None:
        """Check that each certificate that the CA issued is stored, and that nobody else could read a key."""
        issued = {int(serial, 16) for serial in ISSUED.findall(self.pebble.log)}
        print(f"{self.count} kills, {self.in_flight} with an order in flight, {len(issued)} certificates issued")
        assert issued == self.stored
        assert self.watcher.readable == set()
        assert any(name.startswith("order_") for name in self.watcher.names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, Kills.begin(Path(directory), options.seed) as kills:
        for _ in range(options.count):
            kills.kill_during_an_order()
        kills.check()


if __name__ == "__main__":
    main()
