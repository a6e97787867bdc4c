"""`lyftdata enrollment`."""

from tests.processes import Host


def test_generated_keys_stand_alone_on_standard_output(tmp_path):
    """`enrollment generate-key` needs no Server; two keys differ."""
    host = Host(tmp_path)
    first, second = host.done("enrollment", "generate-key"), host.done("enrollment", "generate-key")

    assert first != second
    assert first.startswith("lyftdata_enroll_")
    assert len(first.strip()) == 65
    assert first.count("\n") == 1


def test_a_generated_key_goes_to_a_private_file(tmp_path):
    """`--output` writes a new file that its owner alone can read, and replaces none."""
    host = Host(tmp_path)
    assert host.done("enrollment", "generate-key", "--output", "enrollment.key") == ""
    file = tmp_path / "enrollment.key"

    assert len(file.read_text().strip()) == 65
    assert file.stat().st_mode & 0o777 == 0o600
    assert host.run("enrollment", "generate-key", "--output", "enrollment.key").returncode == 1
