"""What is kept: whole, for its owner alone from the first byte, and never overwritten when it cannot be read."""

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

from facaded.tls.acme.keys import AccountKey
from facaded.tls.acme.schedule import Failure, OrderProgress, Stage, failed, succeeded
from facaded.tls.acme.store import Account, AcmeStore, StoreError
from tests.tls.acme.memory import EPOCH, NAME, Serving

CA = "https://ca.test/directory"


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, warnings: list[str]) -> AcmeStore:
    return AcmeStore(tmp_path / "state" / "acme", warnings.append)


def test_an_account_is_kept(store: AcmeStore) -> None:
    assert store.account(CA) is None
    account = Account(AccountKey.generate(), "https://ca.test/account/1", "mailto:ops@example.com")
    store.keep_account(CA, account)
    kept = store.account(CA)
    assert kept is not None
    assert (kept.url, kept.contact, kept.key.pem()) == (account.url, account.contact, account.key.pem())
    assert store.account("https://ca.test/other") is None, "each CA by its directory"


def test_progress_is_kept(store: AcmeStore) -> None:
    assert store.progress([NAME]) == OrderProgress()
    failures = [Failure(CA, "no", Stage.AUTHORIZING, 3600), Failure(CA, "neither", Stage.MADE)]
    progress = evolve(failed(OrderProgress(), failures, EPOCH, 0.5), by_hand=True)
    store.keep_progress([NAME], progress)
    assert store.progress([NAME]) == progress
    store.keep_progress([NAME], succeeded(progress, CA, EPOCH, extra=True))
    assert store.progress([NAME]) == succeeded(progress, CA, EPOCH, extra=True)


def test_certificates_are_kept_by_all_their_names_in_any_order(tmp_path: Path, store: AcmeStore) -> None:
    serving = Serving.begin(tmp_path, domains=(("b.test", "a.test"),)).start()
    certificate = serving.acme.current()["b.test", "a.test"]
    serving.acme.stopService()
    store.keep_certificate(["b.test", "a.test"], certificate)
    assert store.certificate(["a.test", "b.test"]) == certificate
    assert store.certificate(["a.test"]) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"slow": -1}', "\x00", "[" * 100_000])
