"""How the pretended nodes and pods behave: stages for kwok, ours, keyed on annotations of the pod.

A test gives the annotations in a workload's template (then its pods are born with them) or on a living pod (then it
changes at once, and back when the annotation goes). Without any, a pod is ready as soon as it has a node and is gone as
soon as it is deleted.

=================================  ==================================================================================
``rotatord.test/unready``          runs, but is not ready
``rotatord.test/unready-with``     the same while another annotation of the pod is there (``KEY``), has a value
                                   (``KEY=VALUE``) or is there with a different one (``KEY!=VALUE``): an application
                                   that the new credential breaks
``rotatord.test/crash``            crash-loops, a restart a second
``rotatord.test/pending``          has a node but never starts (an image or a Secret that is not there)
``rotatord.test/ready-after``      becomes ready after so many seconds
``rotatord.test/terminates-after`` takes so many seconds to end
=================================  ==================================================================================
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]

PREFIX = "rotatord.test"
UNREADY = f"{PREFIX}/unready"
UNREADY_WITH = f"{PREFIX}/unready-with"
CRASH = f"{PREFIX}/crash"
PENDING = f"{PREFIX}/pending"
READY_AFTER = f"{PREFIX}/ready-after"
TERMINATES_AFTER = f"{PREFIX}/terminates-after"

_ANNOTATIONS = "(.metadata.annotations // {}) as $a"
# What the pod is to be: pending, crashing, unready or ready.
_MEANT = f"""
{_ANNOTATIONS}
| ($a["{UNREADY_WITH}"] // "" | capture("^(?<key>[^=!]+)((?<how>!?=)(?<value>.*))?$") // null) as $rule
| (if $rule == null then null else $a[$rule.key] end) as $is
| if $a | has("{PENDING}") then "pending"
  elif $a | has("{CRASH}") then "crashing"
  elif $a | has("{UNREADY}") then "unready"
  elif $is == null then "ready"
  elif $rule.how == null then "unready"
  elif ($is == $rule.value) == ($rule.how == "=") then "unready"
  else "ready" end
"""
# What its status says: started or not, and then which of the three.
_SHOWN = """
.status as $s
| if ($s.phase // "Pending") == "Pending" then "pending"
  elif $s.phase != "Running" then "over"
  elif any($s.containerStatuses[]?; .state.waiting != null) then "crashing"
  elif any($s.conditions[]?; .type == "Ready" and .status == "True") then "ready"
  else "unready" end
"""
_OF_A_JOB = 'if any(.metadata.ownerReferences[]?; .kind == "Job") then "yes" else "no" end'
_READY_AFTER = f'{_ANNOTATIONS} | $a["{READY_AFTER}"] // empty | . + "s"'
# A moment, not a span: another change of the pod must not start the wait anew.
_TERMINATED_AT = (
    f'{_ANNOTATIONS} | ($a["{TERMINATES_AFTER}"] // empty | tonumber) as $seconds'
    " | (.metadata.deletionTimestamp | fromdate) - (.metadata.deletionGracePeriodSeconds // 0) + $seconds | todate"
)


def write(file: Path) -> Path:
    """All stages in one file, as kwok's ``--config`` takes it."""
    file.write_text("\n---\n".join(json.dumps(stage, indent=1) for stage in stages()))
    return file


def stages() -> list[Json]:
    """Nodes: ready at once, and they stay so. Pods: from what is shown to what is meant; over; gone."""
    begin = [
        _pod(f"pod-starts-{meant}", [_is(_SHOWN, "pending"), _is(_MEANT, meant)], _status(meant), _READY_AFTER)
        for meant in ("ready", "unready", "crashing")
    ]
    turn = [
        _pod(f"pod-turns-{meant}", [_is(_SHOWN, *shown), _is(_MEANT, meant)], _status(meant))
        for meant, shown in (
            ("ready", ("unready", "crashing")),
            ("unready", ("ready", "crashing")),
            ("crashing", ("ready", "unready")),
        )
    ]
    again = _pod("pod-crashes-again", [_is(_SHOWN, "crashing"), _is(_MEANT, "crashing")], _status("crashing"), '"1s"')
    done = _pod("job-completes", [_is(_SHOWN, "ready"), _is(_OF_A_JOB, "yes")], _COMPLETED, '"100ms"')
    gone = _stage("pod-gone", "Pod", [{"key": ".metadata.deletionTimestamp", "operator": "Exists"}], {"delete": True})
    gone["spec"]["delay"] = {"durationMilliseconds": 0, "durationFrom": {"expressionFrom": _TERMINATED_AT}}
    return [*_nodes(), *begin, *turn, again, done, gone]


def _nodes() -> list[Json]:
    ready = '[.status.conditions[]? | select(.type == "Ready") | .status] | first // "Unknown"'
    begin = _stage("node-starts", "Node", [{"key": ready, "operator": "NotIn", "values": ["True"]}], {"statusTemplate": _NODE})
    beat = _stage("node-beats", "Node", [_is(ready, "True")], {"statusTemplate": _NODE})
    beat["spec"]["delay"] = {"durationMilliseconds": 300_000}  # the lease is what keeps it ready
    return [begin, beat]


def _pod(name: str, when: list[Json], template: str, delay: str = "") -> Json:
    alive = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}
    stage = _stage(name, "Pod", [alive, *when], {"statusTemplate": template})
    if delay:
        stage["spec"]["delay"] = {"durationMilliseconds": 0, "durationFrom": {"expressionFrom": delay}}
    return stage


def _stage(name: str, kind: str, when: list[Json], then: Json) -> Json:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {"resourceRef": {"apiGroup": "v1", "kind": kind}, "selector": {"matchExpressions": when}, "next": then},
    }


