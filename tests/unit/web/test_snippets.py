"""A snippet that is pasted on a host gives the program that reads it exactly the intended values."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml
from tests.kubernetes_tools import KUBECTL, needs_kubernetes_tools
from tests.terminals import Typist

from lyftdata import __version__
from lyftdata.web.snippets import snippets, worker_unit

ROOT = Path(__file__).parents[3]

ODD = "a b$HOME`id`\"'\\$(id)#: {x}"
GIVEN = {"LYFTDATA_URL": "https://lyft.example", "LYFTDATA_WORKER_ID": "press-01"}


# Arguments with a special meaning in at least one of the four languages, one by one and then all together.
ODD_WORDS = [
    "/opt/a b/run",
    "--x=$HOME",
    "$(id)",
    "`id`",
    "50%",
    "%n",
    "'\"\\",
    "\\n",
    "!!",
    ";",
    "#",
    "{x}: [y]",
    "*",
    "~",
    "",
    "\N{LATIN SMALL LETTER U WITH DIAERESIS}\N{GRINNING FACE}",
    ODD,
]


def made(given=GIVEN, name="press-01", command=()):
    """Return the snippets by key."""
    found = snippets(given, secret="LYFTDATA_WORKER_API_KEY", name=name, command=command)
    return {snippet.key: snippet for snippet in found}


def paste(script, home, **tools):
    """Run a snippet twice in an empty directory, with the secret typed in and stub programs that record what they are given."""
    programs = home / "bin"
    programs.mkdir()
    for tool, text in {"systemctl": "", "docker": "", "kubectl": "", "lyftdata": "", **tools}.items():
        file = programs / tool
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
    (home / "here").mkdir()
    environ = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(home)}
    for _ in range(2):
        subprocess.run(
            ["bash", "-euc", script], env=environ, cwd=home / "here", input=f"{ODD}\n", text=True, check=True
        )


def mode(path):
    """Return a file's permission bits."""
    return path.stat().st_mode & 0o777


def between(script, begin):
    """Return the here-document that begins with a line and ends at END."""
    return script.split(f"{begin} <<'END'\n")[1].split("\nEND")[0]


def test_the_shell_snippet_keeps_the_secret_in_a_private_file(tmp_path):
    """Quotes, dollars and backquotes are not special; only the owner can read the file, which the variables name."""
    shown = 'printf "%s" "$LYFTDATA_WORKER_API_KEY_FILE $LYFTDATA_WORKER_ID" > shown'
    paste(made()["shell"].text, tmp_path, lyftdata=shown)

    file = tmp_path / "here" / "press-01.key"
    assert file.read_text() == f"{ODD}\n"
    assert mode(file) == 0o600
    assert (tmp_path / "here" / "shown").read_text() == f"{file} press-01"


@pytest.mark.parametrize("mode_of_paste", ["bracketed", "line by line"])
def test_the_secret_is_not_in_the_shells_history(tmp_path, mode_of_paste):
    """
    Pasted into an interactive bash, with the secret typed in when asked for, it is neither in the history nor on the terminal.
    """
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "lyftdata"
    program.write_text("#!/bin/sh\necho it runs\n")
    program.chmod(0o755)
    left = tmp_path / "press-01.key"
    left.write_text("an old key")
    left.chmod(0o644)
    environ = {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "HISTFILE": str(tmp_path / "history"),
        "TERM": "xterm",
        "PS1": "ready> ",
    }
    bracketed = mode_of_paste == "bracketed"
    (tmp_path / ".inputrc").write_text(f"set enable-bracketed-paste {'on' if bracketed else 'off'}\n")
    text = made()["shell"].text
    with Typist(["bash", "--norc", "-i"], environ, cwd=tmp_path) as typist:
        typist.wait_for("ready> ")
        typist.enter(f"\x1b[200~{text}\x1b[201~\r" if bracketed else f"{text}\n")
        # At the beginning of a line: the echoed snippet has the same text in the middle of one.
        typist.wait_for("\nPaste the API key, which is not shown, and press Enter: ")
        typist.wait_until_hidden()
        typist.enter(f"{ODD}\n")
        typist.wait_for("it runs")
        typist.enter("exit\n")
        typist.wait_for_end()

    assert left.read_text() == f"{ODD}\n"
    assert mode(left) == 0o600
    history = (tmp_path / "history").read_text()
    assert "lyftdata run worker" in history
    assert ODD not in history
    assert ODD not in typist.written


