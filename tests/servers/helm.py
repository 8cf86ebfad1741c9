"""helm and kubectl, as tools of the tests. One wheel carries both."""

from __future__ import annotations

from tests.servers.wheel_program import WheelProgram

_BOTH = (("helm", "helm/helm"), ("kubectl", "kubectl/kubectl"))
_HOME, _LAYER, _REQUIREMENTS = "helm-4.1.4", "package/lib/layer.zip", "helm/requirements.txt"

HELM = WheelProgram("helm", "4.1.4", _HOME, _BOTH, _LAYER, _REQUIREMENTS)
KUBECTL = WheelProgram("kubectl", "1.34.5", _HOME, _BOTH, _LAYER, _REQUIREMENTS)
