"""Our chart under the real helm: rendered, linted, installed; and what it rendered, as objects."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "rotatord"
CI = sorted((CHART / "ci").glob("*-values.yaml"))
RELEASE, NAMESPACE = "rel", "keys"

Json = dict[str, Any]


def read_yaml(text: str) -> list[Json]:
    """The documents of a text, read as Kubernetes does: YAML 1.1."""
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 1)
    return [document for document in yaml.load_all(text) if document]


class Refused(Exception):
    """Helm would not; the text is all that it said."""


@dataclass(frozen=True)
class Helm:
    """The program, with places of its own: nothing of this machine's helm is read or written."""

    binary: Path
    directory: Path
    kubeconfig: Path | None = None

    def run(self, *arguments: str) -> str:
        """One command's output. Raises Refused."""
        own = {f"HELM_{name}_HOME": str(self.directory / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        reach = ["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig else []
        done = subprocess.run(
            [str(self.binary), *arguments, *reach], capture_output=True, text=True, timeout=100, env=kept | own, check=False
        )
        if done.returncode:
            raise Refused(done.stderr + done.stdout)
        return done.stdout

    def values(self, values: Mapping[str, Any]) -> Path:
        """A values file with these values. JSON is YAML, whatever YAML makes of a word."""
        file = self.directory / f"values-{len(list(self.directory.glob('values-*')))}.yaml"
        file.write_text(json.dumps(values))
        return file

    def template(
        self, *files: Path, chart: Path = CHART, release: str = RELEASE, namespace: str = NAMESPACE, more: Iterable[str] = ()
    ) -> list[Json]:
        """What would be installed, hooks included."""
        return read_yaml(self.text(*files, chart=chart, release=release, namespace=namespace, more=more))

    def text(
        self, *files: Path, chart: Path = CHART, release: str = RELEASE, namespace: str = NAMESPACE, more: Iterable[str] = ()
    ) -> str:
        """The same, as helm prints it."""
        given = [argument for file in files for argument in ("--values", str(file))]
        return self.run("template", release, str(chart), "--namespace", namespace, *given, *more)

    def lint(self, *files: Path, chart: Path = CHART) -> str:
        """What lint says; a warning is a refusal."""
        return self.run("lint", "--strict", str(chart), *(argument for file in files for argument in ("--values", str(file))))


def only(objects: Iterable[Json], kind: str) -> Json:
    """The one object of a kind."""
    found = of_kind(objects, kind)
    assert len(found) == 1, f"{len(found)} of kind {kind}"
    return found[0]


def of_kind(objects: Iterable[Json], kind: str) -> list[Json]:
    """All objects of a kind."""
    return [item for item in objects if item["kind"] == kind]


def pod_specs(objects: Iterable[Json]) -> list[Json]:
    """The specs of all pods that the objects are or make."""
    pods = [item["spec"] for item in objects if item["kind"] == "Pod"]
    return pods + [item["spec"]["template"]["spec"] for item in objects if item["kind"] in {"StatefulSet", "Deployment"}]


def granted(objects: Iterable[Json]) -> set[tuple[str, str, str, str, str]]:
    """Every single thing that the Roles allow: (namespace, group, resource, verb, name); "" where any name will do."""
    return {
        (role["metadata"].get("namespace", ""), group, resource, verb, name)
        for role in objects
        if role["kind"] in {"Role", "ClusterRole"}
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames") or [""]
    }
