"""Helm and kubectl, which `make test` unpacks into the environment, and what they render."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

Object = dict[str, Any]

ROOT = Path(__file__).parents[1]
_TOOLS = Path(sys.prefix) / "kubernetes"
KUBECTL = _TOOLS / "kubectl"
HELM = _TOOLS / "helm"
needs_kubernetes_tools = pytest.mark.skipif(
    not KUBECTL.exists(), reason="no helm and kubectl here (make test unpacks them, on Linux on x86-64)"
)
VERSIONS = ("1.25", "1.31", "1.37")


def kustomized(directory: Path) -> list[Object]:
    """Return what `kubectl apply -k` would send."""
    return _objects([KUBECTL, "kustomize", directory])


def templated(chart: Path, *options: str, release: str) -> list[Object]:
    """Return what `helm install` would send."""
    return _objects([HELM, "template", release, chart, "--namespace", "lyftdata", *options])


def _objects(command: list[str | Path]) -> list[Object]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def of_kind(objects: list[Object], kind: str) -> Object:
    """Return the only object of a kind."""
    (found,) = (each for each in objects if each["kind"] == kind)
    return found


def pods(objects: list[Object]) -> list[Object]:
    """Return the pods that the objects start."""
    return [each["spec"]["template"] for each in objects if "template" in each.get("spec", {})]


def check_restricted(pod: Object) -> None:
    """Check that a pod meets Pod Security's level *restricted*, with a read-only root and no cluster token."""
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)
    assert all(set(volume) & {"configMap", "secret", "emptyDir"} for volume in spec["volumes"])
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {"/tmp", "/var/lib/lyftdata"} <= mounted
