"""The control plane's small parts, without a control plane: what a failed start says, and how the audit log is read."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.servers.audit_log import POLICY, AuditLog
from tests.servers.certificates import Authority
from tests.servers.kubernetes import COMPONENTS, ControlPlane, ControlPlaneError
from tests.servers.kwok_stages import stages
from tests.servers.workloads import settled, workload


def _programs(directory: Path, **scripts: str) -> dict[str, Path]:
    made = {}
    for name in COMPONENTS:
        made[name] = directory / name
        made[name].write_text(f"#!/bin/sh\n{scripts.get(name.replace('-', '_'), 'exec sleep 60')}\n")
        made[name].chmod(0o755)
    return made


def test_a_failed_start_names_the_component_and_its_log(tmp_path: Path) -> None:
    """One component dies: the message has its last words, says where all logs are, and nothing is left running."""
    plane = ControlPlane(_programs(tmp_path, kube_apiserver="echo no such flag: --boom; exit 1"), tmp_path / "plane")
    with pytest.raises(ControlPlaneError) as caught:
        plane.start()
    plane.stop()
    said = str(caught.value)
    assert "the API server did not start" in said
    assert "kube-apiserver last said:\nno such flag: --boom" in said
    assert str(tmp_path / "plane" / "kube-apiserver.log") in said
    assert not any(component.alive for component in plane.components.values())


def test_keys_are_private(tmp_path: Path) -> None:
    """Nobody else on the machine reads them."""
    authority = Authority(tmp_path)
    authority.client("test:admin", "system:masters")
    authority.signing_key("tokens")
    keys = list(tmp_path.glob("*.key"))
    assert len(keys) == 2
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def _record(number: int, stage: str, code: int = 200) -> str:
    record = {
        "auditID": str(number),
        "stage": stage,
        "verb": "watch",
        "requestURI": "/api/v1/namespaces/a/pods?watch=1",
        "user": {"username": "system:serviceaccount:a:b"},
        "objectRef": {"resource": "pods", "namespace": "a"},
        "responseStatus": {"code": code},
    }
    return json.dumps(record) + "\n"


def test_the_audit_log_is_read_on(tmp_path: Path) -> None:
    """Half a line waits for its end; a watch that ended is still one event."""
    file = tmp_path / "audit.log"
    log = AuditLog(file)
    assert log.read() == []
    file.write_text(_record(1, "ResponseStarted") + _record(2, "ResponseComplete")[:20])
    assert [event.code for event in log.read()] == [0]
    file.write_text(_record(1, "ResponseStarted") + _record(2, "ResponseComplete", 403) + _record(1, "ResponseComplete"))
    assert [event.code for event in log.read()] == [200, 403]
    assert [event.code for event in log.read()] == [200, 403]


def test_no_rule_of_the_audit_policy_logs_bodies() -> None:
    """They would carry Secrets."""
    assert {rule["level"] for rule in POLICY["rules"]} == {"None", "Metadata"}


def test_stages_have_names_of_their_own() -> None:
    """kwok takes the last of two with one name."""
    names = [stage["metadata"]["name"] for stage in stages()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("deployment", {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}, True),
        ("deployment", {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}, False),
        ("deployment", {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2, "readyReplicas": 3}, False),
        ("deployment", {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 1}, False),
        ("statefulset", {"observedGeneration": 2, "replicas": 2, "readyReplicas": 2}, True),
        (
            "statefulset",
            {"observedGeneration": 2, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 1, "updateRevision": "b"},
            False,
        ),
        (
            "daemonset",
            {"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberReady": 3},
            True,
        ),
        (
            "daemonset",
            {"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 2, "numberReady": 3},
            False,
        ),
        ("daemonset", {"observedGeneration": 2}, False),
    ],
)
def test_when_a_workload_has_settled(kind: str, status: dict[str, int], expected: bool) -> None:
    """Only when all that is wanted is new and ready."""
    body = workload(kind, "app", replicas=2)
    body["metadata"]["generation"] = 2
    body["status"] = status
    assert settled(body) is expected
