"""`lyftdata workers`."""

import httpx2
import pytest
from tests.builders import ENROLLMENT_KEY

from lyftdata.cli.main import run
from lyftdata.core.identity_keys import generate_identity_key


@pytest.fixture
def enrolled_id(listening):
    """Return the ID of a Worker that has enrolled by itself."""
    body = {"client_name": "press", "jwks": {"keys": [generate_identity_key().public.as_dict()]}}
    headers = {"Authorization": f"Bearer {ENROLLMENT_KEY}"}
    answer = httpx2.post(f"{listening.url}/oauth2/register", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["client_id"]


@pytest.mark.parametrize("odd", ["", ".", "..", "a/b", " "])
def test_a_text_that_is_not_an_id_is_rejected_here(odd, capsys):
    """A script with an unset variable must not send a request about something else."""
    assert run(["workers", "show", odd]) == 2
    assert "is not an ID or a name" in capsys.readouterr().err


def test_workers_are_asked_to_rotate_their_identity_key(operator, enrolled_id):
    """One by its ID or all of them, the latter after a question; the table and the list say who has not yet."""
    assert "never: the key that it enrolled with" in operator.done("workers", "show", enrolled_id)
    assert operator.run("workers", "rotate-key").exit_code == 2
    assert operator.run("workers", "rotate-key", enrolled_id, "--all").exit_code == 2
    assert operator.run("workers", "rotate-key", "--all").exit_code == 2

    assert "1 Worker was asked" in operator.done("workers", "rotate-key", enrolled_id)
    assert "not done yet" in operator.done("workers", "show", enrolled_id)
    listed = operator.json("workers", "list", "--key-rotation", "asked")
    assert [worker["id"] for worker in listed] == [enrolled_id]
    asked = operator.json("workers", "rotate-key", "--all", "--yes")
    assert enrolled_id in asked["ids"]
    operator.done("workers", "add", "with-a-key", "--id", "with-a-key")
    ended = operator.run("workers", "rotate-key", "with-a-key", enrolled_id)
    assert (ended.exit_code, ended.output.startswith("1 Worker was asked")) == (1, True)
    assert "with-a-key has no identity key to rotate" in ended.errors


def test_workers_are_searched_in_one_argument(operator):
    """QUERY takes the language of the pages; with options, all must fit; what cannot be understood is an error that says where."""
    for worker_id, label in (("hay-01", "rack=x1"), ("hay-02", "rack=x2"), ("needle", "rack=x1")):
        operator.json("workers", "add", worker_id, "--id", worker_id, "--label", label)

    def found(*arguments):
        return [worker["id"] for worker in operator.json("workers", "list", *arguments)]

    assert found("hay -rack=x2 status:never_connected") == ["hay-01"]
    assert found("hay", "--label", "rack=x2") == ["hay-02"]
    assert found("label:rack -hay") == ["needle"]
    assert found("--search", "needle") == ["needle"]
    wrong = operator.run("workers", "list", "hsot:rack1")
    assert (wrong.exit_code, "Did you mean 'host:'?" in wrong.errors) == (1, True)
    assert wrong.errors.startswith("Error: The search is not understood at character 1: ")
    assert operator.run("workers", "list", " ").exit_code == 2
