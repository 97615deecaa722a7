"""What was pulled recently."""

from facaded.policy.recent_pulls import IMAGES, RecentPulls


def test_the_latest_comes_first_and_each_once() -> None:
    recent = RecentPulls()
    for tag in ("1", "2", "1"):
        recent.add("org/app", tag)
    assert recent.images() == ("org/app:1", "org/app:2")


def test_what_was_asked_longest_ago_is_forgotten_first() -> None:
    recent = RecentPulls()
    for number in range(IMAGES + 1):
        recent.add("org/app", str(number))
    images = recent.images()
    assert (len(images), images[0], images[-1]) == (IMAGES, f"org/app:{IMAGES}", "org/app:1")
