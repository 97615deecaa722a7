"""`python -m tests.fuzz --minutes 60`: hunt for failures with all properties."""

import argparse
import secrets
import sys
import time

from tests.fuzz.hunt import Hunt
from tests.fuzz.properties import PROPERTIES


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long to hunt; default: 60")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="repeats the hunt that printed it")
    parser.add_argument("properties", nargs="*", help=f"all if none is named: {', '.join(PROPERTIES)}")
    options = parser.parse_args()
    if unknown := set(options.properties) - PROPERTIES.keys():
        parser.error(f"there is no property {', '.join(sorted(unknown))}")
    names = options.properties or PROPERTIES
    hunt = Hunt(tuple(PROPERTIES[name] for name in names), options.seed, time.monotonic, print)
    return hunt.run(options.minutes * 60)


sys.exit(main())
