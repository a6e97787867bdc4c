"""The charts of packaging/helm/ pass Helm's lint, render valid Kubernetes objects, and deploy the same Servers as Kustomize."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from tests.kubernetes_tools import (
    HELM,
    ROOT,
    VERSIONS,
    Object,
    check_restricted,
    kustomized,
    needs_kubernetes_tools,
    of_kind,
    pods,
    templated,
)

from lyftdata import __version__
from lyftdata.core.settings import SECRET_VARIABLES
from lyftdata.server.runtime.settings_table import TABLE

CHARTS = ROOT / "packaging" / "helm"
SERVER, WORKER = CHARTS / "lyftdata-server", CHARTS / "lyftdata-worker"
EXAMPLES = ROOT / "examples" / "kubernetes"
PAGE = (ROOT / "docs" / "how-to" / "run-on-kubernetes.md").read_text(encoding="utf-8")
SERVER_VALUES = (
    *("--set", "image.repository=registry.example.com/lyftdata-server"),
    *("--set", "publicUrl=https://lyftdata.example.com"),
    *("--set", "networkPolicy.database.cidr=10.0.0.10/32"),
)
WORKER_VALUES = (
    *("--set", "image.repository=registry.example.com/lyftdata-worker"),
    *("--set", "url=https://lyftdata.example.com"),
    *("--set", "secret.name=lyftdata-press-01"),
)
OWN_CA = ("--set", "ca.configMap=our-ca")
# Labels and annotations that Helm adds, so that a release knows its own objects.
OF_HELM = {
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
    "checksum/settings",
}


def refusal(chart: Path, *options: str) -> str:
    """Return why Helm refuses to render a chart with these values."""
    done = subprocess.run(
        [HELM, "template", "any", chart, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0, done.stdout
    return done.stderr


def values_of_page(name: str, directory: Path) -> list[str]:
    """Write a values file of the page; return the option for it."""
    [text] = re.findall(rf"^```yaml\n# {re.escape(name)}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    file = directory / name
    file.write_text(text)
    return ["--values", str(file)]


def without_helm(found: object) -> object:
    """Return objects without Helm's additions and without values that are then empty."""
    if isinstance(found, dict):
        kept = {key: without_helm(value) for key, value in found.items() if key not in OF_HELM}
        return {key: value for key, value in kept.items() if value not in ({}, "IfNotPresent")}
    return [without_helm(each) for each in found] if isinstance(found, list) else found


def by_kind(objects: list[Object]) -> dict[str, object]:
    """Return objects by kind, without their namespace and labels."""
    found = {}
    for each in objects:
        each["metadata"].pop("namespace", None)
        # With Kustomize only the Deployment and the Service have the label; with Helm all objects have it.
        each["metadata"].pop("labels", None)
        found[each["kind"]] = without_helm(each)
    return found


