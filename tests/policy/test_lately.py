"""What was pulled lately."""

from facaded.policy.lately import IMAGES, Lately


def test_the_latest_comes_first_and_each_once() -> None:
    lately = Lately()
    for tag in ("1", "2", "1"):
        lately.add("org/app", tag)
    assert lately.images() == ("org/app:1", "org/app:2")


def test_what_was_asked_longest_ago_is_forgotten_first() -> None:
    lately = Lately()
    for number in range(IMAGES + 1):
        lately.add("org/app", str(number))
    images = lately.images()
    assert (len(images), images[0], images[-1]) == (IMAGES, f"org/app:{IMAGES}", "org/app:1")
