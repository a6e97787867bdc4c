"""Each snippet brings a private CA's certificate to the place where the Worker that it starts looks for it."""

import os
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from tests.certificates import self_signed
from tests.kubernetes_tools import VERSIONS, check_restricted
from tests.unit.web.test_snippets import GIVEN, between, mode, paste

from lyftdata.web.snippets import env_file_snippets, snippets

KEY = "lyftdata_0123456789_" + "a" * 38


@pytest.fixture
def ca(tmp_path):
    """Return a CA certificate in PEM."""
    return self_signed(tmp_path)[0].read_text()


def made(ca, command=()):
    """Return the snippets by key."""
    found = snippets(GIVEN, secret="LYFTDATA_WORKER_API_KEY", name="press-01", command=command, ca=ca)
    return {snippet.key: snippet for snippet in found}


def test_the_shell_snippet_gives_the_agent_the_ca_file(ca, tmp_path):
    """The environment variable that the Worker reads names a file with the certificate."""
    show = 'cp "$LYFTDATA_TLS_CA" "$HOME/trusted"'
    paste(made(ca)["shell"].text, tmp_path, lyftdata=show)

    assert (tmp_path / "trusted").read_text() == ca
    assert mode(tmp_path / "here" / "press-01-ca.pem") == 0o644


def test_the_worker_accepts_the_settings_of_the_shell_snippet(ca, tmp_path):
    """`lyftdata config check worker` runs with the environment and the files that the snippet makes."""
    check = f'"{Path(sys.executable).parent}/lyftdata" config check worker > "$HOME/checked" 2>&1'
    text = made(ca)["shell"].text.replace(
        "read -rs LYFTDATA_WORKER_API_KEY", f"LYFTDATA_WORKER_API_KEY={KEY}; :"
    )
    paste(text, tmp_path, lyftdata=check)

    assert "The settings can be used." in (tmp_path / "checked").read_text()


def test_the_systemd_snippet_writes_a_world_readable_ca_file(ca, tmp_path):
    """The service's user is neither root nor known beforehand."""
    (tmp_path / "etc" / "systemd" / "system").mkdir(parents=True)
    paste(made(ca)["systemd"].text.replace("/etc/", f"{tmp_path}/etc/"), tmp_path)

    file = tmp_path / "etc" / "lyftdata-tls" / "press-01.pem"
    assert file.read_text() == ca
    assert (mode(file), mode(file.parent)) == (0o644, 0o755)
    unit = (tmp_path / "etc" / "systemd" / "system" / "lyftdata-press-01.service").read_text()
    assert f'Environment="LYFTDATA_TLS_CA={file}"\n' in unit


def test_compose_mounts_the_ca_file(ca, tmp_path):
    """Where the environment variable says."""
    paste(made(ca)["compose"].text, tmp_path)

    file = tmp_path / "here" / "ca.pem"
    assert (file.read_text(), mode(file)) == (ca, 0o644)
    compose = yaml.safe_load((tmp_path / "here" / "compose.yaml").read_text())
    service = compose["services"]["worker"]
    assert service["secrets"] == ["worker", "ca.pem"]
    assert compose["secrets"]["ca.pem"] == {"file": "./ca.pem"}
    assert service["environment"]["LYFTDATA_TLS_CA"] == "/run/secrets/ca.pem"


def test_kubernetes_mounts_the_ca_from_a_config_map(ca, tmp_path):
    """Both objects are valid for Kubernetes, and the pod is as restricted as without the CA."""
    paste(made(ca)["kubernetes"].text, tmp_path, kubectl='cat > "$1-${2#-}"')

    config, workload = yaml.safe_load_all((tmp_path / "here" / "apply-f").read_text())
    for each in (config, workload):
        kubernetes_validate.validate(each, VERSIONS[0], strict=True)
    assert (config["kind"], config["data"]["ca.pem"]) == ("ConfigMap", ca)
    pod = workload["spec"]["template"]["spec"]
    check_restricted(workload["spec"]["template"])
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    assert environment["LYFTDATA_TLS_CA"] == f"{mounts['ca']}/ca.pem"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["ca"]["configMap"]["name"] == config["metadata"]["name"]


def test_an_archive_of_many_workers_includes_the_ca_file(ca, tmp_path):
    """The snippet for a host trusts ca.pem, next to the environment file."""
    unpack, start = env_file_snippets(archive="all.zip", file="press-01.env", ca=ca)
    assert "with ca.pem, the certificate of the Server's CA" in unpack.how
    (tmp_path / "here").mkdir()
    for name, text in (("press-01.env", "LYFTDATA_URL=https://lyft.example\n"), ("ca.pem", ca)):
        (tmp_path / "here" / name).write_text(text)
    agent = tmp_path / "lyftdata"
    agent.write_text('#!/bin/sh\ncat "$LYFTDATA_TLS_CA" > trusted\n')
    agent.chmod(0o755)

    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-euc", start.text], env=environ, cwd=tmp_path / "here", check=True)

    assert (tmp_path / "here" / "trusted").read_text() == ca


@pytest.mark.parametrize("key", ["shell", "systemd", "compose", "kubernetes"])
def test_without_the_ca_certificate_the_snippet_says_what_to_provide(key):
    """The variable is set, the file is named but not written, and the text names the setting that would include it."""
    snippet = made("")[key]

    assert "LYFTDATA_TLS_CA" in snippet.text
    assert "CERTIFICATE" not in snippet.text
    assert (
        "If LYFTDATA_WORKER_TLS_CA of the Server names that CA's certificate, this text brings it."
        in snippet.how
    )
    named = {
        "shell": "press-01-ca.pem",
        "systemd": "/etc/lyftdata-tls/press-01.pem",
        "compose": "ca.pem",
        "kubernetes": "kubectl create configmap lyftdata-press-01-ca --from-file=ca.pem",
    }
    assert named[key] in snippet.how
    if key == "kubernetes":
        workload = yaml.safe_load(between(snippet.text, "kubectl apply -f -"))
        kubernetes_validate.validate(workload, VERSIONS[0], strict=True)


@pytest.mark.parametrize("key", ["shell", "systemd", "compose", "kubernetes"])
def test_a_snippet_without_a_private_ca_does_not_mention_one(key):
    """Most Servers have a certificate that every system trusts."""
    snippet = made(None)[key]

    assert "LYFTDATA_TLS_CA" not in snippet.text
    assert "CA" not in snippet.how
