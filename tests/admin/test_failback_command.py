"""The command that ends the wait for failbacks: what it says."""

import pytest
from attrs import define

from facaded.admin.commands import NOT_SAVED
from facaded.admin.control import Parameters
from facaded.admin.failback_command import NOTHING_WAITS, FailbackCommand
from facaded.admin.protocol import FailedBack
from tests.backends.test_failbacks import waiting
from tests.watching import Watching


@define
class Store:
    """Says whether the state is written."""

    saved: bool = True


def run(watching: Watching, *, saved: bool = True) -> FailedBack:
    document = FailbackCommand(watching.watch, Store(saved)).table["POST", "/failback"](Parameters())
    assert isinstance(document, FailedBack)
    return document


def test_it_says_which_backend_is_active_again_and_for_what() -> None:
    watching = waiting()
    assert run(watching) == FailedBack(
        ("hub is active again instead of ghcr, for redirects and serving",),
        "hub is active: it is the preferred backend and is up",
    )
    assert run(watching) == FailedBack((), "hub is active: it is the preferred backend and is up", (NOTHING_WAITS,))


@pytest.mark.parametrize("saved", [True, False])
def test_it_warns_if_a_restart_undoes_it(saved: bool) -> None:
    assert (NOT_SAVED in run(waiting(), saved=saved).warnings) is not saved
