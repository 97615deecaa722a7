"""Profiles, accounts, and what a CA wants of them."""

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tests.tls.acme.memory import Begin, problem


def test_a_profile_is_asked_for(begin: Begin) -> None:
    serving = begin()
    serving.ca.meta = {"profiles": {"classic": "for all", "shortlived": "160 h"}}
    serving.change_ca(profile="shortlived")
    serving.start()
    assert serving.ca.last("order")["profile"] == "shortlived"


@pytest.mark.parametrize(
    ("meta", "said"), [({}, "it has none"), ({"profiles": {"classic": "", "tls\n": ""}}, "it has classic, tls?")]
)
def test_a_profile_that_a_ca_does_not_have_is_said_with_those_it_has(
    begin: Begin, meta: dict[str, Any], said: str
) -> None:
    serving = begin()
    serving.ca.meta = meta
    serving.change_ca(profile="short")
    serving.start()
    assert f"the CA has no profile short, {said}: correct `profile`" in serving.error
    assert "order" not in serving.ca.asked


def test_an_account_that_a_ca_has_forgotten_is_made_anew_and_said(begin: Begin, log: list[str]) -> None:
    serving = begin().start()
    old = serving.certificate
    serving.ca.forget_accounts()
    serving.acme.renew()
    serving.network.pass_time(30)
    assert serving.certificate != old
    assert [line for line in log if "does not take facaded's account any more: a new one is made" in line]


def test_a_good_account_is_not_thrown_away_for_a_refusal_that_is_about_something_else(begin: Begin) -> None:
    serving = begin()
    serving.ca.faults["order"] = problem(403, "unauthorized")
    serving.start()
    assert serving.error.startswith("the CA does not allow it to facaded's account")
    assert not list(serving.directory.rglob("*.retired-*"))
    assert serving.ca.asked.count("order") == 1


def test_an_account_whose_url_is_lost_is_found_by_its_key(begin: Begin) -> None:
    serving = begin().start()
    key = next(serving.directory.rglob("account.pem")).read_bytes()
    next(serving.directory.rglob("account.json")).unlink()
    serving.acme.renew()
    serving.network.pass_time(30)
    assert len(serving.ca.made) == 2
    assert next(serving.directory.rglob("account.pem")).read_bytes() == key
    assert serving.ca.asked.count("account") == 2


def test_a_key_that_a_ca_does_not_take_any_more_is_replaced(begin: Begin) -> None:
    serving = begin().start()
    next(serving.directory.rglob("account.json")).unlink()
    serving.ca.faults["account"] = problem(403, "unauthorized")
    serving.acme.renew()
    serving.network.pass_time(30)
    assert len(list(serving.directory.rglob("account.pem.retired-*"))) == 1
    assert serving.error.startswith("the CA does not allow it"), "and one attempt is enough"
    assert serving.ca.asked.count("account") == 3


def test_an_account_that_is_gone_when_its_contact_changes_is_made_anew(begin: Begin) -> None:
    serving = begin().start()
    old = serving.certificate
    serving.ca.forget_accounts()
    serving.reconfigure(evolve(serving.settings, email="new@example.com"))
    serving.acme.renew()
    serving.network.pass_time(30)
    assert serving.certificate != old


def test_a_ca_that_wants_an_account_of_the_operator_s_says_so_before_it_is_asked(begin: Begin) -> None:
    serving = begin()
    serving.ca.meta = {"externalAccountRequired": True}
    serving.start()
    assert "set eab_key_id and eab_hmac_key_file" in serving.error
    assert "account" not in serving.ca.asked


@pytest.mark.parametrize("text", [None, "nothing"])
def test_trust_roots_that_cannot_be_used_are_said(begin: Begin, tmp_path: Path, text: str | None) -> None:
    serving = begin()
    if text is not None:
        (tmp_path / "root.pem").write_text(text)
    serving.change_ca(ca_file=tmp_path / "root.pem")
    serving.start()
    assert serving.error.startswith(f"ca_file: {tmp_path}/root.pem cannot be used (")


@pytest.mark.parametrize(
    ("text", "said"), [(None, "cannot be read"), ("not+base64url!", "base64url"), ("", "base64url")]
)
def test_a_secret_that_cannot_be_used_is_said_without_it(
    begin: Begin, tmp_path: Path, text: str | None, said: str
) -> None:
    serving = begin()
    if text is not None:
        (tmp_path / "eab").write_text(text)
    serving.change_ca(eab_key_id="kid", eab_hmac_key_file=tmp_path / "eab")
    serving.start()
    assert said in serving.error
    assert not text or text not in serving.error


def test_nonces_that_a_ca_has_forgotten_are_asked_anew(begin: Begin) -> None:
    serving = begin()
    forget = serving.ca.forget_nonces
    serving.ca.lies["account"] = lambda _: forget()
    assert serving.start().certificate is not None


def test_a_ca_that_refuses_every_nonce_is_not_asked_for_ever(begin: Begin) -> None:
    serving = begin()
    serving.ca.faults["account"] = problem(400, "badNonce")
    serving.start()
    assert serving.error.startswith("the CA refuses every nonce")
    assert serving.ca.asked.count("account") == 10
