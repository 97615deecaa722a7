"""The manual's page of answers: each row of its tables is executed, and no kind of answer is missing from them."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from facaded.oci import requests
from facaded.oci.clients import PREFIXES, PRODUCTS, USER_AGENTS, Family, find_client, identify
from facaded.oci.errors import Code, Refusal
from facaded.oci.requests import Ping, Request
from facaded.policy import decision
from facaded.policy.decision import Answer, Mode, Redirect, Rule
from tests.policy.answers_page import (
    ANSWER_ROWS,
    CLIENT_ROWS,
    PAGE,
    ROWS,
    SHOWN_CLIENTS,
    Case,
    Row,
    cases,
    code,
    written,
)

ONLY_READS = ("renamed", "handover", "referrers", "elsewhere", "begun here")
"""Reasons that never apply to `GET /v2/`."""

ANSWER_COLUMNS = {"request", "Accept", "Host", "client", "when", "answer", "why"}


@pytest.fixture(scope="module")
def page() -> list[Case]:
    """Every row of answers, executed for each of its clients."""
    return [case for row in ANSWER_ROWS for case in cases(row)]


# Each row


@pytest.mark.parametrize("row", CLIENT_ROWS, ids=str)
def test_a_row_says_how_a_client_behaves(row: Row) -> None:
    user_agent, names, family, redirect_safe, pings = row.cells.values()
    client = identify(code(user_agent))
    assert client.family.value == family
    assert [redirect_safe, pings] == [
        "yes" if value else "no" for value in (client.redirect_safe, client.takes_token_from_ping)
    ]
    for name in filter(None, names.split(", ")):
        assert find_client(name).family is client.family
        assert (find_client(name).redirect_safe, find_client(name).takes_token_from_ping) == (
            client.redirect_safe,
            client.takes_token_from_ping,
        )


@pytest.mark.parametrize("row", ANSWER_ROWS, ids=str)
def test_a_row_says_what_a_request_is_answered(row: Row) -> None:
    executed = cases(row)
    assert executed, "no client is like that"
    for case in executed:
        assert written(case.answer, case.request) == row.cells["answer"], case.client


def test_a_redirect_names_the_backend_that_it_leads_to(page: list[Case]) -> None:
    """The page shows the URL of a redirect; its backend is in the header X-Facaded-Backend."""
    for case in page:
        if isinstance(case.answer, Redirect):
            assert case.answer.backend in case.routing.redirecting, case.row
            assert case.answer.location.startswith(case.rules.backends[case.answer.backend].url), case.row


def test_each_reason_on_the_page_is_one_rule_of_the_code(page: list[Case]) -> None:
    rules: dict[str, set[Rule | None]] = defaultdict(set)
    reasons: dict[Rule | None, set[str]] = defaultdict(set)
    for case in page:
        if (reason := case.row.cells.get("why")) is not None:
            rules[reason].add(case.rule)
            reasons[case.rule].add(reason)
    assert {reason: several for reason, several in rules.items() if len(several) > 1} == {}
    assert {rule: several for rule, several in reasons.items() if len(several) > 1} == {}
    assert rules[""] == {None}
    assert set(reasons) == {None, *Rule}
    assert [reason for reason in rules if reason and f"**{reason}**" not in PAGE] == []


# The whole page


def test_every_table_is_executed_but_the_one_that_explains_the_answers() -> None:
    for row in ROWS:
        if row not in CLIENT_ROWS and next(iter(row.cells)) != "answer":
            assert {"request", "client", "answer"} <= set(row.cells) <= ANSWER_COLUMNS, row


def test_every_client_is_on_the_page() -> None:
    missing = ", ".join(family.name for family in set(Family) - {client.family for client in SHOWN_CLIENTS.values()})
    assert not missing, f"the table of clients in facaded/manual/answers.md has no row for {missing}"
    for name in (*(prefix for prefix, _ in PREFIXES), *(product.rstrip() for product in PRODUCTS)):
        assert any(name in user_agent for user_agent in SHOWN_CLIENTS), f"no row for {name}"
    names = [name for row in CLIENT_ROWS for name in row.cells["clients"].split(", ") if name]
    assert sorted(names) == sorted(USER_AGENTS)


def test_every_kind_of_request_and_answer_and_every_mode_is_on_the_page(page: list[Case]) -> None:
    assert {type(case.request) for case in page} == {Refusal, *get_args(Request)}
    assert {type(case.answer) for case in page} == set(get_args(Answer))
    assert {case.rules.mode for case in page} == set(Mode)
    explained = {code(cell) for row in ROWS for column, cell in row.cells.items() if column == "class"}
    assert explained == {kind.__name__ for kind in get_args(Answer)}


@pytest.mark.parametrize("why", Rule, ids=lambda why: why.name)
def test_every_rule_is_on_the_page_for_a_read_and_for_a_ping_if_it_applies_to_one(why: Rule, page: list[Case]) -> None:
    pings = {isinstance(case.request, Ping) for case in page if case.rule is why and "why" in case.row.cells}
    assert False in pings
    only_reads = {case.rule for case in page if case.row.cells.get("why") in ONLY_READS}
    assert (True in pings) == (why not in only_reads)


def refusals() -> Iterator[tuple[str, ast.Call]]:
    """Every `Refusal(...)` in the modules that parse and decide, with its place."""
    for module in (requests, decision):
        path = Path(str(module.__file__))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Refusal":
                yield f"{path.name}:{node.lineno}", node


@pytest.mark.parametrize(("place", "call"), [pytest.param(place, call, id=place) for place, call in refusals()])
def test_every_refusal_of_the_code_is_on_the_page(place: str, call: ast.Call, page: list[Case]) -> None:
    status, error_code, message = call.args[:3]
    expected = (ast.unparse(status), ast.unparse(error_code))
    assert any(
        (str(case.answer.status), str(case.answer.code)) == expected and pattern(message).fullmatch(case.answer.message)
        for case in page
        if isinstance(case.answer, Refusal)
    ), f"no row is answered with {place}"


def pattern(message: ast.expr) -> re.Pattern[str]:
    """Return a pattern of the texts that a literal or an f-string can become. A variable can become any text."""
    parts = message.values if isinstance(message, ast.JoinedStr) else [message]
    texts = (re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".*" for part in parts)
    return re.compile("".join(texts))


def test_every_error_code_is_on_the_page() -> None:
    assert [each.value for each in Code if not re.search(rf"\b{each.value}\b", PAGE)] == []
