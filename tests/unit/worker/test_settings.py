"""A Worker whose name or label contains a secret does not start."""

import pytest
from tests.builders import ENROLLMENT_KEY, seeded_bytes

from lyftdata.core.api_keys import generate_api_key
from lyftdata.core.errors import SettingsError
from lyftdata.worker.settings import read_worker_settings

API_KEY = generate_api_key(seeded_bytes(7)).text.reveal()


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"LYFTDATA_WORKER_NAME": ENROLLMENT_KEY}, "LYFTDATA_WORKER_NAME"),
        ({"LYFTDATA_WORKER_NAME": f"press {ENROLLMENT_KEY}"}, "LYFTDATA_WORKER_NAME"),
        ({"LYFTDATA_WORKER_LABELS": f"zone=eu,key={ENROLLMENT_KEY}"}, "LYFTDATA_WORKER_LABELS"),
        ({"LYFTDATA_WORKER_LABELS": ENROLLMENT_KEY}, "LYFTDATA_WORKER_LABELS"),
        ({"LYFTDATA_WORKER_NAME": API_KEY}, "LYFTDATA_WORKER_NAME"),
        ({"LYFTDATA_WORKER_LABELS": f"key={API_KEY}"}, "LYFTDATA_WORKER_LABELS"),
        ({"LYFTDATA_WORKER_LABELS": API_KEY}, "LYFTDATA_WORKER_LABELS"),
    ],
)
def test_a_secret_in_a_name_or_label_is_rejected_at_startup(environ, variable):
    """The Worker's enrollment key and any API key; the error names the variable, not the secret."""
    given = {"LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY, "LYFTDATA_WORKER_NAME": "press"} | environ
    with pytest.raises(SettingsError) as refused:
        read_worker_settings(given)

    [problem] = refused.value.problems
    assert problem.startswith(variable)
    assert ENROLLMENT_KEY not in problem
    assert API_KEY not in problem


@pytest.mark.parametrize(
    ("damaged", "flaw"),
    [(ENROLLMENT_KEY[:-1], "this one has 64"), (ENROLLMENT_KEY[:-1] + "w", "its checksum is wrong")],
)
def test_an_incomplete_enrollment_key_is_reported_on_its_host(damaged, flaw):
    """The Server must not tell an unproven caller what is wrong with a key, but the key's own host may know."""
    given = {"LYFTDATA_AUTO_ENROLLMENT_KEY": damaged, "LYFTDATA_WORKER_NAME": "press"}
    (warning,) = read_worker_settings(given).warnings

    assert warning.startswith("LYFTDATA_AUTO_ENROLLMENT_KEY: not a complete enrollment key")
    assert flaw in warning
    assert damaged[26:] not in warning
