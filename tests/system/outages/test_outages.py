"""No pull fails while one registry works: each fault comes and goes while every client pulls again and again.

A fault lasts until it has been noticed and some pulls more, which takes three minutes for all of them. With
FACADED_OUTAGES=full each comes at 15 s, goes at 40 s and is watched until 60 s, which takes ten.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.system.clients import Docker
from tests.system.conftest import OUTAGE_CLIENTS, OUTAGE_ROWS
from tests.system.outages import courses
from tests.system.outages.courses import OutageRecord
from tests.system.outages.faults import FAULTS, Fault
from tests.system.outages.fronts import FrontAuthority
from tests.system.outages.loops import tag
from tests.system.outages.stage import ANSWERS, HostsNamespace, staged

TAGS = [tag(client, answer) for client in OUTAGE_CLIENTS for answer in ANSWERS]

LANES = 2
"""Outages at a time, each on a stage of its own: most of an outage is waiting."""


@pytest.fixture(scope="module")
def outages(
    request: pytest.FixtureRequest,
    docker: Docker,
    names: HostsNamespace,
    authority: FrontAuthority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Future[list[OutageRecord]]]]:
    """The courses of all faults that were asked for, as they come."""

    def course(fault: Fault) -> list[OutageRecord]:
        number, directory = FAULTS.index(fault) + 1, tmp_path_factory.mktemp("outage")
        trusted = authority if fault.tls else None
        with staged(number, directory, TAGS, names, trusted, fault.named) as stage:
            taken = courses.take(fault, stage, docker)
            for facade in stage.facades.values():
                assert "Traceback" not in facade.log
        return taken

    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    names_asked = {item.callspec.id for item in items if item.module is request.module}
    asked = [fault for fault in FAULTS if fault.name in names_asked]
    with ThreadPoolExecutor(LANES) as lanes:
        try:
            yield {fault.name: lanes.submit(course, fault) for fault in asked}
        finally:
            lanes.shutdown(cancel_futures=True)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_no_pull_is_lost_that_a_facade_can_save(outages: dict[str, Future[list[OutageRecord]]], fault: Fault) -> None:
    taken = outages[fault.name].result()
    OUTAGE_ROWS.extend(courses.row(fault, course) for course in taken)
    wrongs = [f"{course.answer}: {wrong}" for course in taken for wrong in courses.wrongs(fault, course)]
    assert not wrongs, "\n".join(wrongs)
