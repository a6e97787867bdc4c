"""Which refusals end a Worker's identity, and what happens then."""

import pytest
import structlog

from lyftdata.core.strategy import StoredIdentity
from lyftdata.worker.client import RefusedByServerError
from lyftdata.worker.identity.enrollment import enroll_as_new, obtain_identity
from lyftdata.worker.identity.state import StateDirectory
from lyftdata.worker.identity.succession import Succession, discard_removed, find_succession
from lyftdata.worker.settings import read_worker_settings

SERVER = "https://lyft.example"
ENROLLS = {
    "LYFTDATA_URL": SERVER,
    "LYFTDATA_WORKER_NAME": "press",
    "LYFTDATA_AUTO_ENROLLMENT_KEY": "0123456789abcdef" * 3,
}
UNPROVEN = {"reference": "7K2M9QXD", "final": True}


@pytest.fixture
def directory(tmp_path):
    """Return a Worker's directory, empty and locked."""
    directory = StateDirectory(tmp_path / "jobs")
    with directory.locked():
        yield directory


def stored(directory, *, ephemeral):
    """Store an identity, and return it."""
    identity = StoredIdentity(
        issuer=SERVER, server_url=SERVER, worker_id="w-1", worker_name="press", ephemeral=ephemeral
    )
    directory.load_or_make_key()
    directory.save_identity(identity)
    return identity


def found(directory, *, environ=ENROLLS, is_first=False, **refusal):
    """Return what follows a refusal."""
    settings = read_worker_settings(environ)
    return find_succession(
        RefusedByServerError("no", **{**UNPROVEN, **refusal}), settings, directory, is_first=is_first
    )


def test_an_ephemeral_worker_enrolls_again_if_its_entry_is_gone(directory):
    """The old identity is removed first, and logged with the refusal's reference."""
    identity = stored(directory, ephemeral=True)

    with structlog.testing.capture_logs() as logged:
        assert found(directory) == Succession(obtain_identity, discarded=identity)

    assert [(line["event"], line["worker_id"], line["reference"]) for line in logged] == [
        ("enrolling_again", "w-1", "7K2M9QXD")
    ]


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param({"cause_code": "worker_disabled"}, id="refused for a named cause"),
        pytest.param({"final": False}, id="refused for now"),
        pytest.param({"is_first": True}, id="an identity of this run"),
        pytest.param({"environ": {"LYFTDATA_URL": SERVER, "LYFTDATA_WORKER_NAME": "press"}}, id="no enrollment key"),
    ],
)  # fmt: skip
def test_an_identity_is_kept_after_any_other_refusal(directory, kept):
    """Unless the Server can only mean that its entry is gone."""
    stored(directory, ephemeral=True)

    assert found(directory, **kept) is None


@pytest.mark.parametrize("kept", ["not ephemeral", "none"])
def test_a_worker_that_is_not_ephemeral_never_enrolls_again_by_itself(directory, kept):
    """Nor one without an identity."""
    if kept == "not ephemeral":
        stored(directory, ephemeral=False)

    assert found(directory) is None


@pytest.mark.parametrize("has_identity", [True, False])
def test_a_copy_enrolls_as_a_new_worker_if_the_server_says_so(directory, has_identity):
    """The copied identity stays in the directory until there is another one."""
    if has_identity:
        stored(directory, ephemeral=False)

    with structlog.testing.capture_logs() as logged:
        assert found(directory, cause_code="enroll_as_new") == Succession(enroll_as_new)

    assert [(line["event"], line["copy_of"]) for line in logged] == [
        ("enrolling_as_new", "w-1" if has_identity else "")
    ]
    assert (directory.load_identity() is not None) is has_identity


def test_a_copy_without_an_enrollment_key_stays_refused(directory):
    """It has nothing to enroll with."""
    stored(directory, ephemeral=False)
    environ = {"LYFTDATA_URL": SERVER, "LYFTDATA_WORKER_NAME": "press"}

    assert found(directory, environ=environ, cause_code="enroll_as_new") is None


@pytest.mark.parametrize("ephemeral", [True, False])
def test_only_an_ephemeral_identity_is_discarded_at_the_end(directory, ephemeral):
    """Any other one stays, whatever the Server says."""
    identity = stored(directory, ephemeral=ephemeral)

    discard_removed(directory)

    assert directory.load_identity() == (None if ephemeral else identity)


def test_an_unreadable_identity_is_left_in_place(directory):
    """The log says so, and the agent ends as usual."""
    stored(directory, ephemeral=True)
    (file,) = directory.path.glob("identity*.json")
    file.write_text("{")

    with structlog.testing.capture_logs() as logged:
        discard_removed(directory)

    assert [line["event"] for line in logged] == ["identity_not_discarded"]
    assert file.exists()
