"""
Copyable texts for a Worker's host, complete except for the secret, with each value quoted for its language.

A shell stores pasted text in its history, including here-documents. So no text contains the secret: it prompts for it
(`read -s`, in bash and zsh), which neither displays nor stores anything. Each text is one compound command: a terminal that pastes
line by line would otherwise pass the next line to `read`.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence

import msgspec

from lyftdata import __version__
from lyftdata.core.origins import is_loopback
from lyftdata.web.pasted_ca import about_ca, ca_variable, config_map, export_ca, write_ca

Variables = Mapping[str, str]

_IMAGE = f"lyftdata-worker:{__version__}"
_BUILD = f"docker build --target worker --tag {_IMAGE} ."
_PROMPTS = {"LYFTDATA_WORKER_API_KEY": "API key", "LYFTDATA_AUTO_ENROLLMENT_KEY": "enrollment key"}
# The delimiter of here-documents. No value contains such a line: all of them are single lines of a known form.
_END = "END"
_PLAIN_WORD = re.compile(r"[A-Za-z0-9._/:=@,+-]+")


class Snippet(msgspec.Struct, frozen=True):
    """One way to start a Worker: a title, instructions in a sentence, and the text to paste."""

    key: str
    title: str
    how: str
    text: str


def snippets(
    plain: Variables, *, secret: str, name: str, command: Sequence[str] = (), ca: str | None = None
) -> list[Snippet]:
    """
    Return the ways to start a Worker.

    Each stores the secret in a separate file: environment variables are shown by `docker inspect`, inherited, and stored in
    configuration that ends up in a repository. The texts install nothing: they run what was installed or built before, in the version
    of this Server.

    Args:
        plain: The Worker's variables with their values, without the secret.
        secret: The variable of the secret.
        name: The name of files and services: letters, digits, dots and dashes.
        command: The program that it runs, and its arguments: printable, from an operator; empty for none.
        ca: Certificates (PEM) that it needs to trust the Server; see `pasted_ca`.
    """
    image = " The program must be in it: build your image from that one." if command else ""
    loopback = " Replace the Server's address by one that leads to it from inside a container."
    note = loopback if is_loopback(plain["LYFTDATA_URL"]) else ""
    return [
        Snippet(
            "shell",
            "Shell",
            f"Paste into bash or zsh on the Worker's host, where lyftdata {__version__} is installed."
            + about_ca(ca, how=f"put its certificate there as {name}-ca.pem"),
            _shell(plain, secret, name, command, ca),
        ),
        Snippet(
            "systemd",
            "systemd",
            f"Paste into bash or zsh, as root, on the Worker's host, where lyftdata {__version__} is installed in /opt/lyftdata: "
            "a service, and a file with the secret, which root alone reads."
            + about_ca(ca, how=f"put its certificate there as {_ca_file(name)}, for every user to read"),
            _systemd(plain, secret, name, command, ca),
        ),
        Snippet(
            "compose",
            "Docker Compose",
            f"Build the image once, with “{_BUILD}” in a checkout of lyftdata {__version__}, and paste this into "
            f"bash or zsh in an empty directory.{image}{note}"
            + about_ca(ca, how="put its certificate there as ca.pem, for every user to read"),
            _compose(plain, secret, name, command, ca),
        ),
        Snippet(
            "kubernetes",
            "Kubernetes",
            f"Build the image once, with “{_BUILD}” in a checkout of lyftdata {__version__}, and push it to your "
            "registry. Replace registry.example.com by its address, and paste this into bash or zsh. It uses kubectl's current "
            f"namespace.{image}{note}"
            + about_ca(ca, how=f"make a ConfigMap of it: “{_make_config_map(name)}”"),
            _kubernetes(plain, secret, name, command, ca),
        ),
    ]


def env_file_snippets(
    *, archive: str, file: str, command: Sequence[str] = (), ca: str | None = None
) -> list[Snippet]:
    """
    Return the steps to bring one environment file for each Worker to its host, and start it there.

    Args:
        archive: The name of the ZIP with all files.
        file: The name of the first Worker's file in it.
        command: The program that each runs, and its arguments; empty for none.
        ca: Certificates (PEM) that each needs, included in the ZIP as ca.pem; see `pasted_ca`.
    """
    directory, service = archive.removesuffix(".zip"), file.removesuffix(".env")
    return [
        Snippet(
            "unpack",
            "Where the ZIP was saved",
            "Unpack the files where you have saved the ZIP, so that other users cannot read them. Copy each to its host, "
            + ("with ca.pem, the certificate of the Server's CA, " if ca else "")
            + "for example by scp.",
            f"(umask 077 && unzip -d {directory} {archive})",
        ),
        Snippet(
            "start",
            "On each host",
            f"Paste into a shell on the host of {service}, where its file is and lyftdata {__version__} is installed."
            + ("" if ca else about_ca(ca, how="put its certificate there as ca.pem")),
            f"chmod 600 {file}\nset -a; . ./{file}; set +a\n{export_ca(ca, 'ca.pem')}{_run_worker(command)}",
        ),
    ]


def _run_worker(command: Sequence[str]) -> str:
    """Return the shell command that starts an agent."""
    return f"lyftdata run worker -- {shlex.join(command)}" if command else "lyftdata run worker"


def _ask(secret: str, then: str) -> str:
    """Return shell lines that prompt for the secret and pass it to what follows."""
    return f"""\
