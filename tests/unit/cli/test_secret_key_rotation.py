"""`lyftdata admin rotate-secret-key`: confirmation and output."""

from tests.builders import OTHER_SECRET_KEY

COMMAND = ("admin", "rotate-secret-key")


def test_a_rotation_needs_confirmation(stopped):
    """Without a terminal nothing is done."""
    ended = stopped.run(*COMMAND, LYFTDATA_SECRET_KEY_NEXT=OTHER_SECRET_KEY)

    assert ended.exit_code == 2
    assert "there is no terminal to ask" in ended.errors


def test_a_rotation_says_which_key_to_start_with(stopped, tmp_path):
    """It prints the event and the public key, but no secret key; afterwards the state can only be used with the new key."""
    ended = stopped.run(*COMMAND, "--yes", LYFTDATA_SECRET_KEY_NEXT=OTHER_SECRET_KEY)

    assert ended.exit_code == 0, ended.errors
    assert ended.output.startswith("Rotated the secret key: event ")
    assert "Public key of the audit log: " in ended.output
    assert "Start every Server with the new key as LYFTDATA_SECRET_KEY." in ended.errors
    assert OTHER_SECRET_KEY not in ended.output + ended.errors
    backup = ("admin", "backup", str(tmp_path / "copy.db"))
    assert stopped.run(*backup).exit_code == 1
    (tmp_path / "copy.db").unlink(missing_ok=True)
    assert stopped.run(*backup, LYFTDATA_SECRET_KEY=OTHER_SECRET_KEY).exit_code == 0
