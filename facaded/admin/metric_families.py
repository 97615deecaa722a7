"""Families of metrics as values: a name, what it means, its labels, and a number or a histogram for each of them."""

from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias

from attrs import field, frozen

from facaded.net.histograms import Histogram

LabelValues: TypeAlias = tuple[str, ...]
"""The values of a family's labels, in their order."""


@frozen
class GaugeFamily:
    """Numbers that go up and down. `text` says what they mean."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    rows: Mapping[LabelValues, float] = field(factory=dict)


@frozen
class CounterFamily:
    """Numbers that only go up, until the daemon is started again. Their names end with `_total`."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    rows: Mapping[LabelValues, float] = field(factory=dict)


@frozen
class HistogramFamily:
    """Histograms of durations in seconds."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    rows: Mapping[LabelValues, Histogram] = field(factory=dict)


MetricFamily: TypeAlias = GaugeFamily | CounterFamily | HistogramFamily


def single(value: float) -> dict[LabelValues, float]:
    """Return the rows of a family without labels."""
    return {(): value}


def label_of(member: Enum) -> str:
    """Return the label value for a member of an enum: its name in lower case, such as `answered_here`."""
    return member.name.lower()
