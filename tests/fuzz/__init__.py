"""Fuzzing: properties that must hold for any input, with seconds in the quick subset, and by hand for as long as asked.

`python -m tests.fuzz --minutes 60` hunts with new random examples; see `tests.fuzz.hunt`.
"""
