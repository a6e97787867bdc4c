"""What the doctor does with answers that may not come from the Server."""

import msgspec
import pytest
from tests.builders import ENROLLMENT_KEY

import lyftdata
from lyftdata.bounded_http import Answer
from lyftdata.core.refusals import WorkerDisabledError
from lyftdata.doctor.poll_path import check_version
from lyftdata.doctor.server_answers import _check_session_answer, _issuer_differs, _refused
from lyftdata.worker.client import Issuers, RefusedByServerError
from lyftdata.worker.settings import read_worker_settings

SETTINGS = read_worker_settings(
    {"LYFTDATA_WORKER_NAME": "press-02", "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY}
)
EVIL = "A; rm -rf $HOME"


def test_a_reference_in_a_command_is_quoted():
    """People copy it into a shell."""
    refused = _refused(RefusedByServerError("No.", reference=EVIL))

    assert refused.fix.rpartition(" show ")[2] == f"'{EVIL}'"


def test_an_answer_with_an_invalid_reference_is_not_the_servers():
    """The reference is not shown."""
    unopened = _check_session_answer(
        SETTINGS, Answer(403, {}, b'{"error": "x", "reference": "A; rm -rf $HOME"}')
    )

    assert unopened is not None
    assert unopened.check.code == "sessions_blocked"
    assert EVIL not in unopened.what + unopened.fix


def test_an_issuer_in_an_assignment_is_quoted():
    """For the same reason."""
    finding = _issuer_differs(SETTINGS, Issuers(EVIL))
    assert finding is not None

    assert f"LYFTDATA_PUBLIC_URL='{EVIL}' here" in finding.fix


def test_a_fix_is_never_the_text_of_an_answer():
    """Anything at that address could choose it; the remedy of a known cause comes from this program."""
    known = _refused(
        RefusedByServerError("No.", reference="7K2M9QXD", cause_code="worker_disabled", remedy=EVIL)
    )
    unknown = _refused(RefusedByServerError("No.", reference="7K2M9QXD", cause_code="new_cause", remedy=EVIL))

    assert known.fix == WorkerDisabledError.remedy
    assert unknown.fix.endswith("lyftdata refusals show 7K2M9QXD")


@pytest.mark.parametrize(
    ("server", "fix"),
    [
        (lyftdata.__version__, None),
        (f"{lyftdata.__version__}.post1", None),
        ("0.0.9", "Upgrade the Server, and Workers after it."),
        ("99.0.0", "Upgrade lyftdata on the Worker's host."),
        (7, None),
    ],
)
def test_a_version_other_than_the_servers_is_found(server, fix):
    """With what to upgrade; the agent and the client library share the environment's version."""
    answer = Answer(200, {}, msgspec.json.encode({"session": "none", "server_version": server}))

    found = check_version(answer)

    assert (None if found is None else found.fix) == fix