@needs_kubernetes_tools
@pytest.mark.parametrize(("chart", "values"), [(SERVER, SERVER_VALUES), (WORKER, WORKER_VALUES)])
def test_the_charts_pass_lint(chart, values):
    """`helm lint --strict` reports nothing; with it, a warning is an error."""
    done = subprocess.run(
        [HELM, "lint", "--strict", chart, *values], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


@needs_kubernetes_tools
def test_helm_and_kustomize_deploy_the_same_servers():
    """Every field is equal, except the namespace, which Helm makes, and Helm's own labels."""
    with_helm = by_kind(templated(SERVER, *SERVER_VALUES, release="lyftdata-server"))
    with_kustomize = by_kind(kustomized(EXAMPLES / "server"))

    del with_kustomize["Namespace"]
    assert with_helm == with_kustomize


@needs_kubernetes_tools
def test_helm_and_kustomize_deploy_the_same_worker_with_an_api_key():
    """The pods are equal, except for labels and for which file of the Secret is mounted."""
    [with_helm] = pods(templated(WORKER, *WORKER_VALUES, "--set", "workerId=press-01", release="press-01"))
    [with_kustomize] = pods(kustomized(EXAMPLES / "worker"))

    [secret] = (volume["secret"] for volume in with_helm["spec"]["volumes"] if "secret" in volume)
    assert secret.pop("items") == [{"key": "secret", "path": "secret"}]
    assert without_helm(with_helm["spec"]) == with_kustomize["spec"]


@needs_kubernetes_tools
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_and_restricted(version, tmp_path):
    """With the page's values and commands, and with every value that is off by default."""
    more = (
        *("--set", "podAnnotations.a=b,nodeSelector.disk=ssd,image.pullSecrets={registry}"),
        *("--set-json", 'tolerations=[{"key":"dedicated","operator":"Exists"}]'),
        *("--set-json", 'networkPolicy.egress=[{"ports":[{"protocol":"TCP","port":443}]}]'),
        *("--set", f"image.digest=sha256:{'0' * 64}"),
    )
    with_ca = values_of_page("with-a-ca-of-your-own.yaml", tmp_path)
    server = values_of_page("values.yaml", tmp_path)
    everything = [
        templated(SERVER, *server, release="lyftdata-server"),
        templated(SERVER, *server, *more, *with_ca, "--set", "replicas=1", release="other"),
        templated(WORKER, *WORKER_VALUES, *more, *OWN_CA, "--set", "storage.className=fast", release="press"),
        *(templated(ROOT / chart, *options, release=name) for name, chart, options in _installed_workers()),
    ]

    for objects in everything:
        for each in objects:
            kubernetes_validate.validate(each, version, strict=True)
        for pod in pods(objects):
            check_restricted(pod)


def _installed_workers() -> list[tuple[str, str, list[str]]]:
    """Return name, chart and options of each `helm install` of Workers on the page."""
    found = []
    for line in PAGE.replace("\\\n", " ").splitlines():
        if line.startswith("$ helm install press"):
            _, _, name, chart, *options = shlex.split(line.removeprefix("$ "))
            found.append((name, chart, [each for each in options if each not in ("--namespace", "lyftdata")]))
    return found


@needs_kubernetes_tools
def test_the_commands_on_the_page_deploy_what_it_says(tmp_path):
    """One Worker with its ID and key, twenty that enroll with the names of their pods, and Servers behind the Ingress."""
    (one, [key, *_]), (twenty, [enrolling, *_]) = (
        (of_kind(objects, "StatefulSet"), pods(objects)[0]["spec"]["containers"])
        for objects in (
            templated(ROOT / chart, *options, release=name) for name, chart, options in _installed_workers()
        )
    )
    assert (one["spec"]["replicas"], twenty["spec"]["replicas"]) == (1, 20)
    assert {"name": "LYFTDATA_WORKER_ID", "value": "press-01"} in key["env"]
    assert {
        "name": "LYFTDATA_WORKER_NAME",
        "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
    } in enrolling["env"]
    assert {
        "name": "LYFTDATA_AUTO_ENROLLMENT_KEY_FILE",
        "value": "/run/secrets/lyftdata/key",
    } in enrolling["env"]

    servers = templated(SERVER, *values_of_page("values.yaml", tmp_path), release="lyftdata-server")
    ingress = of_kind(servers, "Ingress")["spec"]
    assert ingress["tls"] == [{"hosts": ["lyftdata.internal"], "secretName": "lyftdata-tls"}]
    assert of_kind(servers, "ConfigMap")["data"]["LYFTDATA_TRUSTED_PROXIES"] == "10.42.0.0/16"


@needs_kubernetes_tools
def test_the_first_password_can_be_removed(tmp_path):
    """With the page's second file, no setting and no mounted file of it is left."""
    after = values_of_page("after-the-first-sign-in.yaml", tmp_path)
    objects = templated(SERVER, *SERVER_VALUES, *after, release="lyftdata-server")

    assert "admin" not in yaml.safe_dump(objects).lower()


@needs_kubernetes_tools
def test_a_changed_setting_restarts_the_servers():
    """The pods' annotation changes with the ConfigMap, which running pods do not reread."""
    before, same, after = (
        pods(templated(SERVER, *SERVER_VALUES, "--set", f"settings.{given}", release="a"))[0]["metadata"]
        for given in (
            "LYFTDATA_LOG_LEVEL=info",
            "LYFTDATA_LOG_LEVEL=info",
            "LYFTDATA_LOG_LEVEL=debug",
        )
    )

    assert before == same
    assert before != after


@needs_kubernetes_tools
def test_a_custom_ca_is_mounted_where_the_settings_expect_it(tmp_path):
    """At the path in the page's URL, and in a Worker's LYFTDATA_TLS_CA; without the value neither exists."""
    with_ca = values_of_page("with-a-ca-of-your-own.yaml", tmp_path)
    file = "/etc/lyftdata-tls/ca.pem"
    assert f"sslrootcert={file}" in PAGE
    [server] = pods(templated(SERVER, *SERVER_VALUES, *with_ca, release="a"))
    [worker] = pods(templated(WORKER, *WORKER_VALUES, *OWN_CA, release="a"))
    for spec in (server["spec"], worker["spec"]):
        [container] = spec["containers"]
        [mount] = [m for m in container["volumeMounts"] if m["mountPath"] == "/etc/lyftdata-tls"]
        [volume] = [v for v in spec["volumes"] if v["name"] == mount["name"]]
        assert volume["configMap"] == {"name": "our-ca", "items": [{"key": "ca.pem", "path": "ca.pem"}]}
        assert mount["readOnly"]
    assert {"name": "LYFTDATA_TLS_CA", "value": file} in worker["spec"]["containers"][0]["env"]

    [pod] = pods(templated(WORKER, *WORKER_VALUES, release="a"))
    assert "lyftdata-tls" not in str(pod)
    assert "LYFTDATA_TLS_CA" not in str(pod)


@needs_kubernetes_tools
def test_traces_can_be_turned_on():
    """The collector's address is a setting like the Server's own settings."""
    address = "https://collector.example.com:4318"
    options = (
        "--set-string",
        f"settings.LYFTDATA_TRACING=yes,settings.OTEL_EXPORTER_OTLP_ENDPOINT={address}",
    )
    settings = of_kind(templated(SERVER, *SERVER_VALUES, *options, release="a"), "ConfigMap")["data"]

    assert settings["LYFTDATA_TRACING"] == "yes"
    assert settings["OTEL_EXPORTER_OTLP_ENDPOINT"] == address


@needs_kubernetes_tools
def test_each_secret_setting_must_be_a_file():
    """It cannot be a value, which would be in a ConfigMap, but it can be a file of the Secret."""
    # For both programs, since people may use one values file for all of them.
    for chart, values in ((SERVER, SERVER_VALUES), (WORKER, WORKER_VALUES)):
        given = [option for name in SECRET_VARIABLES for option in ("--set", f"settings.{name}=x")]
        complaint = refusal(chart, *values, *given)
        assert [name for name in SECRET_VARIABLES if f"invalid propertyName '{name}'" not in complaint] == []
    for name in sorted(setting.name for setting in TABLE if setting.secret):
        objects = templated(SERVER, *SERVER_VALUES, "--set", f"secret.files.{name}_FILE=file", release="a")
        assert of_kind(objects, "ConfigMap")["data"][f"{name}_FILE"] == "/run/secrets/lyftdata/file"


@needs_kubernetes_tools
@pytest.mark.parametrize(
    ("chart", "options", "complaint"),
    [
        (SERVER, (), "/image/repository"),
        (SERVER, (*SERVER_VALUES, "--set", "publicUrl=http://lyftdata.example.com"), "/publicUrl"),
        (SERVER, (*SERVER_VALUES, "--set", "replica=3"), "'replica'"),
        (SERVER, (*SERVER_VALUES, "--set", "networkPolicy.database.cidr="), "the address of PostgreSQL"),
        (SERVER, (*SERVER_VALUES, "--set", "ingress.enabled=true"), "ingress.tlsSecretName"),
        (SERVER, (*SERVER_VALUES, "--set", "secret.files.LYFTDATA_SECRET_KEY_FILE=null"), "SECRET_KEY_FILE"),
        (SERVER, (*SERVER_VALUES, "--set", "settings.LYFTDATA_DISABLE_TLS=no"), "LYFTDATA_DISABLE_TLS"),
        # Without these values, every source and every port would be allowed.
        (SERVER, (*SERVER_VALUES, "--set", "networkPolicy=null"), "'networkPolicy'"),
        (SERVER, (*SERVER_VALUES, "--set", "networkPolicy.enabled=null"), "'enabled'"),
        (SERVER, (*SERVER_VALUES, "--set", "networkPolicy.clientNamespaces=null"), "'clientNamespaces'"),
        (SERVER, (*SERVER_VALUES, "--set-json", "networkPolicy.clientNamespaces=[]"), "clientNamespaces"),
        (SERVER, (*SERVER_VALUES, "--set", "networkPolicy.database.port=null"), "'port'"),
        (WORKER, (*WORKER_VALUES, "--set", "networkPolicy.serverPort=null"), "'serverPort'"),
        (SERVER, (*SERVER_VALUES, "--set", "settings.OTEL_EXPORTER_OTLP_HEADERS=a=b"), "OTLP_HEADERS"),
        (WORKER, (), "/secret/name"),
        (WORKER, (*WORKER_VALUES, "--set", "workerId=press-01,replicas=2"), "is one program"),
    ],
)
def test_wrong_values_are_refused(chart, options, complaint):
    """Before anything is sent to a cluster; the message names the value."""
    assert complaint in refusal(chart, *options)


@needs_kubernetes_tools
@pytest.mark.parametrize(
    ("chart", "values", "names"),
    [
        (
            SERVER,
            (*SERVER_VALUES, "--set", "ingress.enabled=true,ingress.tlsSecretName=tls"),
            [
                "image.repository",
                "image.tag",
                "image.pullSecrets[0]",
                "secret.name",
                "trustedProxies[0]",
                "settings.LYFTDATA_LOG_LEVEL",
                "ingress.className",
                "ingress.annotations.a",
                "ingress.tlsSecretName",
                "networkPolicy.clientNamespaces[0]",
                "podAnnotations.a",
                "nodeSelector.a",
            ],
        ),
        (
            WORKER,
            WORKER_VALUES,
            [
                "image.repository",
                "image.tag",
                "image.pullSecrets[0]",
                "secret.name",
                "command[0]",
                "settings.LYFTDATA_LOG_LEVEL",
                "storage.size",
                "storage.className",
                "podAnnotations.a",
                "nodeSelector.a",
            ],
        ),
    ],
)
def test_values_cannot_inject_yaml(chart, values, names):
    """A user of a shared cluster who may choose a name cannot choose anything else of a pod; and `1e3` stays text."""

    def rendered(text):
        given = [option for name in names for option in ("--set-json", f"{name}={json.dumps(text)}")]
        objects = templated(chart, *values, *given, release="any")
        # The checksum differs for each setting.
        return re.sub(r"[0-9a-f]{64}", "", json.dumps(objects, sort_keys=True))

    plain = rendered("plain")
    for text in ('a"\n      hostNetwork: true\n# {{ 1 }}', "1e3", "a: b, c}"):
        assert rendered(text) == plain.replace("plain", json.dumps(text)[1:-1])


@needs_kubernetes_tools
def test_a_program_gets_its_arguments_unchanged():
    """Kubernetes expands no variables in them."""
    options = ("--set-json", 'command=["sh", "-c", "echo \\"$(HOME)\\" $$ \\u00fc: #"]')
    [pod] = pods(templated(WORKER, *WORKER_VALUES, *options, release="press"))

    args = pod["spec"]["containers"][0]["args"]
    assert args[:6] == ["lyftdata", "run", "worker", "--", "sh", "-c"]
    assert args[6] == 'echo "$$(HOME)" $$$$ ü: #'


def test_charts_have_the_version_of_the_project():
    """So the default image of a chart is that of its release."""
    for chart in (SERVER, WORKER):
        said = yaml.safe_load((chart / "Chart.yaml").read_text(encoding="utf-8"))
        assert (said["name"], said["version"], said["appVersion"]) == (chart.name, __version__, __version__)
