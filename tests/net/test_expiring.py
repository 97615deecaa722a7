"""The bounded map whose entries expire, against a plain model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.net.expiring import ExpiringMap

CAPACITY = 10
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcdef"), st.integers(0, 12), st.integers(1, 5)),
        st.tuples(st.just("get"), st.sampled_from("abcdef"), st.just(0), st.just(0)),
        st.tuples(st.just("discard"), st.sampled_from("abcdef"), st.just(0), st.just(0)),
        st.tuples(st.just("wait"), st.just(""), st.just(0), st.integers(1, 3)),
    ),
    max_size=40,
)


@given(STEPS)
def test_it_matches_the_model(steps: list[tuple[str, str, int, int]]) -> None:
    entries: ExpiringMap[str, int] = ExpiringMap(CAPACITY, cost=lambda value: value)
    model: dict[str, tuple[int, float]] = {}
    now = 0.0
    for step, key, value, seconds in steps:
        match step:
            case "put":
                model.pop(key, None)
                if value <= CAPACITY:
                    model[key] = value, now + seconds
                while sum(cost for cost, _ in model.values()) > CAPACITY:
                    del model[next(iter(model))]
                entries.put(key, value, now + seconds)
            case "get":
                entry = model.get(key)
                live = entry is not None and entry[1] > now
                assert entries.get(key, now) == (entry[0] if entry and live else None)
                if entry is not None:
                    del model[key]
                    if live:
                        model[key] = entry
            case "discard":
                model.pop(key, None)
                entries.discard(key)
            case "wait":
                now += seconds
        assert len(entries) == len(model)
        assert list(entries.items(now)) == [(k, v) for k, (v, until) in reversed(model.items()) if until > now]


def test_replace_does_not_change_when_an_entry_expires() -> None:
    entries: ExpiringMap[str, int] = ExpiringMap(1)
    entries.put("a", 1, until=5.0)
    entries.replace("a", 2)
    assert entries.get("a", 4.9) == 2
    assert entries.get("a", 5.0) is None
    with pytest.raises(KeyError):
        entries.replace("a", 3)


def test_a_map_without_capacity_stores_nothing() -> None:
    entries: ExpiringMap[str, int] = ExpiringMap(0)
    entries.put("a", 1, until=5.0)
    assert entries.get("a", 0.0) is None
