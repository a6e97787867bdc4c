"""
What to paste on a Worker's host, filled in. Every value is quoted for the language it stands in.
"""

import hashlib
import json
import shlex
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

Variables = Mapping[str, str]


class Snippet(msgspec.Struct, frozen=True):
    """One way to start a Worker: a title, what to do in a sentence, and the text to paste."""

    key: str
    title: str
    how: str
    text: str


def snippets(given: Variables, *, secret: str, name: str) -> list[Snippet]:
    """
    Return the ways to start a Worker.

    Args:
        given: The Worker's variables with their values, the secret among them.
        secret: Which of them is the secret.
        name: What files and services are called: letters, digits, dots and dashes.
    """
    loopback = " Put the Server's address as a container sees it in the place of this machine's own."
    note = loopback if is_loopback_url(given["LYFTDATA_URL"]) else ""
    return [
        Snippet("shell", "Shell", "Paste into a shell on the Worker's host.", _shell(given)),
        Snippet(
            "systemd",
            "systemd",
            "Paste into a root shell on the Worker's host: a service with its environment file, which root alone reads.",
            _systemd(given, name),
        ),
        Snippet(
            "compose",
            "Docker Compose",
            f"Save as compose.yaml, with the secret in {name}.secret (mode 0600) beside it.{note}",
            _compose(given, secret, name),
        ),
        Snippet(
            "kubernetes",
            "Kubernetes",
            f"Save as worker.yaml and run: kubectl apply -f worker.yaml{note}",
            _kubernetes(given, secret, name),
        ),
    ]


def is_loopback_url(url: str) -> bool:
    """Return whether a URL leads to the very machine that reads it."""
    return (urlsplit(url).hostname or "") in {"localhost", "127.0.0.1", "::1"}


def _shell(given: Variables) -> str:
    lines = [f"export {key}={shlex.quote(value)}" for key, value in given.items()]
    return "\n".join([*lines, "lyftdata run worker"])


def _systemd(given: Variables, name: str) -> str:
    environment = "\n".join(f'{key}="{_escaped(value)}"' for key, value in given.items())
    return f"""\
install -d -m 700 /etc/lyftdata
(umask 077; cat > /etc/lyftdata/{name}.env) <<'END'
{environment}
END
cat > /etc/systemd/system/lyftdata-{name}.service <<'END'
[Unit]
Description=lyftdata Worker {name}
Wants=network-online.target
After=network-online.target

[Service]
EnvironmentFile=/etc/lyftdata/{name}.env
Environment=LYFTDATA_JOBS_DIR=%S/lyftdata-{name}
ExecStart=/usr/bin/env lyftdata run worker
DynamicUser=yes
StateDirectory=lyftdata-{name}
StateDirectoryMode=0700
# 3: the Server has refused for good, and asking again would not help.
RestartPreventExitStatus=3
Restart=on-failure

[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload && systemctl enable --now lyftdata-{name}.service"""


def _compose(given: Variables, secret: str, name: str) -> str:
    environment = "\n".join(
        f"      {key}: {_yaml(value.replace('$', '$$'))}" for key, value in given.items() if key != secret
    )
    return f"""\
# {name}.secret holds:
#   {given[secret]}
services:
  worker:
    # An image of yours with lyftdata in it serves as well.
    image: python:3.12-slim
    command: sh -c "pip install --quiet lyftdata && exec lyftdata run worker"
    restart: on-failure
    environment:
{environment}
      {secret}_FILE: /run/secrets/worker
      LYFTDATA_JOBS_DIR: /var/lib/lyftdata
    secrets: [worker]
    volumes: ["worker:/var/lib/lyftdata"]
secrets:
  worker:
    file: ./{name}.secret
volumes:
  worker:"""


def _kubernetes(given: Variables, secret: str, name: str) -> str:
    resource = _resource_name(name)
    environment = "\n".join(
        f"            - {{name: {key}, value: {_yaml(value)}}}"
        for key, value in given.items()
        if key != secret
    )
    return f"""\
apiVersion: v1
kind: Secret
metadata:
  name: lyftdata-{resource}
stringData:
  secret: {_yaml(given[secret])}
---
apiVersion: apps/v1
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
      containers:
        - name: worker
          # An image of yours with lyftdata in it serves as well.
          image: python:3.12-slim
          command: [sh, -c, "pip install --quiet lyftdata && exec lyftdata run worker"]
          env:
{environment}
            - {{name: {secret}_FILE, value: /run/secrets/lyftdata/secret}}
            - {{name: LYFTDATA_JOBS_DIR, value: /var/lib/lyftdata/jobs}}
          volumeMounts:
            - {{name: secret, mountPath: /run/secrets/lyftdata, readOnly: true}}
            - {{name: state, mountPath: /var/lib/lyftdata}}
      volumes:
        - name: secret
          secret: {{secretName: lyftdata-{resource}, defaultMode: 0400}}
  volumeClaimTemplates:
    - metadata: {{name: state}}
      spec:
        accessModes: [ReadWriteOnce]
        resources: {{requests: {{storage: 16Mi}}}}"""


def _resource_name(name: str) -> str:
    """Return what Kubernetes takes as a name (RFC 1123); what had to be changed tells itself apart by a digest."""
    plain = "".join(c if c.isalnum() else "-" for c in name.lower())[:40].strip("-") or "worker"
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _escaped(value: str) -> str:
    """Return text for between the double quotes of systemd's environment files."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")


def _yaml(value: str) -> str:
    """Return text as YAML: JSON's strings are a subset of it."""
    return json.dumps(value)