def _is(expression: str, *values: str) -> Json:
    return {"key": expression, "operator": "In", "values": list(values)}


_NODE = """
{{ $now := Now }}
phase: Running
conditions:
- type: Ready
  status: "True"
  reason: Pretended
  message: "no machine is behind this"
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ or .metadata.creationTimestamp $now | Quote }}
"""

_STATUS = """
{{ $now := Now }}
phase: Running
startTime: {{ or .status.startTime $now | Quote }}
hostIP: 127.0.0.1
podIP: {{ or .status.podIP ( PodIPWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace ) | Quote }}
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "@READY@", reason: @REASON@, lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: "@READY@", reason: @REASON@, lastTransitionTime: {{ $now | Quote }}}
{{ range .spec.readinessGates }}
- {type: {{ .conditionType | Quote }}, status: "@READY@", lastTransitionTime: {{ $now | Quote }}}
{{ end }}
containerStatuses:
{{ $root := . }}
{{ range $index, $container := .spec.containers }}
{{ $restarts := 0 }}
{{ if $root.status.containerStatuses }}{{ $restarts = ( index $root.status.containerStatuses $index ).restartCount }}{{ end }}
- name: {{ $container.name | Quote }}
  image: {{ $container.image | Quote }}
  ready: @FLAG@
  started: @STARTED@
  @STATE@
{{ end }}
"""
_RUNNING = """restartCount: {{ $restarts }}
  state: {running: {startedAt: {{ or $root.status.startTime $now | Quote }}}}"""
_CRASHED = """restartCount: {{ add1 $restarts }}
  state: {waiting: {reason: CrashLoopBackOff, message: "back-off restarting failed container"}}
  lastState: {terminated: {exitCode: 1, reason: Error, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}"""
_COMPLETED = """
{{ $now := Now }}
phase: Succeeded
conditions:
- {type: ContainersReady, status: "False", reason: PodCompleted, lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: "False", reason: PodCompleted, lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: false
  started: false
  restartCount: 0
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}
{{ end }}
"""
_WORDS = {
    "ready": {"READY": "True", "REASON": '""', "FLAG": "true", "STARTED": "true", "STATE": _RUNNING},
    "unready": {"READY": "False", "REASON": "ContainersNotReady", "FLAG": "false", "STARTED": "true", "STATE": _RUNNING},
    "crashing": {"READY": "False", "REASON": "ContainersNotReady", "FLAG": "false", "STARTED": "false", "STATE": _CRASHED},
}


def _status(meant: str) -> str:
    text = _STATUS
    for word, value in _WORDS[meant].items():
        text = text.replace(f"@{word}@", value)
    return text
