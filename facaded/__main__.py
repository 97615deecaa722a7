"""`python -m facaded` is `facaded`."""

import sys

from facaded.cli.command_line import main

sys.exit(main())
