"""`facaded parity`: compare what the backends have of an image."""

import argparse
import shutil
import sys

from attrs import evolve

from facaded.admin import control_client
from facaded.admin.control_client import ControlError
from facaded.admin.protocol import RecentImages
from facaded.backends.manifests import ManifestCache
from facaded.cli.options import find_socket, load
from facaded.cli.terminal import BAD_NEWS, GOOD, USAGE, complain, print_json, run
from facaded.config.sections import Config
from facaded.net.reactor import IFacadedReactor
from facaded.parity import report_document, report_table, subjects
from facaded.parity.comparison import Comparison
from facaded.parity.findings import Report
from facaded.parity.progress_line import ProgressLine
from facaded.parity.subjects import Subject
from facaded.parts import registries

NOTHING_NAMED = (
    "no image to compare: name one, as in facaded parity org/app:latest; without a name those are compared "
    "that were pulled recently through the running daemon, and health.canary"
)


def compare(options: argparse.Namespace) -> int:
    """Compare the images that are named, or the usual ones."""
    settings = load(options).config
    try:
        named = [subjects.read(text, settings.rules) for text in options.images]
    except ValueError as error:
        complain(str(error))
        return USAGE
    progress = ProgressLine(sys.stderr)
    try:
        report = run(lambda reactor: _compare(options, settings, named, progress, reactor))
    finally:
        progress.wipe()
    if report is None:
        complain(NOTHING_NAMED)
        return USAGE
    if options.json:
        print_json(report_document.document(report))
    else:
        print(report_table.table(report, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
    return BAD_NEWS if report.is_bad_news else GOOD


async def _compare(
    options: argparse.Namespace,
    settings: Config,
    named: list[Subject],
    progress: ProgressLine,
    reactor: IFacadedReactor,
) -> Report | None:
    """Compare images. Returns None if none is named, and there are no usual ones either."""
    rules = settings.rules
    if why := subjects.incomparable(rules):
        return Report(tuple(rules.backends), notes=(why,))
    images, notes = (named, ()) if named else await _usual(options, settings, reactor)
    if not images:
        return None
    backends = registries(reactor, settings, ManifestCache(0, 0.0, reactor.seconds))
    report = await Comparison(backends, rules, reactor).compare(images, progress)
    return evolve(report, notes=(*notes, *report.notes))


async def _usual(
    options: argparse.Namespace, settings: Config, reactor: IFacadedReactor
) -> tuple[list[Subject], tuple[str, ...]]:
    """Return the canary and the images that were pulled recently, and what to note if the daemon cannot be asked."""
    canary, rules = settings.health.canary, settings.rules
    try:
        pulls = await control_client.ask(reactor, find_socket(options), "GET", "/recent-pulls", RecentImages)
    except ControlError as error:
        return subjects.usual(canary, (), rules), (f"{error}: what was pulled recently is not known",)
    return subjects.usual(canary, pulls.images, rules), ()
