"""`lyftdata enrollment`."""

from tests.unit.cli.conftest import CommandHost


def test_only_the_generated_key_is_on_standard_output(tmp_path):
    """`enrollment generate-key` needs no Server; each key is different."""
    host = CommandHost(tmp_path)
    first, second = host.done("enrollment", "generate-key"), host.done("enrollment", "generate-key")

    assert first != second
    assert first.startswith("lyftdata_enroll_")
    assert len(first.strip()) == 65
    assert first.count("\n") == 1


def test_a_generated_key_is_written_to_a_private_file(tmp_path):
    """`--output` creates a file that only its owner can read, and never overwrites one."""
    host = CommandHost(tmp_path)
    assert host.done("enrollment", "generate-key", "--output", "enrollment.key") == ""
    file = tmp_path / "enrollment.key"

    assert len(file.read_text().strip()) == 65
    assert file.stat().st_mode & 0o777 == 0o600
    assert host.run("enrollment", "generate-key", "--output", "enrollment.key").exit_code == 1


def test_the_status_lists_the_accepted_keys(operator):
    """By their fingerprints."""
    shown = operator.done("enrollment", "status")

    assert shown.startswith("Auto-Enrollment is on; name policy ")
    (key,) = operator.json("enrollment", "status")["keys"]
    assert key["fingerprint"] in shown


def test_the_status_says_how_to_turn_enrollment_on(listen):
    """It names the variable, and the command that generates its value."""
    ended = listen(LYFTDATA_AUTO_ENROLLMENT_KEY="").signed_in().run("enrollment", "status")

    assert ended.output.startswith("Auto-Enrollment is off")
    assert "LYFTDATA_AUTO_ENROLLMENT_KEY (lyftdata enrollment generate-key)" in ended.errors
