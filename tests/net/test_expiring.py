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
def test_it_keeps_what_has_not_expired_within_its_capacity(steps: list[tuple[str, str, int, int]]) -> None:
    kept: ExpiringMap[str, int] = ExpiringMap(CAPACITY, cost=lambda value: value)
    model: dict[str, tuple[int, float]] = {}
    now = 0.0
    for step, key, value, seconds in steps:
        match step:
            case "put":
                model.pop(key, None)
                if value <= CAPACITY:
                    model[key] = value, now + seconds
                while sum(each for each, _ in model.values()) > CAPACITY:
                    del model[next(iter(model))]
                kept.put(key, value, now + seconds)
            case "get":
                entry = model.get(key)
                live = entry is not None and entry[1] > now
                assert kept.get(key, now) == (entry[0] if entry and live else None)
                if entry is not None:
                    del model[key]
                    if live:
                        model[key] = entry
            case "discard":
                model.pop(key, None)
                kept.discard(key)
            case "wait":
                now += seconds
        assert len(kept) == len(model)
        assert list(kept.items(now)) == [(k, v) for k, (v, until) in reversed(model.items()) if until > now]


def test_a_value_that_is_replaced_expires_when_the_one_before_would_have() -> None:
    kept: ExpiringMap[str, int] = ExpiringMap(1)
    kept.put("a", 1, until=5.0)
    kept.replace("a", 2)
    assert kept.get("a", 4.9) == 2
    assert kept.get("a", 5.0) is None
    with pytest.raises(KeyError):
        kept.replace("a", 3)


def test_a_map_without_room_keeps_nothing() -> None:
    kept: ExpiringMap[str, int] = ExpiringMap(0)
    kept.put("a", 1, until=5.0)
    assert kept.get("a", 0.0) is None
