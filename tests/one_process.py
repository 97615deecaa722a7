"""Tests that hold for a daemon with one process only, and why: they are skipped if FACADED_TEST_WORKERS is above 1.

Each key is the path of a test file with the name of a test, whatever its parameters are.
"""

ONE_PROCESS: dict[str, str] = {
    "tests/process/test_descriptors.py::test_without_free_descriptors_nobody_is_called_down_and_one_line_says_why": (
        "it takes the descriptors from the first process, and another one has its own"
    ),
    "tests/system/test_unit.py::test_systemd_restarts_it_if_its_reactor_does_not_turn": (
        "the service restarts; with several processes another one takes over, and it does not"
    ),
}
