"""No pull fails that the facade can save while one registry works: clients pull in a loop during each fault.

A fault ends a few pulls after the facades have detected it; all faults together take three minutes. With
FACADED_OUTAGES=full, every fault comes twice, with probes as frequent as that and as frequent as by default; it begins
at 15 s and lasts for 25 s, pulls go on for 20 s, and all together take half an hour.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from threading import Lock

import pytest

from tests.system.clients import Docker
from tests.system.conftest import OUTAGE_CLIENTS, OUTAGE_ROWS
from tests.system.outages import courses
from tests.system.outages.courses import OutageRecord
from tests.system.outages.faults import FAULTS, Fault
from tests.system.outages.fronts import ProxyAuthority
from tests.system.outages.loops import image_tag
from tests.system.outages.stage import ANSWERS, DEFAULT_TIMINGS, TIMINGS, HealthTimings, HostsNamespace, outage_stage

TAGS = [image_tag(client, answer) for client in OUTAGE_CLIENTS for answer in ANSWERS]

OUTAGES = [
    (fault, timings) for timings in ((TIMINGS, DEFAULT_TIMINGS) if courses.FULL else (TIMINGS,)) for fault in FAULTS
]
"""All outages; the number of an outage's stage is its place in this list, from 1 on."""

CONCURRENT_OUTAGES = 2
"""How many outages run at the same time, on separate stages: most of an outage is waiting."""


def outage_id(outage: tuple[Fault, HealthTimings]) -> str:
    fault, timings = outage
    return fault.name if timings is TIMINGS else f"{fault.name}, {timings.name}"


@pytest.fixture(scope="module")
def outages(
    request: pytest.FixtureRequest,
    docker: Docker,
    namespace: HostsNamespace,
    authority: ProxyAuthority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Future[list[OutageRecord]]]]:
    """The records of the outages of all selected faults, as they run."""

    one_name = Lock()

    def run(outage: tuple[Fault, HealthTimings]) -> list[OutageRecord]:
        fault, timings = outage
        number, directory = OUTAGES.index(outage) + 1, tmp_path_factory.mktemp("outage")
        trusted_authority = authority if fault.needs_tls else None
        new_stage = outage_stage(
            number, directory, TAGS, namespace, trusted_authority, fault.needs_name, timings=timings
        )
        with one_name if fault.needs_name else nullcontext(), new_stage as stage:
            if fault.at_other_cdn:
                stage.main.move_to_other_cdn(stage.images[tag] for tag in TAGS)
            records = courses.run_outage(fault, stage, docker)
            for facade in stage.facades.values():
                assert "Traceback" not in facade.log
        return records

    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    selected_ids = {item.callspec.id for item in items if item.module is request.module}
    selected_outages = [outage for outage in OUTAGES if outage_id(outage) in selected_ids]
    with ThreadPoolExecutor(CONCURRENT_OUTAGES) as executor:
        try:
            yield {outage_id(outage): executor.submit(run, outage) for outage in selected_outages}
        finally:
            executor.shutdown(cancel_futures=True)


@pytest.mark.parametrize("outage", OUTAGES, ids=outage_id)
def test_no_pull_fails_that_a_facade_can_save(
    outages: dict[str, Future[list[OutageRecord]]], outage: tuple[Fault, HealthTimings]
) -> None:
    fault, _ = outage
    records = outages[outage_id(outage)].result()
    OUTAGE_ROWS.extend(courses.table_row(fault, record) for record in records)
    violations = [
        f"{record.answer}: {violation}" for record in records for violation in courses.find_violations(fault, record)
    ]
    assert not violations, "\n".join(violations)
