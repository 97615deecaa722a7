"""What `facaded check` says about ACME."""

import pytest

from facaded.authorities import AuthorityReport
from facaded.cli.acme_check import AcmeReport
from facaded.cli.acme_text import HINT, acme_lines
from facaded.own_ports import PortReport
from facaded.tls.acme.dry_runs import DryRun

CA, STAGING, TERMS = "https://ca.test/directory", "https://staging.test/directory", "https://ca.test/terms.pdf"
NAME, V4, V6 = "docker.example.com", "192.0.2.1", "2001:db8::1"
GOOD = AuthorityReport(CA, TERMS, STAGING)


@pytest.mark.parametrize(
    ("report", "lines", "is_bad_news"),
    [
        (AcmeReport((GOOD,)), [f"authority: OK: {CA}, terms of service: {TERMS}"], False),
        (AcmeReport((GOOD,), is_incomplete=True), [f"authority: OK: {CA}, terms of service: {TERMS}"], True),
        (AcmeReport((AuthorityReport(CA),)), [f"authority: OK: {CA}, terms of service: none"], False),
        (
            AcmeReport((AuthorityReport(CA, problem=f"{CA}: connection refused"), AuthorityReport(CA, problem="no"))),
            [f"authority: FAILED: {CA}: connection refused", f"authority: FAILED: {CA}: no"],
            True,
        ),
        (
            AcmeReport((), (PortReport(NAME, V4, 443), PortReport(NAME, V6, 443, "connection refused"))),
            [
                f"{NAME}: port 443 at {V4}: OK",
                f"{NAME}: port 443 at {V6}: FAILED: connection refused: open it and lead it to facaded, or remove the "
                "AAAA record",
                HINT,
            ],
            False,
        ),
        (
            AcmeReport((), (PortReport(V4, V4, 80, "timeout"),)),
            [f"{V4}: port 80 at {V4}: FAILED: timeout: open it and lead it to facaded", HINT],
            False,
        ),
        (
            AcmeReport((), (PortReport(NAME, V6, 80, "network is unreachable", untested=True),)),
            [f"{NAME}: port 80 at {V6}: not tested: network is unreachable"],
            False,
        ),
        (
            AcmeReport((), (PortReport(NAME, V4, 80, "timeout"),), (DryRun((NAME, V4), STAGING, "tls-alpn-01"),)),
            [
                f"{NAME}: port 80 at {V4}: FAILED: timeout: open it and lead it to facaded, or remove the A record",
                f"dry run for {NAME}, {V4}: OK, authorized by tls-alpn-01 at {STAGING}",
            ],
            False,
        ),
        (
            AcmeReport((), (), (DryRun((NAME,), STAGING, "http-01", ("tls-alpn-01: closed",)),)),
            [f"dry run for {NAME}: OK, authorized by http-01 at {STAGING}, after tls-alpn-01: closed"],
            False,
        ),
        (
            AcmeReport((), (), (DryRun((NAME,), STAGING, None, ("tls-alpn-01: closed", "http-01: no")),), "x", ("y",)),
            [
                f"dry run for {NAME}: FAILED at {STAGING}: tls-alpn-01: closed; http-01: no",
                "the challenges were answered by x",
                "not tested: y",
            ],
            True,
        ),
    ],
)
def test_each_part_has_a_line(report: AcmeReport, lines: list[str], is_bad_news: bool) -> None:
    assert list(acme_lines(report)) == lines
    assert report.is_bad_news == is_bad_news
