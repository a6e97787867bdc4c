"""`lyftdata workers` label, rotate-key, disable, enable, delete and undo."""

import httpx2
import pytest
from tests.builders import ENROLLMENT_KEY

from lyftdata.core.identity_keys import generate_identity_key


@pytest.fixture
def enrolled_id(listening):
    """Return the ID of an enrolled Worker."""
    body = {"client_name": "press", "jwks": {"keys": [generate_identity_key().public.as_dict()]}}
    headers = {"Authorization": f"Bearer {ENROLLMENT_KEY}"}
    answer = httpx2.post(f"{listening.url}/oauth2/register", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["client_id"]


def test_workers_are_asked_to_rotate_their_identity_key(operator, enrolled_id):
    """One by its ID, or all after confirmation; the tables show which have not done so."""
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


def test_labels_rotations_and_deletions_take_a_search(operator, enrolled_id):
    """Adding labels keeps the others, and Workers without an identity key are counted separately."""
    operator.json("workers", "add", "many-01", "--id", "many-01", "--label", "zone=eu-1")
    operator.json("workers", "add", "many-02", "--id", "many-02")
    labelled = operator.json(
        "workers", "label", "--where", "id:many-", "--add", "rack=7", "zone=eu-2", "--yes"
    )
    assert labelled["ids"] == ["many-01", "many-02"]
    assert operator.json("workers", "undo", str(labelled["number"]))["restored"] == 2
    assert operator.json("workers", "show", "many-01")["labels"] == {"zone": "eu-1"}
    both = f"id:many-01,{enrolled_id}"
    asked = operator.run("workers", "rotate-key", "--where", both, "--yes", "--expect", "2")
    assert "1 Worker asked to rotate the identity key\n1 Worker without an identity key" in asked.errors
    assert "undo" not in asked.errors
    assert operator.run("workers", "rotate-key", "--where", both, "--all", "--yes").exit_code == 2
    operator.done("workers", "delete", "--where", "id:many-", "--yes")
    assert operator.json("workers", "list", "id:many-") == []
