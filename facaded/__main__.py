"""Runs `facaded` for `python -m facaded`."""

import sys

if sys.argv[1:2] == ["worker"]:  # which needs no command line, and not the memory for it
    from facaded.cli.spared_modules import keep_no_generated_sources, without_ssl

    keep_no_generated_sources()
    with without_ssl():
        from facaded.cli.worker_command import work

    sys.exit(work())

from facaded.cli.command_line import main

sys.exit(main())
