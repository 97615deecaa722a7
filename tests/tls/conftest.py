"""A certificate authority, and the warnings that facaded logs."""

from collections.abc import Iterator

import pytest

from tests.log_lines import is_warning, log_lines
from tests.tls.authority import Authority


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The warnings that facaded logs."""
    with log_lines(is_warning) as lines:
        yield lines
