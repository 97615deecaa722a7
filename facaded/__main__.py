"""Runs `facaded` for `python -m facaded`."""

import sys

if sys.argv[1:2] == ["worker"]:  # which needs no command line, and not the memory for it
    from facaded.cli.generated_sources import keep_no_generated_sources

    keep_no_generated_sources()
    from facaded.cli.worker_command import work

    sys.exit(work())

from facaded.cli.command_line import main

sys.exit(main())
