"""What is pasted on a host says what it should to the program that reads it."""

import re
import subprocess

import pytest
import yaml

from lyftdata.web.snippets import snippets

ODD = "a b$HOME`id`\"'\\$(id)#: {x}"
GIVEN = {
    "LYFTDATA_URL": "https://lyft.example",
    "LYFTDATA_WORKER_ID": "press-01",
    "LYFTDATA_WORKER_API_KEY": ODD,
}


def text(key, given=GIVEN):
    """Return one of the texts."""
    made = snippets(given, secret="LYFTDATA_WORKER_API_KEY", name="press-01")
    return next(snippet.text for snippet in made if snippet.key == key)


def test_the_shell_reads_every_value_as_it_is():
    """Quotes, dollars and backquotes are characters, not commands."""
    script = text("shell").removesuffix("lyftdata run worker") + 'printf %s "$LYFTDATA_WORKER_API_KEY"'
    for shell in ("bash", "sh"):
        done = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == (ODD, "")


def test_the_systemd_text_writes_its_files(tmp_path):
    """The environment file is for root alone and never in an argument; the unit names it."""
    script = text("systemd").replace("/etc/", f"{tmp_path}/").replace("systemctl", "true")
    (tmp_path / "systemd" / "system").mkdir(parents=True)
    subprocess.run(["bash", "-euc", script], check=True)

    environment = tmp_path / "lyftdata" / "press-01.env"
    assert environment.stat().st_mode & 0o777 == 0o600
    assert environment.parent.stat().st_mode & 0o777 == 0o700
    (line,) = [line for line in environment.read_text().splitlines() if "API_KEY" in line]
    # systemd.exec(5): within double quotes a backslash takes the special meaning of the next character away.
    assert line == 'LYFTDATA_WORKER_API_KEY="a b\\$HOME\\`id\\`\\"\'\\\\\\$(id)#: {x}"'
    unit = (tmp_path / "systemd" / "system" / "lyftdata-press-01.service").read_text()
    assert "EnvironmentFile=" in unit
    assert ODD not in unit


def test_compose_reads_the_variables_and_a_file_with_the_secret():
    """The secret is in a file of its own, not in the environment that `docker inspect` shows."""
    service = yaml.safe_load(text("compose"))["services"]["worker"]

    assert service["environment"] == {
        "LYFTDATA_URL": "https://lyft.example",
        "LYFTDATA_WORKER_ID": "press-01",
        "LYFTDATA_WORKER_API_KEY_FILE": "/run/secrets/worker",
        "LYFTDATA_JOBS_DIR": "/var/lib/lyftdata",
    }
    assert service["secrets"] == ["worker"]


def test_compose_expands_nothing_of_a_value():
    """A dollar in a value is a dollar."""
    given = GIVEN | {"LYFTDATA_URL": "https://lyft.example/$HOME"}
    service = yaml.safe_load(text("compose", given))["services"]["worker"]
    assert service["environment"]["LYFTDATA_URL"] == "https://lyft.example/$$HOME"


def test_kubernetes_reads_a_secret_and_a_workload_that_mounts_it():
    """The secret is an object of its own, mounted read-only; the Worker's directory outlives the pod."""
    secret, workload = yaml.safe_load_all(text("kubernetes"))

    assert secret["stringData"] == {"secret": ODD}
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    assert environment["LYFTDATA_WORKER_API_KEY_FILE"] == "/run/secrets/lyftdata/secret"
    assert environment["LYFTDATA_WORKER_ID"] == "press-01"
    assert ODD not in str(workload)
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert environment["LYFTDATA_JOBS_DIR"].startswith(mounts["state"] + "/")
    assert pod["volumes"][0]["secret"]["secretName"] == secret["metadata"]["name"]


@pytest.mark.parametrize(
    ("worker_id", "resource"),
    [("press-01", "press-01"), ("Press.01", "press-01-"), ("-.-", "worker-"), ("a" * 64, "a" * 40 + "-")],
)
def test_resources_have_names_that_kubernetes_takes(worker_id, resource):
    """RFC 1123 labels: lower case letters, digits, dashes, at most 63."""
    made = snippets(GIVEN, secret="LYFTDATA_WORKER_API_KEY", name=worker_id)
    secret, _ = yaml.safe_load_all(made[-1].text)
    name = secret["metadata"]["name"]
    assert re.fullmatch(f"lyftdata-{resource}([0-9a-f]{{8}})?", name)
    assert len(name) <= 63


def test_two_workers_are_never_one_resource():
    """`Press.01` and `press-01` would be the same name, and the one's secret written over the other's."""
    names = {
        snippets(GIVEN, secret="LYFTDATA_WORKER_API_KEY", name=name)[-1].text.split("name: ")[1].split()[0]
        for name in ("press-01", "Press-01", "press.01", "PRESS.01", "a" * 40 + "-x", "a" * 40 + "-y")
    }
    assert len(names) == 6