def test_the_systemd_snippet_writes_a_unit_and_a_file_only_for_root(tmp_path):
    """The unit gets the secret as a credential: neither the unit nor its environment contains it."""
    given = GIVEN | {"LYFTDATA_WORKER_NAME": 'say "50%" \\'}
    (tmp_path / "etc" / "systemd" / "system").mkdir(parents=True)
    paste(made(given)["systemd"].text.replace("/etc/", f"{tmp_path}/etc/"), tmp_path)

    secret = tmp_path / "etc" / "lyftdata" / "press-01.key"
    assert secret.read_text() == f"{ODD}\n"
    assert (mode(secret), mode(secret.parent)) == (0o600, 0o700)
    unit = (tmp_path / "etc" / "systemd" / "system" / "lyftdata-press-01.service").read_text()
    assert f"LoadCredential=key:{secret}\n" in unit
    assert "Environment=LYFTDATA_WORKER_API_KEY_FILE=%d/key\n" in unit
    # systemd.syntax(7): C escapes between double quotes; a percent sign begins a specifier.
    assert 'Environment="LYFTDATA_WORKER_NAME=say \\"50%%\\" \\\\"\n' in unit
    assert ODD not in unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path):
    """`systemd-analyze verify` finds no fault; only the program's path, which does not exist here, is replaced."""
    unit = between(made()["systemd"].text, "cat > /etc/systemd/system/lyftdata-press-01.service")
    file = tmp_path / "lyftdata-press-01.service"
    file.write_text(unit.replace("/opt/lyftdata/bin/lyftdata", "/bin/true") + "\n")

    done = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_example_unit_is_the_unit_that_the_page_gives():
    """examples/systemd/lyftdata-worker.service is what the page New Worker gives, with a program to run."""
    plain = {"LYFTDATA_URL": "https://lyftdata.example.com", "LYFTDATA_WORKER_ID": "press-01"}
    unit = worker_unit(
        plain, secret="LYFTDATA_WORKER_API_KEY", name="worker", command="/bin/sh /opt/press/press.sh"
    )
    file = ROOT / "examples" / "systemd" / "lyftdata-worker.service"

    assert file.read_text() == f"# /etc/systemd/system/lyftdata-worker.service\n{unit}\n"


def test_compose_reads_the_variables_and_a_file_with_the_secret(tmp_path):
    """The secret is a file in a private directory; the files in the project's directory may be committed."""
    paste(made()["compose"].text, tmp_path)

    secret = tmp_path / ".config" / "lyftdata" / "press-01.key"
    assert secret.read_text() == f"{ODD}\n"
    # Docker mounts it with this mode, and the Worker runs in its container as another user.
    assert (mode(secret), mode(secret.parent)) == (0o644, 0o700)
    text = (tmp_path / "here" / "compose.yaml").read_text()
    assert ODD not in text
    compose = yaml.safe_load(text)
    service = compose["services"]["worker"]
    assert service["image"] == f"lyftdata-worker:{__version__}"
    assert service["pull_policy"] == "never"
    assert service["environment"] == {
        "LYFTDATA_URL": "https://lyft.example",
        "LYFTDATA_WORKER_ID": "press-01",
        "LYFTDATA_WORKER_API_KEY_FILE": "/run/secrets/worker",
        # A new volume is not private; the directory that the Worker makes in it is.
        "LYFTDATA_JOBS_DIR": "/var/lib/lyftdata/worker",
    }
    assert service["secrets"] == ["worker"]
    assert compose["secrets"]["worker"]["file"].replace("${HOME}", str(tmp_path)) == str(secret)
    assert service["volumes"] == ["worker:/var/lib/lyftdata"]


