"""Ruby's `openid_connect`, which validates the discovery document before it requests anything."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.peers.conftest import AUDIENCE, Peers

SCRIPT = Path(__file__).parent / "openid_connect.rb"


def test_openid_connect_gets_and_verifies_a_token(peers: Peers) -> None:
    """The document has everything that it requires; the token is for the resource, and signed by a published key."""
    ruby = shutil.which("ruby")
    if ruby is None or subprocess.run([ruby, "-e", "require 'openid_connect'"], check=False).returncode != 0:
        pytest.skip("no openid_connect on this machine (Debian: apt-get install ruby-openid-connect)")
    given = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LYFTDATA_WORKER_ID": "press-01",
        "LYFTDATA_WORKER_API_KEY": peers.key,
        "AUDIENCE": AUDIENCE,
    }

    done = subprocess.run(
        [ruby, SCRIPT, peers.url], env=given, capture_output=True, text=True, timeout=180, check=False
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"sub": "press-01", "aud": AUDIENCE, "scope": "read write"}
