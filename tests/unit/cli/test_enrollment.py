"""`lyftdata enrollment`."""

from tests.unit.cli.conftest import CommandHost


def test_generated_keys_stand_alone_on_standard_output(tmp_path):
    """`enrollment generate-key` needs no Server; two keys differ."""
    host = CommandHost(tmp_path)
    first, second = host.done("enrollment", "generate-key"), host.done("enrollment", "generate-key")

    assert first != second
    assert first.startswith("lyftdata_enroll_")
    assert len(first.strip()) == 65
    assert first.count("\n") == 1


def test_a_generated_key_goes_to_a_private_file(tmp_path):
    """`--output` writes a new file that its owner alone can read, and overwrites none."""
    host = CommandHost(tmp_path)
    assert host.done("enrollment", "generate-key", "--output", "enrollment.key") == ""
    file = tmp_path / "enrollment.key"

    assert len(file.read_text().strip()) == 65
    assert file.stat().st_mode & 0o777 == 0o600
    assert host.run("enrollment", "generate-key", "--output", "enrollment.key").exit_code == 1


def test_the_status_says_what_is_accepted(operator):
    """A key, by its fingerprint."""
    shown = operator.done("enrollment", "status")

    assert shown.startswith("Auto-Enrollment is on; name policy ")
    (key,) = operator.json("enrollment", "status")["keys"]
    assert key["fingerprint"] in shown


def test_the_status_says_how_to_switch_it_on(listen):
    """The variable, and the command that makes its value."""
    ended = listen(LYFTDATA_AUTO_ENROLLMENT_KEY="").signed_in().run("enrollment", "status")

    assert ended.output.startswith("Auto-Enrollment is off")
    assert "LYFTDATA_AUTO_ENROLLMENT_KEY (lyftdata enrollment generate-key)" in ended.errors
