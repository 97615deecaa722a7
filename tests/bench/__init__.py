"""Programs that measure facaded in a process, by hand: `python -m tests.bench.soak`, `tests.bench.evidence`."""