def test_compose_does_not_expand_values():
    """A dollar in a value stays a dollar."""
    text = made(GIVEN | {"LYFTDATA_URL": "https://lyft.example/$HOME"})["compose"].text
    service = yaml.safe_load(between(text, "cat > compose.yaml"))["services"]["worker"]
    assert service["environment"]["LYFTDATA_URL"] == "https://lyft.example/$$HOME"


def test_kubernetes_is_given_a_secret_and_a_workload_that_mounts_it(tmp_path):
    """The secret goes to kubectl's standard input, so that no file has it; the Worker's directory outlives the pod."""
    paste(made()["kubernetes"].text, tmp_path, kubectl='cat > "$1-${2#-}"; echo "$@" > "$1-arguments"')
    here = tmp_path / "here"

    assert (here / "create-secret").read_text() == f"{ODD}\n"
    assert (here / "create-arguments").read_text() == (
        "create secret generic lyftdata-press-01 --from-file=secret=/dev/stdin\n"
    )
    assert (here / "apply-arguments").read_text() == "apply -f -\n"
    text = (here / "apply-f").read_text()
    assert ODD not in text
    workload = yaml.safe_load(text)
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == f"registry.example.com/lyftdata-worker:{__version__}"
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    assert environment["LYFTDATA_WORKER_API_KEY_FILE"] == "/run/secrets/lyftdata/secret"
    assert environment["LYFTDATA_WORKER_ID"] == "press-01"
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert environment["LYFTDATA_JOBS_DIR"].startswith(mounts["state"] + "/")
    assert pod["volumes"][0]["secret"]["secretName"] == "lyftdata-press-01"
    # Without it each mount would open the Worker's directory to the group, and the next start would refuse it.
    assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"


@pytest.mark.parametrize(
    ("worker_id", "resource"),
    [("press-01", "press-01"), ("Press.01", "press-01-"), ("-.-", "worker-"), ("a" * 64, "a" * 40 + "-")],
)
def test_kubernetes_resources_have_valid_names(worker_id, resource):
    """RFC 1123 labels: lower case letters, digits, dashes, at most 63."""
    text = made(name=worker_id)["kubernetes"].text
    name = yaml.safe_load(between(text, "kubectl apply -f -"))["metadata"]["name"]
    assert f"create secret generic {name} " in text
    assert re.fullmatch(f"lyftdata-{resource}([0-9a-f]{{8}})?", name)
    assert len(name) <= 63


def test_two_workers_never_share_a_kubernetes_resource():
    """`Press.01` and `press-01` would get the same name, and one secret would overwrite the other."""
    names = {
        re.findall(r"create secret generic (\S+)", made(name=name)["kubernetes"].text)[0]
        for name in ("press-01", "Press-01", "press.01", "PRESS.01", "a" * 40 + "-x", "a" * 40 + "-y")
    }
    assert len(names) == 6


# --- the command that the Worker runs -----------------------------------------------------------------------------------------------

SHOW = 'printf "%s\\0" "$@" > shown'


def arguments(file):
    """Return the arguments that a stub program has written, each with a null character after it."""
    return file.read_text().split("\0")[:-1]


def test_the_shell_snippet_passes_the_command_unchanged(tmp_path):
    """Every character of every argument; without a command, the agent runs alone."""
    paste(made(command=ODD_WORDS)["shell"].text, tmp_path, lyftdata=SHOW)

    assert arguments(tmp_path / "here" / "shown") == ["run", "worker", "--", *ODD_WORDS]
    assert made()["shell"].text.endswith("\nlyftdata run worker\n}")


def test_an_interactive_shell_expands_no_history_in_a_snippet(tmp_path):
    """Pasted line by line into bash, `!` is an ordinary character, in the command and in the files that are written."""
    (tmp_path / "bin").mkdir()
    for tool, text in {"lyftdata": SHOW, "docker": "echo it runs", "install": ""}.items():
        program = tmp_path / "bin" / tool
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    environ = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "TERM": "xterm",
        "PS1": "ready> ",
    }
    (tmp_path / ".inputrc").write_text("set enable-bracketed-paste off\n")
    (tmp_path / ".config" / "lyftdata").mkdir(parents=True)
    command = ["run", "!x it's !!", 'say "!"']
    with Typist(["bash", "--norc", "-i"], environ, cwd=tmp_path) as typist:
        typist.wait_for("ready> ")
        for key in ("shell", "compose"):
            typist.enter(made(command=command)[key].text + "\n")
            typist.wait_for("\nPaste the API key, which is not shown, and press Enter: ")
            typist.wait_until_hidden()
            typist.enter("secret\n")
        typist.wait_for("it runs")
        typist.enter("exit\n")
        typist.wait_for_end()

    assert arguments(tmp_path / "shown")[3:] == command
    compose = yaml.safe_load((tmp_path / "compose.yaml").read_text())
    assert compose["services"]["worker"]["command"][4:] == command


