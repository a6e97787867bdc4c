"""Clients with default settings that offer HTTP/2 with their first request over plain HTTP get an answer by HTTP/1.1."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.peers.conftest import Peers
from tests.peers.proxies import program

JAVA = Path(__file__).parent / "java"


def test_the_jdks_client_gets_a_token(peers: Peers):
    """`java.net.http.HttpClient` with its default settings, and also with `Expect: 100-continue`."""
    java = program("java", "default-jdk-headless")

    result = subprocess.run(
        [java, JAVA / "Token.java", peers.url, "press-01"],
        input=peers.key,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    answers = [line.split(" ", 2) for line in result.stdout.splitlines()]
    assert [answer[:2] for answer in answers] == [["200", "HTTP_1_1"]] * 4
    assert all(json.loads(body)["token_type"] == "Bearer" for _, _, body in answers)


def test_curl_with_http2_gets_a_token(peers: Peers, tmp_path: Path):
    """`curl --http2` gets a token and, over the same connection, the JWKS."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl on this machine")
    settings = tmp_path / "curlrc"
    settings.write_text(
        f'user = "press-01:{peers.key}"\ndata = "grant_type=client_credentials"\nurl = "{peers.url}/oauth2/token"\n'
        f'next\nhttp2\nwrite-out = "%{{http_version}} %{{num_connects}}"\nurl = "{peers.url}/.well-known/jwks.json"\n'
    )

    result = subprocess.run(
        [curl, "--silent", "--fail", "--http2", "--config", settings],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert '"access_token"' in result.stdout
    assert result.stdout.endswith("1.1 0")
