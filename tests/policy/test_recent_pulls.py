"""Recent pulls: their order and their bound."""

from facaded.policy.recent_pulls import IMAGES, RecentPulls


def test_the_latest_image_comes_first_and_no_image_comes_twice() -> None:
    recent = RecentPulls()
    for tag in ("1", "2", "1"):
        recent.add("org/app", tag)
    assert recent.images() == ("org/app:1", "org/app:2")


def test_the_least_recently_pulled_image_is_evicted_first() -> None:
    recent = RecentPulls()
    for number in range(IMAGES + 1):
        recent.add("org/app", str(number))
    images = recent.images()
    assert (len(images), images[0], images[-1]) == (IMAGES, f"org/app:{IMAGES}", "org/app:1")


def test_images_that_are_taken_are_not_taken_again() -> None:
    recent = RecentPulls()
    for tag in ("1", "2", "3", "1"):
        recent.add("org/app", tag)
    assert recent.take(2) == [("org/app", "2"), ("org/app", "3")]
    assert recent.images() == ("org/app:1",)
    assert recent.take(2) == [("org/app", "1")]
    assert recent.take(2) == []
