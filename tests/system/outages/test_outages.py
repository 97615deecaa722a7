"""No pull fails that the facade can save while one registry works: clients pull in a loop during each fault.

A fault ends a few pulls after the facades have detected it; all faults together take three minutes. With
FACADED_OUTAGES=full, each fault begins at 15 s and ends at 40 s, pulls go on until 60 s, and all together take ten
minutes.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.system.clients import Docker
from tests.system.conftest import OUTAGE_CLIENTS, OUTAGE_ROWS
from tests.system.outages import courses
from tests.system.outages.courses import OutageRecord
from tests.system.outages.faults import FAULTS, Fault
from tests.system.outages.fronts import ProxyAuthority
from tests.system.outages.loops import image_tag
from tests.system.outages.stage import ANSWERS, HostsNamespace, outage_stage

TAGS = [image_tag(client, answer) for client in OUTAGE_CLIENTS for answer in ANSWERS]

CONCURRENT_OUTAGES = 2
"""How many outages run at the same time, on separate stages: most of an outage is waiting."""


@pytest.fixture(scope="module")
def outages(
    request: pytest.FixtureRequest,
    docker: Docker,
    namespace: HostsNamespace,
    authority: ProxyAuthority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Future[list[OutageRecord]]]]:
    """The records of the outages of all selected faults, as they run."""

    def run(fault: Fault) -> list[OutageRecord]:
        number, directory = FAULTS.index(fault) + 1, tmp_path_factory.mktemp("outage")
        trusted_authority = authority if fault.needs_tls else None
        with outage_stage(number, directory, TAGS, namespace, trusted_authority, fault.needs_name) as stage:
            records = courses.run_outage(fault, stage, docker)
            for facade in stage.facades.values():
                assert "Traceback" not in facade.log
        return records

    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    selected_ids = {item.callspec.id for item in items if item.module is request.module}
    selected_faults = [fault for fault in FAULTS if fault.name in selected_ids]
    with ThreadPoolExecutor(CONCURRENT_OUTAGES) as executor:
        try:
            yield {fault.name: executor.submit(run, fault) for fault in selected_faults}
        finally:
            executor.shutdown(cancel_futures=True)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_no_pull_fails_that_a_facade_can_save(outages: dict[str, Future[list[OutageRecord]]], fault: Fault) -> None:
    records = outages[fault.name].result()
    OUTAGE_ROWS.extend(courses.table_row(fault, record) for record in records)
    violations = [
        f"{record.answer}: {violation}" for record in records for violation in courses.find_violations(fault, record)
    ]
    assert not violations, "\n".join(violations)
