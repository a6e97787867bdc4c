"""No text that people paste installs by name, exposes a secret or switches a check off."""

import re

import pytest
from tests.pasted_rules import faults
from tests.pasted_texts import ROOT, all_texts

from lyftdata import __version__


def test_pasted_texts_have_no_faults():
    """Every rule is applied to every page, example, build file, help text, message and UI text."""
    found = [f"{text.where}: {fault}" for text in all_texts() for fault in faults(text.text)]
    assert found == []


@pytest.mark.parametrize(
    "part",
    [
        "$ make dist",  # README
        "FROM lyftdata-worker:",  # a page's block
        "pull_policy: build",  # an example
        "npm ci --omit=dev",  # the Makefile
        "ARG PYTHON_IMAGE=",  # the Dockerfile
        "kind: StatefulSet",  # what the UI gives
        "Paste the enrollment key, which is not shown",  # for the other strategy
        "data-copy=",  # its templates
        "curl -H @- https://service.example.com/",  # help
        "pip install --require-hashes -r server.txt",  # a message
    ],
)
def test_each_kind_of_text_is_collected(part):
    """A text that is not collected would never be checked."""
    assert any(part in text.text for text in all_texts())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("$ pip install lyftdata", "installed by name"),
        ("Run `pip install 'lyftdata[server]'` first.", "installed by name"),
        ("RUN pip install --no-cache-dir lyftdata==0.1.0", "installed by name"),
        ("pip install \\\n    --quiet requests", "installed by name"),
        ("pip install .", "installed by name"),
        ("pip install '.[server]'", "installed by name"),
        ("pip install -r requirements.txt", "installed by name"),
        ("/opt/x/bin/python -m pip install --upgrade pip", "installed by name"),
        ("uv tool install lyftdata", "installed by name"),
        ("pipx run lyftdata", "installed by name"),
        ("pip install --extra-index-url https://x.example/simple --require-hashes -r r.txt", "two indexes"),
        ("npm install oauth4webapi", "without a version"),
        ("npx serve .", "without a version"),
        ("go install example.com/x@latest", "whatever is the latest"),
        ("FROM python", "without a version"),
        ("FROM python:latest AS build", "without a version"),
        ("FROM --platform=linux/amd64 debian:stable", "without a version"),
        ("    image: registry.example.com:5000/worker", "without a version"),
        ("- image: redis", "without a version"),
        ("docker run --rm -e A=b -p 127.0.0.1:1:1 redis redis-server", "without a version"),
        ("podman pull docker.io/library/postgres", "without a version"),
        ("curl -fsSL https://x.example/install.sh | sh", "fetched is run"),
        ("wget -qO- https://x.example | sudo -E bash -", "fetched is run"),
        ("bash <(curl -s https://x.example)", "fetched is run"),
        ('sh -c "$(curl -fsSL https://x.example)"', "fetched is run"),
        (
            '    command: sh -c "pip install --require-hashes -r x.txt && lyftdata run worker"',
            "at each start",
        ),
        (
            "services:\n  a:\n    command:\n      - sh\n      - -c\n      - apk add curl && x\n",
            "at each start",
        ),
        ('CMD ["sh", "-c", "npm install && node ."]', "at each start"),
        ("ExecStartPre=/usr/bin/pip install -r x", "at each start"),
        ("COPY . /src", "everything"),
        ("COPY --chown=1:1 ./ /src", "everything"),
        ("ADD https://x.example/a.tar.gz /", "ADD"),
        ('curl -u "$ID:$KEY" https://x.example', "curl's arguments"),
        ("curl -sS --user a:b https://x.example", "curl's arguments"),
        ('curl -H "Authorization: Bearer $TOKEN" https://x.example', "curl's arguments"),
        ('curl -d "client_secret=$S" https://x.example', "curl's arguments"),
        ("redis-cli -h x -a hunter2 PING", "in arguments"),
        ("docker login -u me -p $TOKEN registry.example.com", "in arguments"),
        ("kubectl create secret generic x --from-literal=key=$KEY", "in arguments"),
        ("docker run -e LYFTDATA_WORKER_API_KEY=$KEY lyftdata-worker:0.1.0", "in arguments"),
        ("lyftdata login --password hunter2", "in arguments"),
        ("openssl rsa -passin pass:hunter2", "in arguments"),
        ("psql postgresql://me:hunter2@localhost/x", "in arguments"),
        ("export LYFTDATA_WORKER_API_KEY=lyftdata_abc", "in the environment"),
        ("LYFTDATA_SECRET_KEY=$(cat key) lyftdata run server", "in the environment"),
        ("ENV LYFTDATA_AUTO_ENROLLMENT_KEY abc", "in the environment"),
        ("Environment=LYFTDATA_WORKER_API_KEY=abc", "in the environment"),
        ("a:\n  environment:\n    LYFTDATA_WORKER_API_KEY: abc\n", "in the environment"),
        ("a:\n  environment:\n    - POSTGRES_PASSWORD=abc\n", "in the environment"),
        ("env:\n  - {name: LYFTDATA_DATABASE_URL, value: abc}\n", "in the environment"),
        ("export LYFTDATA_URL=http://lyftdata.example.com", "plain text"),
        ("proxy_pass http://10.0.0.7:3000;", "plain text"),
        ("broker_url = amqp://rabbit.example.com/jobs", "plain text"),
        ("curl -k https://x.example", "switched off"),
        ("curl -sSk https://x.example", "switched off"),
        ("$ export LYFTDATA_TLS_INSECURE=yes", "switched off"),
        ("chmod 777 /var/lib/lyftdata", "switched off"),
        ("postgresql://a:PASSWORD@db.example.com/x", "without a checked certificate"),
        ("postgresql://a:PASSWORD@db.example.com/x?sslmode=require", "switched off"),
        ("lyftdata enrollment generate-key > key.txt", "others can read"),
        ("$ (umask 077; cat > /etc/x/key)", "keeps its permissions"),
        ("(umask 077; tee /etc/x/key > /dev/null)", "keeps its permissions"),
        ("cat > x.key <<'END'\nlyftdata_abc\nEND", "shell's history"),
        ("kubectl create secret generic x --from-file=s=/dev/stdin <<END\nKEY\nEND", "shell's history"),
        ("echo lyftdata_abc > x.key", "shell's history"),
        ("printf '%s' PASSWORD > /etc/x/password", "shell's history"),
        ("lyftdata login --password-stdin <<< hunter2", "shell's history"),
        ('services:\n  a:\n    ports: ["5432:5432"]\n', "other machines reach"),
    ],
)
def test_faults_are_found(text, fault):
    """Each rule finds its kind of fault, in the spellings that people use."""
    assert any(fault in found for found in faults(text)), faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "pip install --require-hashes -r worker.txt",
        "pip install --no-cache-dir --no-deps --no-build-isolation .",
        "pip install --no-deps --no-index /dist/*.whl",
        "npm ci --ignore-scripts",
        "npx serve@14.2.4",
        "apt-get install --yes redis-server",
        "ARG BASE=python:3.13-slim\nFROM ${BASE} AS build\nFROM build AS worker",
        "FROM python@sha256:0123",
        "docker run --rm --network none -v /a:/b postgres:17-alpine psql",
        "COPY src src",
        'printf \'user = "%s:%s"\' "$ID" "$KEY" | curl -K - https://x.example',
        "lyftdata token | sed 's/^/Authorization: Bearer /' | curl -H @- https://x.example",
        "curl -d grant_type=client_credentials https://x.example",
        "lyftdata login admin --password-stdin < password.txt",
        "export LYFTDATA_WORKER_API_KEY_FILE=key.txt",
        "LYFTDATA_WORKER_API_KEY=wrong lyftdata run worker",
        "environment:\n  POSTGRES_PASSWORD_FILE: /run/secrets/x\n  A: b\n",
        "export LYFTDATA_URL=http://localhost:3000",
        "upstream service {\n  server 127.0.0.1:8080;\n}\nproxy_pass http://service;",
        "(umask 077; lyftdata enrollment generate-key > key.txt)",
        "lyftdata enrollment generate-key --output enrollment.key",
        "install -m 600 /dev/null x.key\ncat > x.key",
        "IFS= read -rs secret && printf '%s\\n' \"$secret\" > x.key",
        "cat > compose.yaml <<'END'\nservices: {}\nEND",
        'bao policy write worker - <<EOF\npath "a" {}\nEOF',
        "postgresql://a:PASSWORD@db.example.com/x?sslmode=verify-full",
        'services:\n  a:\n    ports: ["127.0.0.1:5432:5432"]\n',
    ],
)
def test_correct_texts_have_no_faults(text):
    """The rules accept what the pages recommend."""
    assert faults(text) == []


def test_texts_name_the_current_version():
    """An image or a wheel of another version was not tested with this one."""
    for text in all_texts():
        for version in re.findall(r"lyftdata(?:-(?:worker|server))?[:-](\d+\.\d+\.\d+)", text.text):
            assert version == __version__, text.where


def test_the_workers_requirements_are_a_subset_of_the_servers():
    """requirements/worker.txt has the same versions and hashes as requirements/run.txt."""
    worker, server = (_pins((ROOT / "requirements" / name).read_text()) for name in ("worker.txt", "run.txt"))
    assert worker.items() <= server.items()
    assert "sqlalchemy" in set(server) - set(worker)


def _pins(text):
    """Return each package's version and hashes."""
    blocks = re.split(r"\n(?=[a-z])", text.partition("\n#    make lock\n")[2])
    return {
        block.partition("==")[0].strip(): (
            re.findall(r"==([\w.]+)", block)[0],
            frozenset(re.findall(r"sha256:[0-9a-f]{64}", block)),
        )
        for block in blocks
    }
