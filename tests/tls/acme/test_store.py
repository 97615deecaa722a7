"""Files are replaced atomically, accessible to their owner only, and never overwritten if their content is invalid."""

import contextlib
import json
import os
import resource
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from facaded.tls.acme import ledger
from facaded.tls.acme.account_key import AccountKey
from facaded.tls.acme.ledger import CaLedger
from facaded.tls.acme.private_files import StoreError
from facaded.tls.acme.schedule import FailureCause, OrderFailure
from facaded.tls.acme.store import Account, AcmeStore
from facaded.tls.acme.stored_order import OrderStage, StoredOrder
from tests.tls.acme.memory import EPOCH, NAME, AcmeHarness

CA = "https://ca.test/directory"


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, warnings: list[str]) -> AcmeStore:
    return AcmeStore(tmp_path / "state" / "acme", warnings.append)


def test_an_account_is_stored(store: AcmeStore) -> None:
    assert store.account(CA) is None
    account = Account(AccountKey.generate(), "https://ca.test/account/1", "mailto:ops@example.com")
    store.save_account(CA, account)
    stored = store.account(CA)
    assert stored is not None
    assert (stored.url, stored.contact, stored.key.pem()) == (account.url, account.contact, account.key.pem())
    assert store.account("https://ca.test/other") is None, "each CA has its own account"


BOOK = ledger.fail(
    ledger.fail(CaLedger(ca=CA), [NAME], OrderFailure(CA, "no", FailureCause.UNVALIDATED, 3600), EPOCH, 0.5),
    [NAME],
    OrderFailure(CA, "neither", FailureCause.REFUSED, 3600, is_rate_limit=True),
    EPOCH,
    0.5,
)
"""A ledger with all that it can have."""


def test_a_ledger_is_stored(store: AcmeStore) -> None:
    assert store.ledgers() == []
    for book in (BOOK, ledger.succeed(BOOK, [NAME], EPOCH, extra=True)):
        store.save_ledger(book)
        assert store.ledgers() == [book]
    store.save_ledger(CaLedger(ca="https://ca.test/other"))
    assert len(store.ledgers()) == 2, "each CA has its own"


def test_an_order_in_flight_is_stored(store: AcmeStore) -> None:
    key = AccountKey.generate().key
    order = StoredOrder(CA, ("b.test", "a.test"), "https://ca.test/order/1", key, b"CSR", EPOCH)
    orders = store.orders
    assert orders.find(CA, ["a.test", "b.test"]) is None
    for stored in (order, evolve(order, stage=OrderStage.FINALIZING, finalized=EPOCH + 1)):
        orders.save(stored)
        found_order = orders.find(CA, ["b.test", "a.test"])
        assert found_order == stored
        assert found_order.key.private_numbers() == key.private_numbers()
    assert orders.in_flight(["a.test", "b.test"]) == {CA}
    assert orders.find("https://ca.test/other", ["a.test", "b.test"]) is None
    assert orders.in_flight(["a.test"]) == frozenset()
    orders.discard(CA, ["a.test", "b.test"])
    orders.discard(CA, ["a.test", "b.test"])
    assert orders.in_flight(["a.test", "b.test"]) == frozenset()
    assert "PRIVATE" not in repr(order)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ca", None),
        ("names", ["other.test"]),
        ("url", "http://ca.test/order/1"),
        ("stage", "lost"),
        ("key", "-----BEGIN PRIVATE KEY-----"),
        ("csr", "not+base64url"),
        ("schema", 2),
    ],
)
def test_an_invalid_order_is_renamed(
    tmp_path: Path, store: AcmeStore, warnings: list[str], field: str, value: object
) -> None:
    store.orders.save(StoredOrder(CA, (NAME,), "https://ca.test/order/1", AccountKey.generate().key, b"CSR", EPOCH))
    (path,) = tmp_path.rglob("order_*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    assert store.orders.in_flight([NAME]) == frozenset()
    assert len(warnings) == 1


def test_certificates_are_stored_by_all_their_names_in_any_order(tmp_path: Path, store: AcmeStore) -> None:
    harness = AcmeHarness.create(tmp_path, domains=(("b.test", "a.test"),)).start()
    certificate = harness.acme.current()["b.test", "a.test"]
    harness.acme.stopService()
    store.save_certificate(["b.test", "a.test"], certificate)
    assert store.certificate(["a.test", "b.test"]) == certificate
    assert store.certificate(["a.test"]) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"ca": 1}', "\x00", "[" * 100_000])
