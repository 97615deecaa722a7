"""The health checks and the metrics of a real daemon, through an outage of both registries and the return of one."""

import re
from collections.abc import Mapping
from typing import TypeAlias

from prometheus_client.parser import text_string_to_metric_families

from tests.process.daemon import MANIFEST_TYPE, SECRETS, Daemon, Registry
from tests.several_processes import workers_of_tests

Samples: TypeAlias = Mapping[tuple[str, frozenset[str]], float]

SERVED = {"User-Agent": "skopeo/1.22", "Accept": MANIFEST_TYPE}


def scrape(daemon: Daemon) -> Samples:
    """Return the samples by name and label values."""
    status, headers, text = daemon.get("/metrics", port=daemon.admin, host="127.0.0.1")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def number(samples: Samples, name: str, *labels: str) -> float | None:
    return samples.get((name, frozenset(labels)))


def scrape_answers(daemon: Daemon, answers: int) -> Samples:
    """Return the samples once they count so many answers: those of other processes come up to 0.5 s later."""

    def counted() -> float:
        return sum(value for (name, _), value in scrape(daemon).items() if name == "facaded_requests_total")

    daemon.wait_until(lambda: counted() >= answers, f"{answers} answers are counted", 5)
    return scrape(daemon)


def statusz(daemon: Daemon) -> tuple[int, str]:
    status, _, text = daemon.get("/statusz", port=daemon.admin, host="127.0.0.1")
    return status, text.decode().strip()


def test_log_metrics_and_statusz_tell_the_same_of_an_outage(daemon: Daemon, main: Registry, second: Registry) -> None:
    daemon.start()
    samples = scrape(daemon)
    assert statusz(daemon) == (200, "ok")
    assert number(samples, "facaded_all_backends_down") == 0
    assert number(samples, "facaded_backend_state", "main", "up") == 1
    main.mode = "500"
    daemon.wait_until(lambda: daemon.backend == "second", "failover")
    samples = scrape(daemon)
    assert number(samples, "facaded_failovers_total", "main", "second", "down") == 1
    assert number(samples, "facaded_backend_state", "main", "down") == 1
    assert number(samples, "facaded_backend_active", "**", "redirect", "second") == 1
    assert number(samples, "facaded_backend_active", "**", "serve", "main") == 0
    assert statusz(daemon) == (200, "ok")
    second.mode = "500"
    daemon.wait_until(lambda: statusz(daemon)[0] == 503, "an outage")
    sentence = "ALL BACKENDS DOWN (main: answered 500; second: answered 500)"
    assert statusz(daemon)[1] == sentence
    daemon.wait_for_log(sentence)
    assert number(scrape(daemon), "facaded_all_backends_down") == 1
    assert [daemon.get(path, port=daemon.admin)[0] for path in ("/livez", "/readyz")] == [200, 200]
    second.mode = "token"
    daemon.wait_until(lambda: statusz(daemon) == (200, "ok"), "the end of the outage")
    samples = scrape(daemon)
    assert number(samples, "facaded_all_backends_down") == 0
    assert number(samples, "facaded_backend_state", "second", "up") == 1
    daemon.wait_for_log("clients are answered again")


def test_requests_backends_tokens_and_the_cache_are_counted(daemon: Daemon) -> None:
    daemon.start()
    for _ in range(3):
        assert daemon.get("/v2/org/app/manifests/v1", headers=SERVED)[0] == 200
    assert daemon.get("/v2/", headers={"User-Agent": "containerd/2.1.9"})[0] == 307
    assert daemon.get("/v2/other/app/manifests/v1")[0] == 403
    samples = scrape_answers(daemon, 5)
    requests = "facaded_requests_total"
    assert number(samples, requests, "manifest", "served", "200", "containers", "main") == 3
    assert number(samples, requests, "ping", "redirected", "307", "containerd", "main") == 1
    assert number(samples, requests, "manifest", "refused", "403", "docker", "") == 1
    assert number(samples, "facaded_request_duration_seconds_count", "manifest", "served") == 3
    misses = number(samples, "facaded_cache_requests_total", "miss") or 0
    assert 1 <= misses <= workers_of_tests(), "each process has a cache and tokens of its own"
    assert number(samples, "facaded_cache_requests_total", "hit") == 3 - misses
    assert number(samples, "facaded_token_requests_total", "main", "granted") == misses
    assert number(samples, "facaded_backend_pulls_remaining", "main", "address") == 76
    one = "the connections of earlier requests have ended"
    daemon.wait_until(lambda: number(scrape(daemon), "facaded_connections", "admin") == 1, one)
    assert (number(samples, "facaded_cache_bytes") or 0) > 0
    text = daemon.get("/metrics", port=daemon.admin)[2].decode()
    assert [secret for secret in ("org/app", "127.0.0.1", *SECRETS) if secret in text] == [], "nothing private"
    versions = r'facaded_build_info\{openssl="[^"]+",python="3[^"]+",twisted="2[^"]+",version="[^"]+"\} 1.0'
    assert re.search(versions, text)


def test_a_reload_shows_in_the_metrics(daemon: Daemon) -> None:
    daemon.start()
    begun = number(scrape(daemon), "facaded_config_last_reload_timestamp_seconds")
    good = daemon.settings
    daemon.write_settings("bogus = 1")
    assert daemon.run("reload").returncode == 2
    samples = scrape(daemon)
    assert number(samples, "facaded_config_last_reload_successful") == 0
    assert number(samples, "facaded_config_last_reload_timestamp_seconds") == begun
    daemon.write_settings(good.replace('name = "second"', 'name = "spare"'))
    assert daemon.run("reload").returncode == 0
    samples = scrape(daemon)
    assert number(samples, "facaded_config_last_reload_successful") == 1
    assert (number(samples, "facaded_config_last_reload_timestamp_seconds") or 0) > (begun or 0)
    assert {"second"} & {label for _, labels in samples for label in labels} == set()
    assert number(samples, "facaded_backend_drained", "spare") == 0
