"""`facaded parity`: compare images between the backends."""

import argparse
import shutil
import sys

from attrs import evolve

from facaded.admin import control_client
from facaded.admin.control_client import ControlError
from facaded.admin.protocol import RecentImages
from facaded.answering_parts import make_registries
from facaded.backends.manifests import ManifestCache
from facaded.cli.options import find_socket, load
from facaded.cli.terminal import complain, print_json, run, show
from facaded.config.sections import Config
from facaded.exit_status import BAD_NEWS, GOOD, USAGE
from facaded.net.reactor import IFacadedReactor
from facaded.parity import report_document, report_table, subjects
from facaded.parity.comparison import Comparison
from facaded.parity.findings import Report
from facaded.parity.progress_line import ProgressLine
from facaded.parity.subjects import Subject

NO_IMAGES = (
    "no image to compare: name one, as in facaded parity org/app:latest, or set health.canary; without a name, the "
    "canary and recent pulls through the running daemon are compared"
)


def compare(options: argparse.Namespace) -> int:
    """Compare the images of the command line, or the default ones."""
    settings = load(options).config
    try:
        named = [subjects.read(text, settings.rules) for text in options.images]
    except ValueError as error:
        complain(str(error))
        return USAGE
    progress = ProgressLine(sys.stderr)
    try:
        report = run(lambda reactor: _compare_images(options, settings, named, progress, reactor))
    finally:
        progress.wipe()
    if report is None:
        complain(NO_IMAGES)
        return USAGE
    if options.json:
        print_json(report_document.document(report))
    else:
        show(report_table.table(report, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
    return BAD_NEWS if report.is_bad_news else GOOD


async def _compare_images(
    options: argparse.Namespace,
    settings: Config,
    named: list[Subject],
    progress: ProgressLine,
    reactor: IFacadedReactor,
) -> Report | None:
    """Compare images, and return the report; None if no image is named and there are no default ones."""
    rules = settings.rules
    if reason := subjects.incomparable(rules):
        return Report(tuple(rules.backends), notes=(reason,))
    images, notes = (named, ()) if named else await _default_images(options, settings, reactor)
    if not images:
        return None
    backends = make_registries(reactor, settings, ManifestCache(0, 0.0, reactor.seconds))
    report = await Comparison(backends, rules, reactor).compare(images, progress)
    return evolve(report, notes=(*notes, *report.notes))


async def _default_images(
    options: argparse.Namespace, settings: Config, reactor: IFacadedReactor
) -> tuple[list[Subject], tuple[str, ...]]:
    """Return the canary and recently pulled images, and a note if the daemon does not answer."""
    canary, rules = settings.health.canary, settings.rules
    try:
        pulls = await control_client.ask(reactor, find_socket(options), "GET", "/recent-pulls", RecentImages)
    except ControlError as error:
        return subjects.usual(canary, (), rules), (f"recent pulls are unknown: {error}",)
    return subjects.usual(canary, pulls.images, rules), ()