def test_an_invalid_ledger_is_renamed_and_never_overwritten(
    tmp_path: Path, store: AcmeStore, warnings: list[str], text: str
) -> None:
    store.save_ledger(BOOK)
    path = next(tmp_path.rglob("ledger.json"))
    for count in range(3):
        path.write_text(text)
        assert store.ledgers() == []
        assert not path.exists()
        assert len(warnings) == count + 1
        assert [renamed.read_text() for renamed in path.parent.glob("ledger.json.unreadable-*")] == [text] * (count + 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema", 2),
        ("offset", "soon"),
        ("busy", []),
        ("limited", {"since": None}),
        ("orders", []),
        ("orders", {NAME: {"refused": "many"}}),
        ("names", {NAME: {"failed": [None]}}),
    ],
)
def test_a_ledger_with_an_invalid_field_is_ignored(
    tmp_path: Path, store: AcmeStore, warnings: list[str], field: str, value: object
) -> None:
    store.save_ledger(BOOK)
    path = next(tmp_path.rglob("ledger.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    assert store.ledgers() == []
    assert len(warnings) == 1


def test_what_a_newer_version_adds_to_a_ledger_is_ignored(tmp_path: Path, store: AcmeStore) -> None:
    store.save_ledger(BOOK)
    path = next(tmp_path.rglob("ledger.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "news": 1}))
    assert store.ledgers() == [BOOK]


def test_the_errors_in_a_ledger_are_made_printable(store: AcmeStore) -> None:
    store.save_ledger(BOOK.with_history([NAME], evolve(BOOK.history([NAME]), error="evil\r\n\x1b[2J")))
    assert store.ledgers()[0].history([NAME]).error == "evil???[2J"


@pytest.mark.parametrize("text", ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_an_invalid_key_is_renamed(tmp_path: Path, store: AcmeStore, warnings: list[str], text: str) -> None:
    store.save_account(CA, Account(AccountKey.generate(), "https://ca.test/account/1"))
    next(tmp_path.rglob("account.pem")).write_text(text)
    assert store.account(CA) is None
    assert len(warnings) == 1
    assert [renamed.read_text() for renamed in tmp_path.rglob("account.pem.unreadable-*")] == [text]


def test_long_names_with_a_common_start_have_separate_directories(store: AcmeStore) -> None:
    start = ".".join(letter * 60 for letter in "abcd")
    assert store.directory_of([f"{start}.one.test"]) != store.directory_of([f"{start}.two.test"])


def test_files_that_cannot_be_opened_because_of_the_limit_stay_in_place(
    tmp_path: Path, store: AcmeStore, warnings: list[str]
) -> None:
    harness = AcmeHarness.create(tmp_path / "state").start()
    reads: list[Callable[[], object]] = [
        lambda: store.certificate([NAME]),
        lambda: store.ledgers()[0],
        lambda: store.account(CA),
    ]
    before = sorted(harness.directory.rglob("*"))
    with no_more_files():
        for read in reads:
            with pytest.raises(StoreError, match="Too many open files"):
                read()
        harness.network.pass_time(60)
        assert harness.certificate is not None
    assert sorted(harness.directory.rglob("*")) == before
    assert all(read() is not None for read in reads)
    assert warnings == []
    harness.acme.stopService()


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """Open as many files as this process may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    descriptors: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                descriptors.append(os.dup(0))
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_account_with_an_invalid_url_keeps_its_key(tmp_path: Path, store: AcmeStore) -> None:
    key = AccountKey.generate()
    store.save_account(CA, Account(key, "https://ca.test/account/1"))
    path = next(tmp_path.rglob("account.json"))
    path.write_text(path.read_text().replace("https://ca", "ftp://ca"))
    stored = store.account(CA)
    assert stored is not None
    assert (stored.key.pem(), stored.url) == (key.pem(), None)


def test_a_certificate_that_belongs_to_another_key_is_renamed(
    tmp_path: Path, store: AcmeStore, warnings: list[str]
) -> None:
    harness = AcmeHarness.create(tmp_path).start()
    certificate = harness.certificate
    assert certificate is not None
    harness.acme.stopService()
    store.save_certificate([NAME], evolve(certificate, key=AccountKey.generate().key))
    assert store.certificate([NAME]) is None
    assert "certificate.pem has invalid content: renamed to certificate.pem.unreadable-" in warnings[0]


def test_only_one_process_has_the_lock(tmp_path: Path, store: AcmeStore) -> None:
    other = AcmeStore(tmp_path / "state" / "acme", print)
    with store.locked() as first:
        assert first
        with other.locked() as second:
            assert not second
    with other.locked() as third:
        assert third


def test_a_directory_that_others_can_read_gets_the_right_mode(tmp_path: Path, store: AcmeStore) -> None:
    directory = tmp_path / "state" / "acme"
    directory.mkdir(mode=0o755, parents=True)
    store.save_ledger(BOOK)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_the_target_of_a_link_is_not_written(tmp_path: Path, store: AcmeStore) -> None:
    store.save_account(CA, Account(AccountKey.generate()))
    victim = tmp_path / "victim"
    victim.write_text("kept")
    key = next(tmp_path.rglob("account.pem"))
    key.with_name("account.pem.new").symlink_to(victim)
    store.save_account(CA, Account(AccountKey.generate()))
    assert victim.read_text() == "kept"


@pytest.mark.parametrize("use", ["save_ledger", "certificate", "locked"])
def test_an_unusable_directory_is_reported_with_the_remedy(tmp_path: Path, store: AcmeStore, use: str) -> None:
    (tmp_path / "state").write_text("a file")
    uses: dict[str, Any] = {
        "save_ledger": lambda: store.save_ledger(BOOK),
        "certificate": lambda: store.certificate([NAME]),
        "locked": lambda: store.locked().__enter__(),
    }
    with pytest.raises(StoreError, match=r"none is ordered; make the directory writable for facaded only"):
        uses[use]()


class Watcher(threading.Thread):
    """Checks every file under a directory continuously, and records those that others could open."""

    def __init__(self, directory: Path) -> None:
        super().__init__(daemon=True)
        self.directory = directory
        self.seen: set[str] = set()
        self.readable: set[str] = set()
        self.checks = 0
        self.end = False

    def run(self) -> None:
        while not self.end:
            self.checks += 1
            for parent, directories, files in os.walk(self.directory):
                for name in (*directories, *files):
                    path = os.path.join(parent, name)
                    try:
                        mode = os.lstat(path).st_mode
                    except OSError:
                        continue
                    self.seen.add(name)
                    if mode & 0o077:
                        self.readable.add(name)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_no_file_is_ever_readable_by_others(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    directory = tmp_path / "acme"
    watcher = Watcher(directory)
    try:
        harness = AcmeHarness.create(tmp_path)
        watcher.start()
        harness.start()
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            certificate = harness.certificate
            assert certificate is not None
            AcmeStore(directory, print).save_certificate([NAME], certificate)
            AcmeStore(directory, print).save_account(CA, Account(AccountKey.generate()))
        harness.acme.stopService()
    finally:
        os.umask(before)
        watcher.end = True
        watcher.join()
    assert watcher.readable == set()
    assert {"account.pem", "account.pem.new", "certificate.pem", "certificate.pem.new"} <= watcher.seen
    for path in directory.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_fifo_is_not_waited_for(tmp_path: Path, store: AcmeStore) -> None:
    store.save_account(CA, Account(AccountKey.generate(), "https://ca.test/account/1", "mailto:ops@example.com"))
    (path,) = tmp_path.rglob("account.pem")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(StoreError, match="not a regular file"):
        store.account(CA)


def test_a_reader_sees_either_the_old_or_the_new_certificate(tmp_path: Path, store: AcmeStore) -> None:
    harness = AcmeHarness.create(tmp_path).start()
    first = harness.certificate
    harness.acme.renew()
    harness.network.pass_time(30)
    second = harness.certificate
    harness.acme.stopService()
    assert first is not None
    assert second is not None
    store.save_certificate([NAME], first)
    valid: list[bool] = []
    done = threading.Event()

    def read() -> None:
        reader = AcmeStore(tmp_path / "state" / "acme", print)
        while not done.is_set():
            valid.append(reader.certificate([NAME]) in (first, second))

    thread = threading.Thread(target=read)
    thread.start()
    for count in range(100):
        store.save_certificate([NAME], first if count % 2 else second)
    done.set()
    thread.join()
    assert valid
    assert all(valid)
