"""The last changes in memory, and those of the history before them."""

from facaded.admin.recent_changes import SHOWN_CHANGES, RecentChanges
from facaded.history.past import PastChange
from tests.watching import fail, up

AT = 1_800_000_000.0


def test_changes_are_there_at_once_and_the_history_has_the_earlier_ones() -> None:
    watching = up("main", "second")
    changes = RecentChanges(lambda: AT + watching.clock.seconds())
    watching.watch.subscribe(changes.follow)
    began = AT
    fail(watching, "main")
    earlier = [
        PastChange(began + 5, "down", "warning", "main", "from the file too"),
        PastChange(began - 9, "up", "notice", "main", "before the restart"),
    ]
    shown = changes.last(earlier)
    assert [(change.kind, change.backend) for change in shown] == [
        ("failover", "second"),
        ("down", "main"),
        ("started", ""),
        ("up", "main"),
    ]
    assert shown[0].at == AT + watching.clock.seconds()


def test_their_number_is_bounded() -> None:
    watching = up("main", "second")
    changes = RecentChanges(lambda: AT)
    watching.watch.subscribe(changes.follow)
    for number in range(30):
        watching.watch.drain("second", None, f"reason {number}")
    earlier = [PastChange(AT - 1, "up", "notice", "main", "earlier")] * 30
    shown = changes.last(earlier)
    assert len(shown) == SHOWN_CHANGES
    assert shown[0].text == "second is drained (reason 29)"
