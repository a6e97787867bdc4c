"""The last checkpoint of the audit log, in the data directory."""

import pytest

from lyftdata.core.audit_checkpoints import CheckpointKey
from lyftdata.core.errors import SettingsError
from lyftdata.core.merkle_tree import CompactRange
from lyftdata.server.admin.kept_checkpoint import FILE, KeptCheckpoint


@pytest.mark.parametrize("directory", ["there", "missing/further"])
def test_a_host_that_has_run_no_server_has_no_checkpoint(tmp_path, directory):
    """With or without a data directory: a reinstalled host has no checkpoint to compare the log with."""
    (tmp_path / "there").mkdir(mode=0o700)

    assert KeptCheckpoint(tmp_path / directory).load() is None


def test_a_checkpoint_that_others_can_change_is_not_read(tmp_path):
    """Anyone who rolled back the database could have replaced the checkpoint too."""
    (tmp_path / FILE).write_text("a checkpoint")
    (tmp_path / FILE).chmod(0o666)

    with pytest.raises(SettingsError, match=FILE):
        KeptCheckpoint(tmp_path).load()


def test_a_late_process_does_not_replace_a_newer_checkpoint(tmp_path):
    """The processes of a Server share the file: its size must not shrink, or a log truncated to it would pass."""
    tmp_path.chmod(0o700)
    key = CheckpointKey(bytes(32), issuer="https://lyft.example")
    tree = CompactRange()
    notes = []
    for number in range(3):
        tree.append(bytes([number]) * 32)
        notes.append(key.sign(tree))
    kept = KeptCheckpoint(tmp_path)

    for note in (notes[0], notes[2], notes[1]):
        kept.save(note)

    loaded = kept.load()
    assert loaded is not None
    assert loaded.size == 3
