"""A copied identity is replaced by that of a new Worker; a crash at any point loses nothing and creates no second Worker."""

from unittest.mock import patch

import httpx2
import pytest
from tests.builders import ENROLLMENT_KEY, ISSUER

from lyftdata.app import create_app
from lyftdata.client.counter_file import CounterFile
from lyftdata.core.secret import Secret
from lyftdata.core.strategy import StoredIdentity, UseStoredIdentity, WorkerInputs, choose_strategy
from lyftdata.current_secrets import CurrentEnrollmentKey
from lyftdata.private_files import PrivateDirectory
from lyftdata.worker.client import RefusedByServerError, ServerClient
from lyftdata.worker.identity.enrollment import enroll_as_new, obtain_identity
from lyftdata.worker.identity.state import StateDirectory
from lyftdata.worker.settings import read_worker_settings


class PowerCut(BaseException):
    """The host loses power."""


class Host:
    """A Worker's directory, with a client for its settings."""

    def __init__(self, server, root, *, name="press", secret=ENROLLMENT_KEY):
        environ = {"LYFTDATA_URL": ISSUER, "LYFTDATA_JOBS_DIR": str(root), "LYFTDATA_WORKER_NAME": name}
        self.settings = read_worker_settings(environ | {"LYFTDATA_AUTO_ENROLLMENT_KEY": secret})
        self.secret = Secret(secret)
        self.directory = StateDirectory(root)
        self.client = ServerClient(self.settings, transport=httpx2.ASGITransport(create_app(server.services)))

    async def obtain(self, how):
        """Get an identity."""
        key = CurrentEnrollmentKey(self.secret)
        return await how(self.settings, self.directory, self.client, key)

    def identity(self) -> StoredIdentity:
        """Return the identity in the directory."""
        found = self.directory.load_identity()
        assert found is not None
        return found

    async def token(self, credential):
        """Get a token, or raise RefusedByServerError."""
        return await self.client.token(credential)


@pytest.fixture
async def copy(server, tmp_path):
    """Return the host of an enrolled Worker, which the Server regards as one of two copies."""
    host = Host(server, tmp_path / "jobs")
    with host.directory.locked():
        await host.token(await host.obtain(obtain_identity))
    yield host
    await host.client.aclose()


def cut_at(number):
    """Cut the power before the nth change of the directory: that one and later ones do not happen."""
    count = 0

    def failing(change):
        def changed(self, *args):
            nonlocal count
            count += 1
            if count >= number:
                raise PowerCut
            return change(self, *args)

        return changed

    names = ("write", "rename", "remove")
    return [patch.object(PrivateDirectory, name, failing(getattr(PrivateDirectory, name))) for name in names]


@pytest.mark.parametrize("number", range(1, 10))
async def test_a_power_cut_at_any_point_loses_nothing(server, copy, number):
    """After the next start the directory is the new Worker's, and there are two Workers: the original and this one."""
    [original] = server.services.directory.workers()
    old = copy.directory.load_key().public.thumbprint
    patches = cut_at(number)
    for each in patches:
        each.start()
    try:
        await copy.obtain(enroll_as_new)
    except PowerCut:
        was_cut = True
    else:
        was_cut = False
    finally:
        for each in patches:
            each.stop()
    assert was_cut is (number < 9), "nine changes would be one more than there are"

    copy.directory.finish_replacement()
    if copy.identity().worker_id == original.id:
        assert copy.directory.load_key().public.thumbprint == old
        await copy.obtain(enroll_as_new)
    identity = copy.identity()

    assert len(list(server.services.directory.workers())) == 2
    assert server.services.directory.find_worker(original.id) == original
    entry = server.services.directory.find_worker(identity.worker_id)
    assert (entry.thumbprint, entry.name) == (
        copy.directory.load_key().public.thumbprint,
        identity.worker_name,
    )
    assert copy.directory.load_next() is None
    left = {file.name for file in copy.directory.path.iterdir()}
    assert left == {"identity.json", "identity-key.pem", "lock"}


async def test_the_new_worker_gets_tokens_and_starts_again_with_the_same_settings(server, copy):
    """Its name has a random suffix, and the original's name in LYFTDATA_WORKER_NAME is still accepted."""
    credential = await copy.obtain(enroll_as_new)
    await copy.token(credential)

    identity = copy.identity()
    assert identity.worker_name.startswith("press-")
    for name in ("press", identity.worker_name, None):
        inputs = WorkerInputs(
            worker_id=None,
            has_api_key=False,
            worker_name=name,
            has_enrollment_key=False,
            server_url=identity.server_url,
        )
        assert choose_strategy(inputs, identity) == UseStoredIdentity(identity)
    [event] = (
        await server.services.audit_queries.list_page(limit=1, subject=f"worker:{identity.worker_id}")
    ).items
    assert event.details["copy_of"] != identity.worker_id


async def test_a_program_with_the_copied_key_does_not_affect_the_new_worker(server, copy):
    """It has its own counter file, and its refusal is stored there."""
    stale = CounterFile(copy.directory.path)
    credential = await copy.obtain(enroll_as_new)
    stale.take_number()
    stale.note_refused("7K2M9QXR")

    await copy.token(credential)


async def test_a_different_configured_name_is_used_unchanged(server, copy, tmp_path):
    """A host with another LYFTDATA_WORKER_NAME enrolls under that."""
    other = Host(server, copy.directory.path, name="press-02")
    await other.obtain(enroll_as_new)

    assert other.identity().worker_name == "press-02"
    await other.client.aclose()


async def test_a_copy_does_not_supersede_its_original(server, copy):
    """If the original has the copy's name and is offline, the copy takes another name."""
    [original] = server.services.directory.workers()
    headers = await server.sign_in()
    await server.http.patch(f"/api/workers/{original.id}", json={"name": "press-02"}, headers=headers)
    server.clock.forward(hours=1)
    other = Host(server, copy.directory.path, name="press-02")
    with pytest.raises(RefusedByServerError) as refused:
        await other.obtain(enroll_as_new)
    assert (refused.value.cause_code, refused.value.final) == ("name_in_use", False)

    await other.obtain(enroll_as_new)

    assert other.identity().worker_name.startswith("press-02-")
    assert server.services.directory.find_worker(original.id).superseded_by is None
    await other.client.aclose()


async def test_a_wrong_enrollment_key_leaves_the_copy_unchanged(server, copy):
    """The copied identity and its key stay, so that an operator can still let it continue."""
    before = {file.name: file.read_bytes() for file in copy.directory.path.glob("identity*")}
    other = Host(server, copy.directory.path, secret="x" * 40)
    with pytest.raises(RefusedByServerError) as refused:
        await other.obtain(enroll_as_new)

    assert refused.value.final
    assert {file.name: file.read_bytes() for file in copy.directory.path.glob("identity*")} == before
    assert len(list(server.services.directory.workers())) == 1
    await other.client.aclose()