def read_by_systemd(unit):
    """Return the words of ExecStart= as systemd parses them and passes them to the program."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        file = directory / "lyftdata-press-01.service"
        file.write_text(unit.replace("/opt/lyftdata/bin/lyftdata", "/bin/true") + "\n")
        (directory / "run").mkdir()
        prefix = []
        if os.geteuid() == 0:
            # systemd refuses to run its test mode as root.
            directory.chmod(0o755)
            os.chown(directory / "run", 65534, 65534)
            prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": name,
            "SYSTEMD_UNIT_PATH": f"{name}:",
            "XDG_RUNTIME_DIR": f"{name}/run",
        }
        asked = [*prefix, SYSTEMD, "--test", "--user", f"--unit={file.name}"]
        done = subprocess.run(asked, env=environ, capture_output=True, text=True, check=False)
    (line,) = re.findall(r"Command Line: (/bin/true .*)", done.stdout + done.stderr)
    # Plain words, or words in double quotes with backslash escapes.
    words = [
        re.sub(r"\\(.)", r"\1", quoted) if quoted or not word else word
        for quoted, word in re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line)
    ]
    # `$$` becomes `$` when the program is started (systemd.service(5)).
    return [word.replace("$$", "$") for word in words]


SYSTEMD = "/usr/lib/systemd/systemd"


@pytest.mark.skipif(not Path(SYSTEMD).exists(), reason="needs systemd")
def test_systemd_passes_the_command_unchanged():
    """Checked with systemd itself: no specifier, no variable, no second command. The program is restarted when it fails."""
    unit = between(
        made(command=ODD_WORDS)["systemd"].text, "cat > /etc/systemd/system/lyftdata-press-01.service"
    )

    assert read_by_systemd(unit) == [
        "/bin/true",
        "run",
        "worker",
        "--restart",
        "on-failure",
        "--",
        *ODD_WORDS,
    ]
    assert "# Add the program" not in unit


def test_containers_run_the_command_unchanged(tmp_path):
    """Compose and Kubernetes expand no variable in it (for both, `$$` is a dollar); the program must be in the image."""
    given = made(command=ODD_WORDS)
    compose = yaml.safe_load(between(given["compose"].text, "cat > compose.yaml"))
    workload = yaml.safe_load(between(given["kubernetes"].text, "kubectl apply -f -"))
    (container,) = workload["spec"]["template"]["spec"]["containers"]

    for words in (compose["services"]["worker"]["command"], container["args"]):
        assert [word.replace("$$", "$") for word in words] == ["lyftdata", "run", "worker", "--", *ODD_WORDS]
        assert [word for word in words if re.search(r"(?<!\$)(\$\$)*\$(?!\$)", word)] == []
    for key in ("compose", "kubernetes"):
        assert "The program must be in it" in given[key].how
        assert "The program must" not in made()[key].how


@needs_kubernetes_tools
def test_kubectl_parses_the_command_unchanged():
    """Checked with kubectl's own parser, which accepts no escape that only JSON has."""
    text = between(made(command=ODD_WORDS)["kubernetes"].text, "kubectl apply -f -")
    asked = [str(KUBECTL), "annotate", "--local", "-f", "-", "-o", "json", "x=y"]
    done = subprocess.run(asked, input=text, capture_output=True, text=True, check=True)

    (container,) = json.loads(done.stdout)["spec"]["template"]["spec"]["containers"]
    assert [word.replace("$$", "$") for word in container["args"][4:]] == ODD_WORDS