printf '%s' 'Paste the {_PROMPTS[secret]}, which is not shown, and press Enter: '
IFS= read -rs secret && echo && printf '%s\\n' "$secret" {then}
unset secret"""


def _ask_for_file(secret: str, file: str, *, mode: str = "600") -> str:
    """Return shell lines that prompt for the secret and write it to a file; an existing one is replaced, with its permissions."""
    return f"install -m {mode} /dev/null {file}\n{_ask(secret, f'> {file}')}"


def _ca_file(name: str) -> str:
    """Return the path of a service's CA: not in the directory of the secret, which only root may enter."""
    return f"/etc/lyftdata-tls/{name}.pem"


def _make_config_map(name: str) -> str:
    return f"kubectl create configmap lyftdata-{_resource_name(name)}-ca --from-file=ca.pem"


def _shell(plain: Variables, secret: str, name: str, command: Sequence[str], ca: str | None) -> str:
    exports = "\n".join(f"export {key}={shlex.quote(text)}" for key, text in plain.items())
    return f"""\
{{
{_ask_for_file(secret, f"{name}.key")}
{write_ca(ca, f"{name}-ca.pem", _END)}export {secret}_FILE="$PWD/{name}.key"
{export_ca(ca, f"{name}-ca.pem")}{exports}
{_run_worker(command)}
}}"""


def _systemd(plain: Variables, secret: str, name: str, command: Sequence[str], ca: str | None) -> str:
    file = _ca_file(name)
    plain = {**plain, **ca_variable(ca, file)}
    unit = worker_unit(plain, secret=secret, name=name, command=" ".join(map(_unit_word, command)))
    return f"""\
{{
install -d -m 700 /etc/lyftdata
{_ask_for_file(secret, f"/etc/lyftdata/{name}.key")}
{write_ca(ca, file, _END, directory="/etc/lyftdata-tls")}cat > /etc/systemd/system/lyftdata-{name}.service <<'{_END}'
{unit}
{_END}
systemctl daemon-reload && systemctl enable --now lyftdata-{name}.service
}}"""


def worker_unit(plain: Variables, *, secret: str, name: str, command: str = "") -> str:
    """
    Return a systemd unit for a Worker.

    Args:
        plain: Its variables, without the secret.
        secret: The variable of the secret, which is read from /etc/lyftdata/NAME.key.
        name: The name of the service.
        command: The COMMAND that it runs, as written in a unit; empty for none.
    """
    environment = "\n".join(f'Environment="{key}={_unit_text(text)}"' for key, text in plain.items())
    run = f" --restart on-failure -- {command}" if command else ""
    program = (
        ""
        if command
        else f"# Add the program that it is to run: --restart on-failure -- /opt/{name}/program\n"
    )
    return f"""\
[Unit]
Description=lyftdata Worker {name}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
{program}ExecStart=/opt/lyftdata/bin/lyftdata run worker{run}
{environment}
LoadCredential=key:/etc/lyftdata/{name}.key
Environment={secret}_FILE=%d/key
DynamicUser=yes
StateDirectory=lyftdata-{name}
StateDirectoryMode=0700
Environment=LYFTDATA_JOBS_DIR=%S/lyftdata-{name}
RuntimeDirectory=lyftdata-{name}
RuntimeDirectoryMode=0700
# The unit is up once the Worker is online, however long that takes.
TimeoutStartSec=infinity
# Longer than LYFTDATA_STOP_GRACE.
TimeoutStopSec=30s
WatchdogSec=60s
Restart=on-failure
RestartSec=5s
# Exit code 2: a setting or a file must be fixed. 3: the Server has permanently refused the Worker. Restarting would not help.
RestartPreventExitStatus=2 3
{_HARDENING}
[Install]
WantedBy=multi-user.target"""


# Holds for the program too. MemoryDenyWriteExecute= and ProcSubset=pid are left out: Java, Node and other compilers at run time
# do not start with them. DynamicUser=yes implies a read-only file system and a private /tmp; they are named for `systemd-analyze`.
_HARDENING = """\
AmbientCapabilities=
CapabilityBoundingSet=
DevicePolicy=closed
LockPersonality=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateMounts=yes
PrivateTmp=yes
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
UMask=0077
"""


