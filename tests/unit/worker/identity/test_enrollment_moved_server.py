"""For which address an auto-enrolled Worker signs: the one that its host was given, never one that only an answer names."""

import base64
import json

import httpx2
import pytest

from lyftdata.core.errors import SettingsError
from lyftdata.core.secret import Secret
from lyftdata.core.strategy import StoredIdentity
from lyftdata.current_secrets import CurrentEnrollmentKey
from lyftdata.worker.client import ServerClient
from lyftdata.worker.identity.credentials import choose_credential
from lyftdata.worker.identity.enrollment import obtain_identity
from lyftdata.worker.identity.state import StateDirectory, StateError
from lyftdata.worker.settings import read_worker_settings

OLD, NEW, OTHER = "https://old.example", "https://new.example", "https://other.example"


@pytest.fixture
def directory(tmp_path):
    """Return the directory of a Worker that has enrolled at the old address."""
    made = StateDirectory(tmp_path / "jobs")
    with made.locked():
        made.load_or_make_key()
        made.save_identity(StoredIdentity(issuer=OLD, server_url=OLD, worker_id="w-1", worker_name="press"))
    return made


async def move(directory, *, issuer, previous, url=NEW, given_name="", name_at_server="press"):
    """Start the Worker with an address at which a Server answers so."""
    settings = read_worker_settings(
        {
            "LYFTDATA_URL": url,
            "LYFTDATA_JOBS_DIR": str(directory.path),
            "LYFTDATA_WORKER_NAME": given_name,
        }
    )
    assert choose_credential(settings, directory) is None
    metadata = {"issuer": issuer, "lyftdata_previous_issuers": previous}
    claims = base64.urlsafe_b64encode(json.dumps({"worker_name": name_at_server}).encode()).decode()
    token = {"access_token": f"e30.{claims.rstrip('=')}.c2ln", "expires_in": 60}

    def answer(request):
        return httpx2.Response(200, json=token if request.url.path == "/oauth2/token" else metadata)

    client = ServerClient(settings, transport=httpx2.MockTransport(answer))
    try:
        return await obtain_identity(settings, directory, client, CurrentEnrollmentKey(Secret("")))
    finally:
        await client.aclose()


async def test_the_server_at_the_new_address_says_that_it_had_the_old_one(directory):
    """Then the identity is the new address's, and is kept so."""
    credential = await move(directory, issuer=NEW, previous=[OTHER, OLD])

    assert credential.worker_id == "w-1"
    moved = directory.load_identity()
    assert (moved.issuer, moved.server_url, moved.worker_id) == (NEW, NEW, "w-1")


@pytest.mark.parametrize(
    ("issuer", "previous"),
    [
        (NEW, []),
        (NEW, [OTHER]),
        (NEW, OLD),
        (NEW, None),
        (NEW, [None, 7]),
        # What it signs there would be good at the other one.
        (OTHER, [OLD]),
    ],
)
async def test_otherwise_the_identity_stays_what_it_is(directory, issuer, previous):
    """Another Server, or one that names an address that the Worker was not given: nothing is signed or changed."""
    with pytest.raises(SettingsError) as refused:
        await move(directory, issuer=issuer, previous=previous)

    assert "LYFTDATA_URL" in str(refused.value)
    assert directory.load_identity().issuer == OLD


async def test_moved_and_renamed_at_once(directory):
    """Both are confirmed before anything is kept."""
    await move(directory, issuer=NEW, previous=[OLD], given_name="anvil", name_at_server="anvil")

    moved = directory.load_identity()
    assert (moved.issuer, moved.worker_name) == (NEW, "anvil")


async def test_moved_but_not_renamed(directory):
    """A name that the Server does not give the Worker: the identity stays as it was, at its old address."""
    with pytest.raises(SettingsError, match="LYFTDATA_WORKER_NAME"):
        await move(directory, issuer=NEW, previous=[OLD], given_name="anvil", name_at_server="press")

    kept = directory.load_identity()
    assert (kept.issuer, kept.worker_name) == (OLD, "press")


async def test_a_directory_that_cannot_be_written_does_not_keep_a_worker_out(directory, monkeypatch):
    """The Worker signs for the new address; the Server is asked again at the next start."""

    def fail(_identity):
        raise StateError("read-only file system")

    monkeypatch.setattr(directory, "save_identity", fail)

    assert (await move(directory, issuer=NEW, previous=[OLD])).worker_id == "w-1"
    assert directory.load_identity().issuer == OLD
