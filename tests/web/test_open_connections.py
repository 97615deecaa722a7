"""Open connections by source: which idle one makes room."""

from hypothesis import given
from hypothesis import strategies as st

from facaded.web.open_connections import OpenConnections


def test_the_largest_source_is_the_one_with_the_most_connections_among_those_with_an_idle_one() -> None:
    connections: OpenConnections[int] = OpenConnections()
    assert connections.largest() is None
    for number, source in enumerate("abbbcc"):
        connections.add(number, source)
    assert (connections.largest(), connections.oldest_idle("b")) == ("b", 1)
    for number in (1, 2, 3):
        connections.make_busy(number)
    assert (connections.largest(), connections.oldest_idle("b"), connections.count("b")) == ("c", None, 3)
    connections.make_idle(2)
    assert (connections.largest(), connections.oldest_idle("b")) == ("b", 2)


def test_the_oldest_idle_connection_is_the_one_that_was_used_least_recently() -> None:
    connections: OpenConnections[int] = OpenConnections()
    for number in range(3):
        connections.add(number, "a")
    connections.make_busy(0)
    connections.make_idle(0)
    connections.make_idle(1)
    assert connections.oldest_idle("a") == 2
    connections.remove(1)
    connections.remove(2)
    assert connections.oldest_idle("a") == 0


Step = tuple[str, int, str]


@given(
    st.lists(st.tuples(st.sampled_from(["add", "remove", "busy", "idle"]), st.integers(0, 9), st.sampled_from("abc")))
)
def test_it_says_the_same_as_a_search_of_all_connections(steps: list[Step]) -> None:
    connections: OpenConnections[int] = OpenConnections()
    sources: dict[int, str] = {}
    idle: list[int] = []
    for action, number, source in steps:
        if action == "add" and number not in sources:
            connections.add(number, source)
            sources[number] = source
            idle.append(number)
        elif action == "remove":
            connections.remove(number)
            sources.pop(number, None)
            idle = [other for other in idle if other != number]
        elif action == "busy":
            connections.make_busy(number)
            idle = [other for other in idle if other != number]
        elif action == "idle":
            connections.make_idle(number)
            if number in sources:
                idle = [*(other for other in idle if other != number), number]
    counts = {source: [*sources.values()].count(source) for source in "abc"}
    assert len(connections) == len(sources)
    assert {source: connections.count(source) for source in "abc"} == counts
    largest = connections.largest()
    with_idle = {sources[number] for number in idle}
    assert (largest is None) == (not with_idle)
    assert largest is None or counts[largest] == max(counts[source] for source in with_idle)
    for source in "abc":
        assert connections.oldest_idle(source) == next((number for number in idle if sources[number] == source), None)
