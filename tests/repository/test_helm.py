"""The charts of packaging/helm/: linted and rendered by Helm, valid for Kubernetes, and the same Servers as with Kustomize."""

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
# What Helm adds to a name, so that a release knows its own objects.
OF_HELM = {
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
    "checksum/settings",
}


def refusal(chart: Path, *options: str) -> str:
    """Return why a chart is not rendered with these values."""
    done = subprocess.run(
        [HELM, "template", "any", chart, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0, done.stdout
    return done.stderr


def values_of_page(name: str, directory: Path) -> list[str]:
    """Return the option that gives a file of the page."""
    [text] = re.findall(rf"^```yaml\n# {re.escape(name)}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    file = directory / name
    file.write_text(text)
    return ["--values", str(file)]


def without_helm(found: object) -> object:
    """Return objects without what is Helm's, and without what is empty then."""
    if isinstance(found, dict):
        kept = {key: without_helm(value) for key, value in found.items() if key not in OF_HELM}
        return {key: value for key, value in kept.items() if value not in ({}, "IfNotPresent")}
    return [without_helm(each) for each in found] if isinstance(found, list) else found


def by_kind(objects: list[Object]) -> dict[str, object]:
    """Return objects by their kind, without what only says where they go."""
    found = {}
    for each in objects:
        each["metadata"].pop("namespace", None)
        # The Deployment and the Service have a label of their own with Kustomize, and all have it with Helm.
        each["metadata"].pop("labels", None)
        found[each["kind"]] = without_helm(each)
    return found


@needs_kubernetes_tools
@pytest.mark.parametrize(("chart", "values"), [(SERVER, SERVER_VALUES), (WORKER, WORKER_VALUES)])
def test_helm_finds_nothing_to_complain_of(chart, values):
    """`helm lint --strict`, in which a warning is an error."""
    done = subprocess.run(
        [HELM, "lint", "--strict", chart, *values], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


@needs_kubernetes_tools
def test_servers_are_those_of_kustomize():
    """Field by field, but for the namespace, which Helm makes, and Helm's own labels."""
    with_helm = by_kind(templated(SERVER, *SERVER_VALUES, release="lyftdata-server"))
    with_kustomize = by_kind(kustomized(EXAMPLES / "server"))

    del with_kustomize["Namespace"]
    assert with_helm == with_kustomize


@needs_kubernetes_tools
def test_a_worker_with_an_api_key_is_that_of_kustomize():
    """The pod, but for its labels and for which file of the Secret is mounted."""
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
    """Return name, chart and options of the page's `helm install`s of Workers."""
    found = []
    for line in PAGE.replace("\\\n", " ").splitlines():
        if line.startswith("$ helm install press"):
            _, _, name, chart, *options = shlex.split(line.removeprefix("$ "))
            found.append((name, chart, [each for each in options if each not in ("--namespace", "lyftdata")]))
    return found


@needs_kubernetes_tools
def test_the_commands_of_the_page_start_what_it_says(tmp_path):
    """One Worker with its ID and key; twenty that enroll under the names of their pods; Servers behind the Ingress of their address."""
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
def test_the_first_password_is_taken_out(tmp_path):
    """With the page's second file, neither a setting nor a mounted file is left of it."""
    after = values_of_page("after-the-first-sign-in.yaml", tmp_path)
    objects = templated(SERVER, *SERVER_VALUES, *after, release="lyftdata-server")

    assert "admin" not in yaml.safe_dump(objects).lower()


@needs_kubernetes_tools
def test_a_changed_setting_starts_the_servers_again():
    """The pods' annotation follows the ConfigMap, which pods that run do not read again."""
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
def test_a_ca_of_your_own_is_where_the_settings_look_for_it(tmp_path):
    """The file that the page's URL names, and LYFTDATA_TLS_CA of a Worker; without the value there is neither."""
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
    """The collector's address is a setting like the Server's own."""
    address = "https://collector.example.com:4318"
    options = (
        "--set-string",
        f"settings.LYFTDATA_TRACING=yes,settings.OTEL_EXPORTER_OTLP_ENDPOINT={address}",
    )
    settings = of_kind(templated(SERVER, *SERVER_VALUES, *options, release="a"), "ConfigMap")["data"]

    assert settings["LYFTDATA_TRACING"] == "yes"
    assert settings["OTEL_EXPORTER_OTLP_ENDPOINT"] == address


@needs_kubernetes_tools
def test_each_secret_setting_is_a_file():
    """None can be given as a value, which would be in a ConfigMap, and each can be given as a file of the Secret."""
    # Of any program: one file of values may be written for all of them.
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
        # Nothing in their place would be every source, and every port.
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
    """Before anything is sent to a cluster, with the value's name."""
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
def test_no_value_says_more_than_itself(chart, values, names):
    """Injection: who may choose a name, in a shared cluster, chooses nothing else of a pod; nor is `1e3` a number."""

    def rendered(text):
        given = [option for name in names for option in ("--set-json", f"{name}={json.dumps(text)}")]
        objects = templated(chart, *values, *given, release="any")
        # Its checksum is another for each setting.
        return re.sub(r"[0-9a-f]{64}", "", json.dumps(objects, sort_keys=True))

    plain = rendered("plain")
    for text in ('a"\n      hostNetwork: true\n# {{ 1 }}', "1e3", "a: b, c}"):
        assert rendered(text) == plain.replace("plain", json.dumps(text)[1:-1])


@needs_kubernetes_tools
def test_a_program_gets_its_arguments_as_they_are_written():
    """Kubernetes puts no variable into them."""
    options = ("--set-json", 'command=["sh", "-c", "echo \\"$(HOME)\\" $$ \\u00fc: #"]')
    [pod] = pods(templated(WORKER, *WORKER_VALUES, *options, release="press"))

    args = pod["spec"]["containers"][0]["args"]
    assert args[:6] == ["lyftdata", "run", "worker", "--", "sh", "-c"]
    assert args[6] == 'echo "$$(HOME)" $$$$ ü: #'


def test_charts_have_the_version_of_the_project():
    """The image that a chart starts by default is that of its release."""
    for chart in (SERVER, WORKER):
        said = yaml.safe_load((chart / "Chart.yaml").read_text(encoding="utf-8"))
        assert (said["name"], said["version"], said["appVersion"]) == (chart.name, __version__, __version__)
