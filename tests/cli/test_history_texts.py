"""The history and the numbers of pulls as text."""

from facaded.admin.history_commands import PastChanges, PullStatistics
from facaded.cli import history_text, statistics_text
from facaded.history.past import PastChange
from facaded.history.queries import PullSum

NIGHT = 1_727_921_585.5


def change(at: float, text: str) -> PastChange:
    return PastChange(at, "down", "warning", "main", text)


def test_each_change_has_a_time_and_the_latest_is_the_last() -> None:
    changes = (
        change(NIGHT + 86_400, "docker-hub is up"),
        change(NIGHT + 1, "ghcr is active: it is the first backend of the route that is up, and docker-hub is down"),
        change(NIGHT, "docker-hub is down (manifest: answered 503)"),
    )
    assert history_text.text(PastChanges(7, changes)).splitlines() == [
        "2024-10-03, UTC",
        "  02:13:05  docker-hub is down (manifest: answered 503)",
        "  02:13:06  ghcr is active: it is the first backend of the route that is up, and",
        "            docker-hub is down",
        "2024-10-04, UTC",
        "  02:13:05  docker-hub is up",
    ]


def test_no_changes_and_more_than_are_shown_are_said() -> None:
    assert history_text.text(PastChanges(7, ())) == "nothing has changed in the last 7 days"
    assert history_text.text(PastChanges(1, ())) == "nothing has changed in the last day"
    shown = history_text.text(PastChanges(7, (change(NIGHT, "x"),), True))
    assert shown.startswith("only the latest changes are shown: there are more\n\n2024-10-03")


def test_a_document_of_another_version_cannot_break_the_terminal() -> None:
    changes = (change(float("nan"), ""), change(1e300, "\x1b[2Jx"), change(-1e300, "y" * 5000))
    assert "\x1b" not in history_text.text(PastChanges(7, changes))


def statistics(image: str = "", **rows: tuple[PullSum, ...]) -> PullStatistics:
    parts = [rows.get(name, ()) for name in ("images", "tags", "families", "by_day")]
    return PullStatistics(30, "2024-09-05", image, PullSum("", 12_345, 234, 99), *parts)


def test_pulls_are_tables_of_80_columns() -> None:
    digest = f"sha256:{'a' * 64}"
    shown = statistics_text.text(
        statistics(
            image="org/app",
            tags=(PullSum("v1", 12_000, 200), PullSum(digest, 345, 34), PullSum("", 0, 0, 99)),
            families=(PullSum("docker", 12_345, 234, 99),),
            by_day=(PullSum("2024-10-03", 5), PullSum("2024-10-04", 12_340)),
        )
    )
    assert shown.splitlines() == [
        "12,345 pulls of org/app in the last 30 days (since 2024-09-05, UTC), 234 checks",
        "for updates, 99 reads of signatures",
        "",
        "TAG OR DIGEST       PULLS      CHECKS  SIGNATURES",
        "v1                 12,000         200           0",
        digest,
        "                      345          34           0",
        "(signatures)            0           0          99",
        "",
        "CLIENT       PULLS      CHECKS  SIGNATURES",
        "docker      12,345         234          99",
        "",
        "DAY              PULLS      CHECKS  SIGNATURES",
        "2024-10-03           5           0           0",
        "2024-10-04      12,340           0           0",
    ]
    assert max(map(len, shown.splitlines())) <= 80


def test_long_tables_are_cut_and_names_beyond_the_bound_are_named() -> None:
    images = (PullSum("", 100), *(PullSum(f"org/app-{number}", 1) for number in range(25)))
    days = tuple(PullSum(f"2024-09-{number:02}", number) for number in range(1, 31))
    lines = statistics_text.text(statistics(images=images, by_day=days)).splitlines()
    assert any(line.startswith("(other names) ") for line in lines)
    assert "and 6 more: see --json" in lines
    assert lines[-1].split()[:2] == ["2024-09-30", "30"], "the latest days are shown"


def test_one_day_is_today() -> None:
    shown = statistics_text.text(PullStatistics(1, "2024-10-04", "", PullSum(""), (), (), (), ()))
    assert " ".join(shown.split()).startswith("0 pulls today (since 2024-10-04, UTC)")
