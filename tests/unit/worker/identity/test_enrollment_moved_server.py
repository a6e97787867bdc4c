"""The audience for which an auto-enrolled Worker signs is its host's configured URL, never one that is only in an answer."""

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
    """Return the directory of a Worker that has enrolled at the old URL."""
    made = StateDirectory(tmp_path / "jobs")
    with made.locked():
        made.load_or_make_key()
        made.save_identity(StoredIdentity(issuer=OLD, server_url=OLD, worker_id="w-1", worker_name="press"))
    return made


async def move(directory, *, issuer, previous, url=NEW, given_name="", name_at_server="press"):
    """Start the Worker with a URL at which a Server answers like this."""
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


async def test_a_worker_follows_a_server_that_had_the_old_url(directory):
    """The identity then belongs to the new URL, and is stored with it."""
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
        # An assertion for this issuer would be valid at the other Server.
        (OTHER, [OLD]),
    ],
)
async def test_any_other_server_leaves_the_identity_unchanged(directory, issuer, previous):
    """If the Server did not have the old URL, or names another than the configured one: nothing is signed or changed."""
    with pytest.raises(SettingsError) as refused:
        await move(directory, issuer=issuer, previous=previous)

    assert "LYFTDATA_URL" in str(refused.value)
    assert directory.load_identity().issuer == OLD


async def test_a_new_url_and_a_new_name_are_accepted_together(directory):
    """Both are confirmed before anything is stored."""
    await move(directory, issuer=NEW, previous=[OLD], given_name="anvil", name_at_server="anvil")

    moved = directory.load_identity()
    assert (moved.issuer, moved.worker_name) == (NEW, "anvil")


async def test_a_new_name_that_the_server_does_not_confirm_changes_nothing(directory):
    """The identity keeps its name and its old URL."""
    with pytest.raises(SettingsError, match="LYFTDATA_WORKER_NAME"):
        await move(directory, issuer=NEW, previous=[OLD], given_name="anvil", name_at_server="press")

    kept = directory.load_identity()
    assert (kept.issuer, kept.worker_name) == (OLD, "press")


async def test_a_read_only_directory_does_not_stop_a_worker(directory, monkeypatch):
    """It signs for the new URL, and asks the Server again at the next start."""

    def fail(_identity):
        raise StateError("read-only file system")

    monkeypatch.setattr(directory, "save_identity", fail)

    assert (await move(directory, issuer=NEW, previous=[OLD])).worker_id == "w-1"
    assert directory.load_identity().issuer == OLD
