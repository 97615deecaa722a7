"""Each property holds for some random examples: the quick part of the fuzzing."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.properties import PROPERTIES


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_property_holds(name: str) -> None:
    checked = PROPERTIES[name]
    bounded = settings(max_examples=checked.quick_examples, suppress_health_check=list(HealthCheck))
    bounded(given(checked.examples)(checked.check))()
