"""Profiles and accounts, and what a CA requires of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from facaded.tls.acme.wire import NONCE_TRIES
from tests.tls.acme.memory import AcmeHarness, CreateHarness, problem


def test_the_order_names_the_profile(create: CreateHarness) -> None:
    harness = create()
    harness.ca.meta = {"profiles": {"classic": "for all", "shortlived": "160 h"}}
    harness.change_ca(profile="shortlived")
    harness.start()
    assert harness.ca.last("order")["profile"] == "shortlived"


@pytest.mark.parametrize(
    ("meta", "available"), [({}, "none"), ({"profiles": {"classic": "", "tls\n": ""}}, "classic, tls?")]
)
def test_the_error_for_an_unknown_profile_lists_the_available_ones(
    create: CreateHarness, meta: dict[str, Any], available: str
) -> None:
    harness = create()
    harness.ca.meta = meta
    harness.change_ca(profile="short")
    harness.start()
    assert f"the CA has no profile short (available: {available}): correct `profile`" in harness.error
    assert "order" not in harness.ca.requests


def test_an_account_that_a_ca_has_forgotten_is_replaced_and_logged(create: CreateHarness, log: list[str]) -> None:
    harness = create().start()
    old = harness.certificate
    harness.ca.forget_accounts()
    harness.acme.renew()
    harness.network.pass_time(30)
    assert harness.certificate != old
    assert [line for line in log if "no longer accepts facaded's account: registering a new one" in line]


def test_a_valid_account_is_kept_when_a_refusal_has_another_cause(create: CreateHarness) -> None:
    harness = create()
    harness.ca.faults["order"] = problem(403, "unauthorized")
    harness.start()
    assert harness.error.startswith("the CA does not allow this to facaded's account")
    assert not list(harness.directory.rglob("*.retired-*"))
    assert harness.ca.requests.count("order") == 1


def test_an_account_whose_url_is_lost_is_found_by_its_key(create: CreateHarness) -> None:
    harness = create().start()
    key = next(harness.directory.rglob("account.pem")).read_bytes()
    next(harness.directory.rglob("account.json")).unlink()
    harness.acme.renew()
    harness.network.pass_time(30)
    assert len(harness.ca.issued) == 2
    assert next(harness.directory.rglob("account.pem")).read_bytes() == key
    assert harness.ca.requests.count("account") == 2


def test_a_key_that_a_ca_no_longer_accepts_is_replaced(create: CreateHarness) -> None:
    harness = create().start()
    next(harness.directory.rglob("account.json")).unlink()
    harness.ca.faults["account"] = problem(403, "unauthorized")
    harness.acme.renew()
    harness.network.pass_time(30)
    assert len(list(harness.directory.rglob("account.pem.retired-*"))) == 1
    assert harness.error.startswith("the CA does not allow this"), "only one attempt"
    assert harness.ca.requests.count("account") == 3


def test_an_account_that_no_longer_exists_when_its_contact_changes_is_replaced(create: CreateHarness) -> None:
    harness = create().start()
    old = harness.certificate
    harness.ca.forget_accounts()
    harness.reconfigure(evolve(harness.settings, email="new@example.com"))
    harness.acme.renew()
    harness.network.pass_time(30)
    assert harness.certificate != old


def test_a_missing_external_account_is_reported_before_registration(create: CreateHarness) -> None:
    harness = create()
    harness.ca.meta = {"externalAccountRequired": True}
    harness.start()
    assert "set eab_key_id and eab_hmac_key_file" in harness.error
    assert "account" not in harness.ca.requests


@pytest.mark.parametrize("text", [None, "nothing"])
def test_unusable_trust_roots_are_reported(create: CreateHarness, tmp_path: Path, text: str | None) -> None:
    harness = create()
    if text is not None:
        (tmp_path / "root.pem").write_text(text)
    harness.change_ca(ca_file=tmp_path / "root.pem")
    harness.start()
    assert harness.error.startswith(f"ca_file: {tmp_path}/root.pem cannot be used (")


@pytest.mark.parametrize(
    ("text", "message"), [(None, "cannot be read"), ("not+base64url!", "base64url"), ("", "base64url")]
)
def test_an_unusable_secret_is_reported_without_its_content(
    create: CreateHarness, tmp_path: Path, text: str | None, message: str
) -> None:
    harness = create()
    if text is not None:
        (tmp_path / "eab").write_text(text)
    harness.change_ca(eab_key_id="kid", eab_hmac_key_file=tmp_path / "eab")
    harness.start()
    assert message in harness.error
    assert not text or text not in harness.error


def test_nonces_that_a_ca_has_forgotten_are_replaced(create: CreateHarness) -> None:
    harness = create()
    forget = harness.ca.forget_nonces
    harness.ca.lies["account"] = lambda _: forget()
    assert harness.start().certificate is not None


def test_the_retries_of_refused_nonces_are_limited(create: CreateHarness) -> None:
    harness = create()
    harness.ca.faults["account"] = problem(400, "badNonce")
    harness.start()
    assert harness.error.startswith("the CA refuses every nonce")
    assert harness.ca.requests.count("account") == NONCE_TRIES


def test_an_address_that_the_ca_refuses_blocks_no_order(create: CreateHarness, log: list[str]) -> None:
    harness = create(email="ops@example.com").start()
    harness.ca.faults["account"] = problem(400, "invalidContact")
    harness.reconfigure(evolve(harness.settings, email="ops@example.invalid"))
    for count in range(2):
        harness.acme.renew()
        harness.network.pass_time(30)
        assert len(harness.ca.issued) == 2 + count
    assert harness.ca.requests.count("account") == 2, "the address is sent once"
    (line,) = [line for line in log if "keeps its previous contact" in line]
    assert "the CA refuses tls.acme.email: correct it, or remove it" in line
    harness.ca.faults.clear()
    harness.reconfigure(evolve(harness.settings, email="new@example.com"))
    harness.acme.renew()
    harness.network.pass_time(30)
    assert harness.ca.last("account") == {"contact": ["mailto:new@example.com"]}


def bind(harness: AcmeHarness, tmp_path: Path, key_id: str) -> None:
    (tmp_path / "eab").write_text("c2VjcmV0")
    harness.change_ca(eab_key_id=key_id, eab_hmac_key_file=tmp_path / "eab")


def test_another_external_account_gets_another_account(create: CreateHarness, tmp_path: Path) -> None:
    harness = create()
    bind(harness, tmp_path, "first")
    harness.start()
    bind(harness, tmp_path, "second")
    assert harness.ca.requests.count("account") == 1, "the account is needed for the next order only"
    for count in range(2):
        harness.acme.renew()
        harness.network.pass_time(70)
        assert len(harness.ca.issued) == 2 + count
    assert harness.ca.requests.count("account") == 2
    assert len(list(harness.directory.rglob("account.pem.retired-*"))) == 1


def test_an_external_account_that_the_ca_refuses_leaves_the_account_as_it_is(
    create: CreateHarness, tmp_path: Path, log: list[str]
) -> None:
    harness = create()
    bind(harness, tmp_path, "first")
    harness.start()
    bind(harness, tmp_path, "second")
    harness.ca.faults["account"] = problem(403, "unauthorized")
    harness.acme.renew()
    harness.network.pass_time(70)
    assert len(harness.ca.issued) == 2
    assert [line for line in log if line.startswith("eab_key_id: ") and "stays bound to the previous one" in line]
    (tmp_path / "eab").unlink()
    harness.acme.renew()
    harness.network.pass_time(70)
    assert len(harness.ca.issued) == 3


def test_an_account_of_an_earlier_version_is_not_replaced(create: CreateHarness, tmp_path: Path) -> None:
    harness = create()
    bind(harness, tmp_path, "first")
    harness.start()
    (path,) = harness.directory.rglob("account.json")
    document = json.loads(path.read_text())
    del document["binding"]
    path.write_text(json.dumps(document))
    harness.acme.renew()
    harness.network.pass_time(70)
    assert len(harness.ca.issued) == 2
    assert harness.ca.requests.count("account") == 1


def test_the_last_of_many_profiles_can_be_used(create: CreateHarness) -> None:
    harness = create()
    harness.ca.meta = {"profiles": {f"p{number}": "" for number in range(50)}}
    harness.change_ca(profile="p49")
    assert harness.start().certificate is not None
    harness.change_ca(profile="p50")
    harness.acme.renew()
    harness.network.pass_time(70)
    assert "p19): correct" in harness.error, "the message lists twenty"