def _compose(plain: Variables, secret: str, name: str, command: Sequence[str], ca: str | None) -> str:
    plain = {**plain, **ca_variable(ca, "/run/secrets/ca.pem")}
    environment = "\n".join(f"      {key}: {_yaml(text.replace('$', '$$'))}" for key, text in plain.items())
    # Docker mounts the file with its owner and mode, and the Worker in its container is a different user: the
    # directory keeps other users of the host out.
    # Compose replaces variables of its own environment after a dollar sign.
    run = f"    command: {_yaml_list(command)}\n".replace("$", "$$") if command else ""
    # Compose mounts a file in the same way whether it is secret or not.
    mounted = "worker" if ca is None else "worker, ca.pem"
    certificate = "" if ca is None else "  ca.pem:\n    file: ./ca.pem\n"
    return f"""\
{{
install -d -m 700 ~/.config/lyftdata
{_ask_for_file(secret, f"~/.config/lyftdata/{name}.key", mode="644")}
{write_ca(ca, "ca.pem", _END)}cat > compose.yaml <<'{_END}'
services:
  worker:
    image: {_IMAGE}
    pull_policy: never
    restart: on-failure
{run}    environment:
{environment}
      {secret}_FILE: /run/secrets/worker
      LYFTDATA_JOBS_DIR: /var/lib/lyftdata/worker
    secrets: [{mounted}]
    volumes: ["worker:/var/lib/lyftdata"]
    read_only: true
    tmpfs: [/tmp]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
secrets:
  worker:
    file: ${{HOME}}/.config/lyftdata/{name}.key
{certificate}volumes:
  worker:
{_END}
docker compose up --detach
}}"""


def _kubernetes(plain: Variables, secret: str, name: str, command: Sequence[str], ca: str | None) -> str:
    resource = _resource_name(name)
    plain = {**plain, **ca_variable(ca, "/etc/lyftdata-tls/ca.pem")}
    mount, volume = (_CA_MOUNT, _CA_VOLUME.format(resource)) if ca is not None else ("", "")
    environment = "\n".join(
        f"            - {{name: {key}, value: {_yaml(text)}}}" for key, text in plain.items()
    )
    # Kubernetes replaces `$(NAME)` by the container's variables.
    run = f"          args: {_yaml_list(command)}\n".replace("$", "$$") if command else ""
    create = f"| kubectl create secret generic lyftdata-{resource} --from-file=secret=/dev/stdin"
    return f"""\
{{
{_ask(secret, create)}
kubectl apply -f - <<'{_END}'
{config_map(ca, f"lyftdata-{resource}-ca")}apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: lyftdata-{resource}
spec:
  replicas: 1
  serviceName: lyftdata-{resource}
  selector: {{matchLabels: {{app: lyftdata-{resource}}}}}
  template:
    metadata: {{labels: {{app: lyftdata-{resource}}}}}
    spec:
      automountServiceAccountToken: false
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        # Lets the Worker write to its volume. The default, Always, would make the Worker's private directory group-accessible at each mount.
        fsGroup: 10001
        fsGroupChangePolicy: OnRootMismatch
        seccompProfile: {{type: RuntimeDefault}}
      containers:
        - name: worker
          # Your image; pin it by digest (@sha256:...) once it is pushed.
          image: registry.example.com/{_IMAGE}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {{drop: [ALL]}}
{run}          env:
{environment}
            - {{name: {secret}_FILE, value: /run/secrets/lyftdata/secret}}
            - {{name: LYFTDATA_JOBS_DIR, value: /var/lib/lyftdata/worker}}
          volumeMounts:
            - {{name: secret, mountPath: /run/secrets/lyftdata, readOnly: true}}
            - {{name: state, mountPath: /var/lib/lyftdata}}
            - {{name: tmp, mountPath: /tmp}}
{mount}      volumes:
        - name: secret
          secret: {{secretName: lyftdata-{resource}, defaultMode: 0440}}
        - name: tmp
          emptyDir: {{medium: Memory}}
{volume}  volumeClaimTemplates:
    - metadata: {{name: state}}
      spec:
        accessModes: [ReadWriteOnce]
        resources: {{requests: {{storage: 16Mi}}}}
{_END}
}}"""


_CA_MOUNT = "            - {name: ca, mountPath: /etc/lyftdata-tls, readOnly: true}\n"
_CA_VOLUME = "        - name: ca\n          configMap: {{name: lyftdata-{}-ca}}\n"


def _resource_name(name: str) -> str:
    """Return a valid Kubernetes name (RFC 1123); a name that had to be changed gets a digest to keep it unique."""
    plain = "".join(c if c.isalnum() else "-" for c in name.lower())[:40].strip("-") or "worker"
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _unit_text(value: str) -> str:
    """Return text to put between double quotes in a unit (systemd.syntax(7)), where `%` begins a specifier."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")


def _unit_word(word: str) -> str:
    """Return a word of ExecStart= (systemd.service(5)), where a dollar sign also begins a variable."""
    if _PLAIN_WORD.fullmatch(word):
        return word
    # An interactive shell would expand `!` in pasted text from its history.
    return f'"{_unit_text(word)}"'.replace("$", "$$").replace("!", "\\x21")


def _yaml_list(command: Sequence[str]) -> str:
    """Return the command of a container: the agent, and the program that it runs."""
    return f"[{', '.join(map(_yaml, ['lyftdata', 'run', 'worker', '--', *command]))}]"


def _yaml(value: str) -> str:
    """Return text as YAML: JSON strings are valid YAML, except for surrogate pairs in two escapes."""
    return json.dumps(value, ensure_ascii=False).replace("!", "\\u0021")
