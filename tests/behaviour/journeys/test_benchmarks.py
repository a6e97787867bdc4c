"""The Server and the credentials that the benchmarks use."""

import urllib.parse

import httpx2
import pytest
from benchmarks.fleets import Fleet
from tests.fleets import secret_body

from lyftdata.verify import WorkerVerifier


@pytest.fixture
def fleet(tmp_path):
    """Return a fleet as the benchmarks use it, with its Server running."""
    fleet = Fleet(tmp_path / "fleet", by_key=1, enrolled=1)
    with fleet.served():
        yield fleet


def test_every_credential_of_a_benchmark_gets_a_valid_token(fleet):
    """API keys and assertions both: a benchmark that measured refusals would be worthless."""
    (by_key,) = (secret_body(*key) for key in fleet.keys)
    (by_assertion,) = fleet.assertion_bodies(1).read_text(encoding="ascii").split()
    with WorkerVerifier(fleet.url, audience=fleet.url) as verifier:
        for body in (by_key, by_assertion):
            answer = httpx2.post(
                f"{fleet.url}/oauth2/token", data=dict(urllib.parse.parse_qsl(body)), trust_env=False
            )
            assert verifier.verify(answer.json()["access_token"]).worker_id