def test_progress_that_cannot_be_read_is_set_aside_and_never_overwritten(
    tmp_path: Path, store: AcmeStore, warnings: list[str], text: str
) -> None:
    store.keep_progress([NAME], OrderProgress())
    path = next(tmp_path.rglob("progress.json"))
    for count in range(3):
        path.write_text(text)
        assert store.progress([NAME]) == OrderProgress()
        assert not path.exists()
        assert len(warnings) == count + 1
        assert [each.read_text() for each in path.parent.glob("progress.json.unreadable-*")] == [text] * (count + 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("slow", True),
        ("slow", 1.5),
        ("not_before", "soon"),
        ("not_before", -1),
        ("not_before", 1e300),
        ("error", 7),
        ("closed", []),
        ("closed", {CA: None}),
        ("failed", {CA: [-5]}),
        ("extras", {CA: "x"}),
    ],
)
def test_progress_that_makes_no_sense_is_not_believed(
    tmp_path: Path, store: AcmeStore, warnings: list[str], field: str, value: object
) -> None:
    store.keep_progress([NAME], OrderProgress())
    path = next(tmp_path.rglob("progress.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    assert store.progress([NAME]) == OrderProgress()
    assert len(warnings) == 1


@pytest.mark.parametrize("text", ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_key_that_cannot_be_read_is_set_aside_and_a_new_account_made(
    tmp_path: Path, store: AcmeStore, warnings: list[str], text: str
) -> None:
    store.keep_account(CA, Account(AccountKey.generate(), "https://ca.test/account/1"))
    next(tmp_path.rglob("account.pem")).write_text(text)
    assert store.account(CA) is None
    assert len(warnings) == 1
    assert [each.read_text() for each in tmp_path.rglob("account.pem.unreadable-*")] == [text]


def test_long_names_that_begin_alike_have_each_a_place(store: AcmeStore) -> None:
    begin = ".".join(each * 60 for each in "abcd")
    store.keep_progress([f"{begin}.one.test"], OrderProgress(slow=1))
    assert store.progress([f"{begin}.two.test"]) == OrderProgress()


def test_what_cannot_be_read_for_want_of_open_files_is_not_set_aside(
    tmp_path: Path, store: AcmeStore, warnings: list[str]
) -> None:
    serving = Serving.begin(tmp_path / "state").start()
    uses: list[Callable[[], object]] = [
        lambda: store.certificate([NAME]),
        lambda: store.progress([NAME]),
        lambda: store.account(CA),
    ]
    before = sorted(serving.directory.rglob("*"))
    with no_more_files():
        for use in uses:
            with pytest.raises(StoreError, match="Too many open files"):
                use()
        serving.network.pass_time(60)
        assert serving.certificate is not None
    assert sorted(serving.directory.rglob("*")) == before
    assert all(use() is not None for use in uses)
    assert warnings == []
    serving.acme.stopService()


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """Every file that this process may have open is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    taken: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        for each in taken:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_account_whose_url_is_no_url_is_found_again_by_its_key(tmp_path: Path, store: AcmeStore) -> None:
    key = AccountKey.generate()
    store.keep_account(CA, Account(key, "https://ca.test/account/1"))
    path = next(tmp_path.rglob("account.json"))
    path.write_text(path.read_text().replace("https://ca", "ftp://ca"))
    kept = store.account(CA)
    assert kept is not None
    assert (kept.key.pem(), kept.url) == (key.pem(), None)


def test_a_certificate_that_belongs_to_another_key_is_set_aside(
    tmp_path: Path, store: AcmeStore, warnings: list[str]
) -> None:
    serving = Serving.begin(tmp_path).start()
    certificate = serving.certificate
    assert certificate is not None
    serving.acme.stopService()
    store.keep_certificate([NAME], evolve(certificate, key=AccountKey.generate().key))
    assert store.certificate([NAME]) is None
    assert "certificate.pem does not hold what it should: set aside as certificate.pem.unreadable-" in warnings[0]


def test_one_alone_may_order(tmp_path: Path, store: AcmeStore) -> None:
    other = AcmeStore(tmp_path / "state" / "acme", print)
    with store.locked() as first:
        assert first
        with other.locked() as second:
            assert not second
    with other.locked() as third:
        assert third


def test_a_directory_that_others_may_read_is_closed_to_them(tmp_path: Path, store: AcmeStore) -> None:
    directory = tmp_path / "state" / "acme"
    directory.mkdir(mode=0o755, parents=True)
    store.keep_progress([NAME], OrderProgress())
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_what_a_link_leads_to_is_not_written(tmp_path: Path, store: AcmeStore) -> None:
    store.keep_account(CA, Account(AccountKey.generate()))
    victim = tmp_path / "victim"
    victim.write_text("kept")
    key = next(tmp_path.rglob("account.pem"))
    key.with_name("account.pem.new").symlink_to(victim)
    store.keep_account(CA, Account(AccountKey.generate()))
    assert victim.read_text() == "kept"


@pytest.mark.parametrize("use", ["keep_progress", "progress", "locked"])
def test_a_directory_that_cannot_be_used_is_said_with_the_remedy(tmp_path: Path, store: AcmeStore, use: str) -> None:
    (tmp_path / "state").write_text("a file")
    uses: dict[str, Any] = {
        "keep_progress": lambda: store.keep_progress([NAME], OrderProgress()),
        "progress": lambda: store.progress([NAME]),
        "locked": lambda: store.locked().__enter__(),
    }
    with pytest.raises(StoreError, match=r"none is ordered; make the directory writable for facaded alone"):
        uses[use]()


class Watcher(threading.Thread):
    """Looks at every file under a directory, as often as it can, and takes down those that others could open."""

    def __init__(self, directory: Path) -> None:
        super().__init__(daemon=True)
        self.directory = directory
        self.seen: set[str] = set()
        self.readable: set[str] = set()
        self.looks = 0
        self.end = False

    def run(self) -> None:
        while not self.end:
            self.looks += 1
            for place, directories, files in os.walk(self.directory):
                for name in (*directories, *files):
                    path = os.path.join(place, name)
                    try:
                        mode = os.lstat(path).st_mode
                    except OSError:
                        continue
                    self.seen.add(name)
                    if mode & 0o077:
                        self.readable.add(name)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_no_file_is_readable_by_others_at_any_moment(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    directory = tmp_path / "acme"
    watcher = Watcher(directory)
    try:
        serving = Serving.begin(tmp_path)
        watcher.start()
        serving.start()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            certificate = serving.certificate
            assert certificate is not None
            AcmeStore(directory, print).keep_certificate([NAME], certificate)
            AcmeStore(directory, print).keep_account(CA, Account(AccountKey.generate()))
        serving.acme.stopService()
    finally:
        os.umask(before)
        watcher.end = True
        watcher.join()
    assert watcher.readable == set()
    assert {"account.pem", "account.pem.new", "certificate.pem", "certificate.pem.new"} <= watcher.seen
    for path in directory.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_reader_sees_the_old_certificate_or_the_new_one_and_nothing_between(tmp_path: Path, store: AcmeStore) -> None:
    serving = Serving.begin(tmp_path).start()
    one = serving.certificate
    serving.acme.renew()
    serving.network.pass_time(30)
    other = serving.certificate
    serving.acme.stopService()
    assert one is not None
    assert other is not None
    store.keep_certificate([NAME], one)
    seen: list[bool] = []
    done = threading.Event()

    def look() -> None:
        reader = AcmeStore(tmp_path / "state" / "acme", print)
        while not done.is_set():
            seen.append(reader.certificate([NAME]) in (one, other))

    thread = threading.Thread(target=look)
    thread.start()
    for count in range(100):
        store.keep_certificate([NAME], one if count % 2 else other)
    done.set()
    thread.join()
    assert seen
    assert all(seen)
