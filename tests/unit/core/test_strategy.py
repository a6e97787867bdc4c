"""Which strategy a Worker uses, for every combination of what it is given."""

import itertools

import pytest

from lyftdata.core.errors import SettingsError
from lyftdata.core.strategy import (
    Enroll,
    MoveStoredIdentity,
    RenameStoredIdentity,
    StoredIdentity,
    UseApiKey,
    UseStoredIdentity,
    WorkerInputs,
    choose_strategy,
    server_mismatch,
    worker_name_mismatch,
)

URL = "https://lyft.example"
STORED = StoredIdentity(issuer=URL, server_url=URL, worker_id="w-7", worker_name="press")
OTHER_SERVER = StoredIdentity(
    issuer="https://o", server_url="https://o", worker_id="w-7", worker_name="press"
)
OTHER_NAME = StoredIdentity(issuer=URL, server_url=URL, worker_id="w-8", worker_name="other")


def outcome(worker_id, api_key, name, secret, stored):
    """Return the chosen strategy, or the error's message."""
    inputs = WorkerInputs(
        worker_id=worker_id,
        has_api_key=api_key,
        worker_name=name,
        has_enrollment_key=secret,
        server_url=URL,
    )
    try:
        return choose_strategy(inputs, stored)
    except SettingsError as error:
        assert len(error.problems) == 1
        return error.problems[0]


TABLE = list(
    itertools.product(
        ["w-1", None], [True, False], ["press", None], [True, False], [None, STORED, OTHER_SERVER, OTHER_NAME]
    )
)


@pytest.mark.parametrize(("worker_id", "api_key", "name", "secret", "stored"), TABLE)
def test_every_combination_has_one_outcome(worker_id, api_key, name, secret, stored):
    """ID and key: API key. A stored identity: used, moved or renamed. Name and secret: enrollment. Anything else: an error."""
    result = outcome(worker_id, api_key, name, secret, stored)

    if worker_id and api_key and not secret and stored is None:
        assert result == UseApiKey("w-1")
    elif not worker_id and not api_key and (stored is STORED or (stored is OTHER_NAME and name is None)):
        assert result == UseStoredIdentity(stored)
    elif not worker_id and not api_key and stored is OTHER_SERVER:
        assert result == MoveStoredIdentity(stored)
    elif not worker_id and not api_key and stored is OTHER_NAME and name:
        assert result == RenameStoredIdentity(stored)
    elif not worker_id and not api_key and name and secret and stored is None:
        assert result == Enroll("press")
    else:
        assert isinstance(result, str), result


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("w-1", True, None, True, None), ["WORKER_ID", "WORKER_API_KEY", "AUTO_ENROLLMENT_KEY", "unset"]),
        (("w-1", False, "n", True, None), ["WORKER_ID", "AUTO_ENROLLMENT_KEY", "unset"]),
        (("w-1", False, None, False, None), ["WORKER_ID", "WORKER_API_KEY"]),
        ((None, True, None, False, None), ["WORKER_API_KEY", "WORKER_ID"]),
        ((None, False, None, True, None), ["AUTO_ENROLLMENT_KEY", "WORKER_NAME"]),
        (
            (None, False, None, False, None),
            ["WORKER_ID", "WORKER_API_KEY", "WORKER_NAME", "AUTO_ENROLLMENT_KEY"],
        ),
        (("w-1", True, None, False, STORED), ["WORKER_ID", "WORKER_API_KEY", "JOBS_DIR", "w-7"]),
    ],
)
def test_an_error_names_every_variable_at_fault(given, named):
    """The single message says what to set or unset."""
    message = outcome(*given)

    assert all(part in message for part in named), message


def test_the_error_for_another_server_lists_all_remedies():
    """It has the variables, the Server for which the identity is, and what to set if the Server has moved."""
    (message,) = server_mismatch(URL, OTHER_SERVER).problems

    assert all(part in message for part in ("LYFTDATA_URL", "JOBS_DIR", "https://o", "PREVIOUS_PUBLIC_URLS"))


def test_the_error_for_another_name_lists_all_remedies():
    """It has the variables, the Worker's name on the Server, and the command that renames it there."""
    (message,) = worker_name_mismatch("new", "current", STORED).problems

    assert all(
        part in message for part in ("LYFTDATA_WORKER_NAME", "JOBS_DIR", "'current'", "rename w-7 'new'")
    )


def test_the_enrollment_key_is_not_needed_once_enrolled():
    """With a stored identity, it does not matter whether the secret is present, changed or gone."""
    assert outcome(None, False, "press", True, STORED) == outcome(None, False, "press", False, STORED)
