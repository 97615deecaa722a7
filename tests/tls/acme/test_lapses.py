"""What made certificates lapse, or cost orders, although the CA was up."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from twisted.logger import LogEvent

from facaded.tls.acme import keys
from facaded.tls.acme.schedule import DAY, HOUR, MINUTE
from tests.tls.acme.memory import CLOSED, EPOCH, AcmeHarness, CreateHarness, Documented, repair
from tests.tls.acme.test_restarts import kill

INTERNAL_ERROR: Documented = 500, {}, b""


def start_with_life(create: CreateHarness, validity: float) -> AcmeHarness:
    """Return a client with a certificate for `validity` seconds whose renewal is due within minutes."""
    harness = create()
    harness.ca.validity = validity
    harness.start()
    assert harness.certificate is not None
    due = harness.status["next_renewal"] - harness.network.now()
    harness.network.pass_time(due - 5 * MINUTE)
    assert len(harness.ca.issued) == 1
    return harness


def renewed_after(harness: AcmeHarness, outage: float) -> float:
    """Return how many seconds after an outage the certificate was renewed; assert that it did not expire before."""
    old = harness.certificate
    assert old is not None
    harness.network.pass_time(outage)
    assert harness.certificate == old
    repair(harness)
    end = harness.network.now()
    while harness.certificate == old:
        harness.network.pass_time(MINUTE)
        assert harness.network.now() < old.validity.end, "the certificate has lapsed"
    return harness.network.now() - end


def test_a_renewal_survives_that_finalize_fails_for_45_minutes(create: CreateHarness) -> None:
    harness = start_with_life(create, 6 * DAY)
    harness.ca.faults["finalize"] = INTERNAL_ERROR
    assert renewed_after(harness, 50 * MINUTE) < HOUR
    assert (harness.ca.requests.count("order"), len(harness.ca.issued)) == (2, 2), "the order is finished"


def test_a_first_certificate_survives_that_finalize_fails_for_45_minutes(create: CreateHarness) -> None:
    harness = create()
    harness.ca.faults["finalize"] = INTERNAL_ERROR
    harness.start(45 * MINUTE)
    repair(harness)
    harness.network.pass_time(HOUR)
    assert harness.certificate is not None
    assert harness.ca.requests.count("order") == 1


def test_an_order_that_takes_minutes_to_issue_is_waited_for(create: CreateHarness) -> None:
    harness = create()
    harness.ca.slow_issuance = 20 * MINUTE
    harness.start(HOUR)
    assert harness.certificate is not None
    assert (harness.ca.requests.count("order"), len(harness.ca.issued)) == (1, 1)


@pytest.mark.parametrize("kind", ["finalize", "certificate", "look"])
def test_a_certificate_is_not_lost_with_an_answer(create: CreateHarness, kind: str) -> None:
    harness = create()
    harness.ca.loses = lambda requested: requested == kind
    harness.start(3 * MINUTE)
    harness.ca.loses = lambda _: False
    harness.network.pass_time(10 * MINUTE)
    assert harness.certificate is not None
    assert (harness.ca.requests.count("order"), len(harness.ca.issued)) == (1, 1)


def test_an_order_is_finished_by_the_next_process(create: CreateHarness) -> None:
    harness = create()
    harness.ca.slow_issuance = 10 * MINUTE
    harness.start(MINUTE)
    kill(harness)
    harness.start(20 * MINUTE)
    assert harness.certificate is not None
    assert (harness.ca.requests.count("order"), len(harness.ca.issued)) == (1, 1)


@pytest.mark.parametrize(
    ("validity", "outage"), [(DAY, 5 * HOUR), (DAY / 2, 2.6 * HOUR), (6 * HOUR, HOUR), (6 * DAY, 1.2 * DAY)]
)
@pytest.mark.parametrize("fault", ["down", "errors", "refused"])
def test_a_renewal_follows_soon_after_an_outage(
    create: CreateHarness, validity: float, outage: float, fault: str, no_errors_are_logged: list[LogEvent]
) -> None:
    harness = start_with_life(create, validity)
    harness.ca.down = fault == "down"
    if fault == "errors":
        harness.ca.faults["directory"] = INTERNAL_ERROR
    if fault == "refused":
        harness.ca.refusal = CLOSED
    assert renewed_after(harness, outage) < validity / 10
    no_errors_are_logged.clear()  # it was overdue


@pytest.mark.parametrize("validity", [DAY, 6 * DAY])
def test_a_retry_after_of_years_with_an_error_does_not_close_a_ca(create: CreateHarness, validity: float) -> None:
    harness = start_with_life(create, validity)
    harness.ca.faults["directory"] = 503, {"Retry-After": "99999999"}, b""
    assert renewed_after(harness, 10 * MINUTE) < min(validity / 10, 7 * HOUR)


def test_the_first_certificate_comes_within_seven_hours_after_such_a_retry_after(create: CreateHarness) -> None:
    harness = create()
    harness.ca.faults["directory"] = 503, {"Retry-After": "99999999"}, b""
    harness.start(MINUTE)
    repair(harness)
    harness.network.pass_time(7 * HOUR)
    assert harness.certificate is not None


def test_a_clock_that_is_two_hours_slow_costs_no_certificate(create: CreateHarness, log: list[str]) -> None:
    harness = create()
    harness.skew = -2 * HOUR
    harness.start()
    assert harness.certificate is not None
    assert len(harness.ca.issued) == 1
    assert [line for line in log if "this machine's clock is 120 minutes behind that of ca.test: correct it" in line]


def test_a_clock_that_is_slow_does_not_delay_a_renewal(create: CreateHarness) -> None:
    harness = create()
    harness.ca.validity = 6 * HOUR
    harness.skew = -3 * HOUR
    harness.start()
    harness.network.pass_time(4 * HOUR + MINUTE)
    assert len(harness.ca.issued) == 2


def test_a_clock_that_becomes_slow_does_not_delay_a_renewal(create: CreateHarness) -> None:
    harness = create()
    harness.ca.validity = 6 * HOUR
    harness.start(HOUR)
    harness.skew = -3 * HOUR
    harness.network.pass_time(3 * HOUR + 20 * MINUTE)
    assert len(harness.ca.issued) == 2


def test_a_clock_that_is_ahead_causes_no_orders(create: CreateHarness) -> None:
    harness = create()
    harness.ca.validity = 6 * HOUR
    harness.skew = 7 * HOUR
    harness.start(3.5 * HOUR)
    assert len(harness.ca.issued) == 1


def authority_certificate(subject: str, key: keys.P256Key, issuer: str, signer: keys.P256Key, end: float) -> bytes:
    name = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (subject, issuer)]
    return (
        x509.CertificateBuilder()
        .subject_name(name[0])
        .issuer_name(name[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(EPOCH - 900 * DAY, UTC))
        .not_valid_after(datetime.fromtimestamp(end, UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def test_an_expired_certificate_at_the_end_of_the_chain_is_left_out(create: CreateHarness, log: list[str]) -> None:
    harness, top = create(), keys.new()
    harness.ca.issuers = authority_certificate("ca CA", harness.ca._key, "old root", top, EPOCH + 900 * DAY)
    harness.ca.issuers += authority_certificate("old root", top, "old root", top, EPOCH - DAY)
    harness.start()
    assert harness.certificate is not None
    assert len(harness.certificate.chain) == 2
    assert len(harness.ca.issued) == 1
    assert [line for line in log if "ends with an expired certificate, which is left out" in line]


@pytest.mark.parametrize("closed", ["tls-alpn-01", "http-01"])
def test_one_closed_port_does_not_delay_the_first_certificate(create: CreateHarness, closed: str) -> None:
    harness = create()
    harness.ca.refusal, harness.ca.refused_kinds = CLOSED, (closed,)
    harness.start(10)
    assert harness.certificate is not None


def test_a_renewal_by_hand_that_fails_is_in_the_status_for_a_day(create: CreateHarness) -> None:
    harness = create().start()
    harness.ca.refusal = CLOSED
    harness.acme.renew()
    harness.network.pass_time(MINUTE)
    assert "could not reach port 443" in harness.error
    assert harness.status["next_renewal"] > harness.network.now() + 50 * DAY
    harness.network.pass_time(DAY)
    assert (harness.status["error"], harness.status["attempts"]) == (None, 0)


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_lost_request_to_validate_is_no_failed_authorization(create: CreateHarness, lost: str) -> None:
    """It is lost before or after the CA has received it."""
    harness = create()
    losses: list[str] = []

    def loses(kind: str) -> bool:
        losses.extend([kind] * (kind == "challenge"))
        return kind == "challenge" and len(losses) == 1 and lost == "after"

    harness.ca.loses = loses
    if lost == "before":
        harness.ca.faults["challenge"] = INTERNAL_ERROR
        harness.network.clock.callLater(2, harness.ca.faults.clear)
    harness.start()
    assert harness.certificate is not None
    assert harness.status["attempts"] == 0
    assert harness.ca.requests.count("order") == 1


def test_an_order_that_ended_while_no_process_ran_is_replaced_at_once(create: CreateHarness) -> None:
    harness = create()
    harness.ca.stalls = True
    harness.start(10)
    kill(harness)
    harness.ca.stalls = False
    harness.ca._orders["1"]["status"] = "invalid"  # the CA could not connect
    harness.start(2 * MINUTE)
    assert harness.certificate is not None
    assert harness.ca.requests.count("order") == 2
