"""conf/kubernetes/: valid objects that fit together, and settings that facaded can use."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from facaded.config import loading
from facaded.net.reactor import installed
from facaded.policy.decision import Mode

DIRECTORY = Path(__file__).parent.parent / "conf" / "kubernetes"
PAGE = (DIRECTORY.parent.parent / "facaded" / "manual" / "kubernetes.md").read_text()
CUSTOM = {"cert-manager.io/v1", "monitoring.coreos.com/v1"}
"""Versions of objects that are not Kubernetes' own, whose schemas the validator does not have."""

KUSTOMIZATION = yaml.safe_load((DIRECTORY / "kustomization.yaml").read_text())


def read_objects() -> Iterator[dict[str, Any]]:
    for name in KUSTOMIZATION["resources"]:
        yield from yaml.safe_load_all((DIRECTORY / name).read_text())


OBJECTS = {(document["kind"], document["metadata"]["name"]): document for document in read_objects()}
POD = OBJECTS["Deployment", "facaded"]["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]


def test_every_file_is_part_of_the_kustomization() -> None:
    files = {path.name for path in DIRECTORY.iterdir()}
    assert files == {
        "kustomization.yaml",
        *KUSTOMIZATION["resources"],
        *KUSTOMIZATION["configMapGenerator"][0]["files"],
    }
    assert KUSTOMIZATION["images"][0]["name"] == CONTAINER["image"]


@pytest.mark.parametrize("name", [name for name, document in OBJECTS.items() if document["apiVersion"] not in CUSTOM])
@pytest.mark.parametrize("version", ["1.25", "1.33"])
def test_an_object_is_valid(name: tuple[str, str], version: str) -> None:
    kubernetes_validate.validate(OBJECTS[name], version, strict=True)


def test_what_is_not_valid_is_found() -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**OBJECTS["Service", "facaded"], "spec": {"ports": "80"}}, "1.33", strict=True)


def test_everything_selects_the_pods() -> None:
    labels = POD["metadata"]["labels"]
    selectors = [
        OBJECTS["Deployment", "facaded"]["spec"]["selector"]["matchLabels"],
        OBJECTS["Service", "facaded"]["spec"]["selector"],
        OBJECTS["Service", "facaded-admin"]["spec"]["selector"],
        OBJECTS["PodDisruptionBudget", "facaded"]["spec"]["selector"]["matchLabels"],
        OBJECTS["NetworkPolicy", "facaded"]["spec"]["podSelector"]["matchLabels"],
        POD["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ]
    assert [selector for selector in selectors if selector != labels] == []
    monitored = OBJECTS["ServiceMonitor", "facaded"]["spec"]["selector"]["matchLabels"]
    assert monitored.items() <= OBJECTS["Service", "facaded-admin"]["metadata"]["labels"].items()
    assert not monitored.items() <= OBJECTS["Service", "facaded"]["metadata"]["labels"].items()


def test_the_settings_can_be_used_and_fit_the_pod() -> None:
    config = loading.load(DIRECTORY / "facaded.toml", None, {}, installed()).config
    assert config.answer is Mode.SERVE
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    listen = {"http": config.listen.http, "https": config.listen.https, "admin": config.listen.admin}
    assert {name: addresses[0].port for name, addresses in listen.items()} == ports
    assert POD["spec"]["terminationGracePeriodSeconds"] >= config.stop_delay + 10
    (files,) = config.tls.certificates if config.tls else ()
    mounts = {mount["name"]: mount for mount in CONTAINER["volumeMounts"]}
    assert str(files.key.parent) == mounts["tls"]["mountPath"]
    assert "subPath" not in mounts["tls"], "such a file is not written again after a renewal"


def test_a_history_that_was_set_aside_does_not_evict_the_pod() -> None:
    history = loading.load(DIRECTORY / "facaded.toml", None, {}, installed()).config.history
    (state,) = (volume["emptyDir"] for volume in POD["spec"]["volumes"] if volume["name"] == "state")
    assert int(state["sizeLimit"].removesuffix("Mi")) << 20 >= 2 * history.size + (64 << 20)


def test_the_key_is_readable_for_the_group_alone() -> None:
    (secret,) = (volume["secret"] for volume in POD["spec"]["volumes"] if volume["name"] == "tls")
    assert secret == {"secretName": OBJECTS["Certificate", "facaded"]["spec"]["secretName"], "defaultMode": 0o440}
    assert POD["spec"]["securityContext"]["fsGroup"] == POD["spec"]["securityContext"]["runAsUser"]


def test_every_volume_is_mounted_and_the_root_is_read_only() -> None:
    assert {volume["name"] for volume in POD["spec"]["volumes"]} == {
        mount["name"] for mount in CONTAINER["volumeMounts"]
    }
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"]
    assert CONTAINER["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_clients_keep_their_addresses_and_probes_ask_no_registry() -> None:
    assert OBJECTS["Service", "facaded"]["spec"]["externalTrafficPolicy"] == "Local"
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert CONTAINER["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_the_manual_names_the_files_to_change() -> None:
    assert all(f"`{name}`" in PAGE for name in ("kustomization.yaml", "facaded.toml", "certificate.yaml"))
