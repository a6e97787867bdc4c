"""The manifests of examples/kubernetes/ are rendered by Kustomize, valid for Kubernetes, and as restricted as their page says."""

import re
import shutil
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from tests.kubernetes_tools import (
    VERSIONS,
    Object,
    check_restricted,
    kustomized,
    needs_kubernetes_tools,
    of_kind,
    pods,
)

from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.settings_table import TABLE
from lyftdata.web.snippets import snippets

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "kubernetes"
PAGE = (ROOT / "docs" / "how-to" / "run-on-kubernetes.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server() -> list[Object]:
    """Return the Server's objects."""
    return kustomized(EXAMPLES / "server")


@pytest.fixture(scope="module")
def worker() -> list[Object]:
    """Return the Worker's objects."""
    return kustomized(EXAMPLES / "worker")


@pytest.fixture(scope="module")
def overlay(tmp_path_factory) -> list[Object]:
    """Return the Server's objects with the page's overlay."""
    root = tmp_path_factory.mktemp("overlay")
    shutil.copytree(EXAMPLES, root / "lyftdata" / "examples" / "kubernetes")
    mine = root / "mine"
    mine.mkdir()
    for name, text in re.findall(r"^```yaml\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        (mine / name).write_text(text)
    return kustomized(mine)


@needs_kubernetes_tools
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(server, worker, overlay, version):
    """By Kubernetes' own JSON schemas, where an unknown field is an error."""
    for each in [*server, *worker, *overlay]:
        kubernetes_validate.validate(each, version, strict=True)


def test_an_unknown_field_is_found():
    """So the check above can fail."""
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            {"apiVersion": "v1", "kind": "Service", "spec": {"port": 1}}, VERSIONS[0], strict=True
        )


@needs_kubernetes_tools
def test_pods_are_restricted(server, worker):
    """They meet Pod Security's level *restricted*, with a read-only root and no cluster token."""
    assert (
        of_kind(server, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        == "restricted"
    )
    for pod in [*pods(server), *pods(worker)]:
        check_restricted(pod)


@needs_kubernetes_tools
def test_the_servers_settings_are_valid(server, tmp_path):
    """The Server accepts the ConfigMap with the files of the Secret, each of which the page makes."""
    settings = of_kind(server, "ConfigMap")["data"]
    (pod,) = pods(server)
    (container,) = pod["spec"]["containers"]
    (secrets,) = (mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "secrets")
    (files,) = re.findall(r"kubectl create secret generic lyftdata-server .*", PAGE)
    given = dict(settings)
    for name, value in settings.items():
        if name.endswith("_FILE"):
            assert Path(value).parent == Path(secrets)
            assert f"--from-file={Path(value).name}" in files.split()
            (tmp_path / Path(value).name).write_text(SECRETS[Path(value).name])
            given[name] = str(tmp_path / Path(value).name)
    assert {name.removesuffix("_FILE") for name in settings} <= {setting.name for setting in TABLE}
    given["LYFTDATA_STAGING_DIR"] = str(tmp_path / "staging")

    read = read_server_settings(given, {})
    assert read.public_url == "https://lyftdata.example.com"


# As the page says to make them; the URL is for a database whose certificate is verified.
SECRETS = {
    "secret-key": "c3s3R0s1T5QAQr7lz1KsT00pKh3adnmaXyZ0123456789",
    "admin-password": "a long first password",
    "database-url": "postgresql://lyftdata:PASSWORD@db.example.com/lyftdata?sslmode=verify-full",
}


@needs_kubernetes_tools
def test_the_servers_objects_match(server):
    """Service, budget and policy select the Server's pods, port names are the container's, and the Secret's name is the page's."""
    (pod,) = pods(server)
    labels = pod["metadata"]["labels"]
    (container,) = pod["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    service, policy = of_kind(server, "Service"), of_kind(server, "NetworkPolicy")

    assert service["spec"]["selector"] == labels
    assert of_kind(server, "PodDisruptionBudget")["spec"]["selector"] == {"matchLabels": labels}
    assert (
        of_kind(server, "PodDisruptionBudget")["spec"]["minAvailable"]
        < of_kind(server, "Deployment")["spec"]["replicas"]
    )
    assert policy["spec"]["podSelector"] == {"matchLabels": labels}
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == ports
    assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} == ports
    probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {probe["port"] for probe in probes.values()} == ports
    assert [probes[kind]["path"] for kind in ("startup", "liveness", "readiness")] == [
        "/healthz",
        "/healthz",
        "/readyz",
    ]
    (secret,) = (volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if "secret" in volume)
    assert f"kubectl create secret generic {secret} --namespace {service['metadata']['namespace']} " in PAGE


@needs_kubernetes_tools
def test_the_overlay_changes_only_what_it_names(overlay):
    """Image and settings are those of the page's overlay, and other settings stay."""
    (pod,) = pods(overlay)
    settings = of_kind(overlay, "ConfigMap")["data"]

    assert pod["spec"]["containers"][0]["image"] == "registry.internal/lyftdata-server:0.1.0"
    assert settings["LYFTDATA_PUBLIC_URL"] == "https://lyftdata.internal"
    assert settings["LYFTDATA_DATABASE_URL_FILE"] == "/run/secrets/lyftdata/database-url"


@needs_kubernetes_tools
def test_the_first_password_can_be_removed(tmp_path):
    """With the page's patch and a null in its settings, no setting and no mounted file of it is left."""
    shutil.copytree(EXAMPLES, tmp_path / "lyftdata" / "examples" / "kubernetes")
    mine = tmp_path / "mine"
    mine.mkdir()
    blocks = dict(re.findall(r"^```yaml\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    (mine / "settings.yaml").write_text(
        f"{blocks['settings.yaml']}  LYFTDATA_ADMIN_INIT_PASSWORD_FILE: null\n"
    )
    (mine / "without-first-password.yaml").write_text(blocks["without-first-password.yaml"])
    patches = f"{blocks['kustomization.yaml']}  - path: without-first-password.yaml\n"
    (mine / "kustomization.yaml").write_text(patches)
    objects = kustomized(mine)

    assert "ADMIN_INIT" not in str(objects)
    [pod] = pods(objects)
    [secret] = [volume["secret"] for volume in pod["spec"]["volumes"] if volume["name"] == "secrets"]
    assert secret["secretName"] == "lyftdata-server"
    assert [item["key"] for item in secret["items"]] == ["database-url", "secret-key"]


def test_the_first_command_creates_a_restricted_namespace():
    """Helm's users create the namespace with the manifest that Kustomize applies."""
    [file] = re.findall(r"kubectl apply --filename (\S+namespace\.yaml)", PAGE)
    namespace = yaml.safe_load((ROOT / file).read_text())

    assert namespace["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}


def test_the_workers_manifest_is_the_uis():
    """examples/kubernetes/worker/worker.yaml is the manifest on the page New Worker."""
    plain = {"LYFTDATA_URL": "https://lyftdata.example.com", "LYFTDATA_WORKER_ID": "press-01"}
    (text,) = (
        snippet.text
        for snippet in snippets(plain, secret="LYFTDATA_WORKER_API_KEY", name="press-01")
        if snippet.key == "kubernetes"
    )
    assert f"\n{(EXAMPLES / 'worker' / 'worker.yaml').read_text()}END\n" in text


@needs_kubernetes_tools
def test_no_manifest_contains_a_secret(server, worker):
    """Secrets are made by a command from files, so none is in a file that may be committed, and none is an environment variable."""
    assert not [each for each in [*server, *worker] if each["kind"] == "Secret"]
    for pod in [*pods(server), *pods(worker)]:
        for container in pod["spec"]["containers"]:
            assert not [entry for entry in container.get("env", []) if "valueFrom" in entry]
            assert not [source for source in container.get("envFrom", []) if "secretRef" in source]
