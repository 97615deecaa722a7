"""`python -m facaded` is `facaded`."""

import sys

from facaded.cli import main

sys.exit(main())
