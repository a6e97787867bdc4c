"""A key or CA file that is replaced while a program runs is noticed; an incomplete one is not used."""

import pytest
from tests.builders import ENROLLMENT_KEY, ISSUER, seeded_bytes

from lyftdata.core.api_keys import generate_api_key
from lyftdata.core.enrollment_secrets import generate_enrollment_key
from lyftdata.core.secret import Secret
from lyftdata.current_secrets import CurrentApiKey, CurrentEnrollmentKey
from lyftdata.watched_file import WatchedFile

FIRST, SECOND = (generate_api_key(seeded_bytes(seed)).text.reveal() for seed in (1, 2))


@pytest.mark.parametrize("written", [SECOND, f"{SECOND}\n", f"\ufeff{SECOND}\r\n", f"  {SECOND}\t"])
def test_a_rotated_key_is_used(tmp_path, written):
    """However the tool that rotates it ends its lines."""
    file = tmp_path / "key"
    file.write_text(FIRST)
    key = CurrentApiKey(Secret(FIRST), file)
    before = key.version()
    assert (key.read().reveal(), key.version()) == (FIRST, before)

    file.write_text(written, encoding="utf-8")

    assert key.version() != before
    assert key.read().reveal() == SECOND
    assert SECOND not in key.version()


@pytest.mark.parametrize(
    "left", [None, b"", b"\n", SECOND[:30].encode(), b"\xff\xfe", f'"{SECOND}"'.encode()]
)
def test_a_file_without_a_complete_key_changes_nothing(tmp_path, left):
    """If it is missing, empty, truncated, not text or in quotes, the last key stays in use."""
    file = tmp_path / "key"
    if left is not None:
        file.write_bytes(left)
    key = CurrentApiKey(Secret(FIRST), file)

    assert key.version() == CurrentApiKey(Secret(FIRST)).version()
    assert key.read().reveal() == FIRST


@pytest.mark.parametrize(("left", "used"), [("n" * 40, "n"), ("n" * 31, "o"), ("", "o"), (None, "o")])
def test_a_rotated_enrollment_key_is_used_once_it_is_complete(tmp_path, left, used):
    """One that is shorter than the minimum is still being written."""
    file = tmp_path / "enrollment.key"
    if left is not None:
        file.write_text(left)

    assert CurrentEnrollmentKey(Secret("o" * 40), file).read().reveal() == used * 40


def test_a_generated_enrollment_key_is_used_once_it_is_complete(tmp_path):
    """Part of it can be longer than the minimum, but its checksum is then wrong."""
    file = tmp_path / "enrollment.key"
    key = CurrentEnrollmentKey(Secret("o" * 40), file)
    for length in (32, 64):
        file.write_text(ENROLLMENT_KEY[:length])
        assert key.read().reveal() == "o" * 40
    file.write_text(ENROLLMENT_KEY)

    assert key.read().reveal() == ENROLLMENT_KEY


def test_proofs_use_the_rotated_enrollment_key(tmp_path):
    """The key pair is derived once per key and Server, and again when either changes."""
    file = tmp_path / "enrollment.key"
    key = CurrentEnrollmentKey(Secret(ENROLLMENT_KEY), file)
    first = key.proof_key(ISSUER)
    assert key.proof_key(ISSUER) is first
    other_server = key.proof_key("https://other.example")
    assert other_server.audience == "https://other.example"
    file.write_text(generate_enrollment_key(seeded_bytes(5)).reveal())

    assert key.proof_key(ISSUER).key_id not in {first.key_id, None}


def test_a_key_from_a_variable_does_not_change():
    """There is no file to read it from again."""
    key = CurrentApiKey(Secret(FIRST))

    assert (key.read().reveal(), key.version()) == (FIRST, key.version())


def test_a_replaced_file_is_noticed_once(tmp_path):
    """If it is rewritten, replaced by a rename, or its link changes; a missing file has not changed."""
    file, link = tmp_path / "ca", tmp_path / "link"
    file.write_text("first")
    link.symlink_to(file)
    watched = WatchedFile(link)
    assert not watched.has_changed()

    file.write_text("second, longer")
    assert [watched.has_changed(), watched.has_changed()] == [True, False]
    (tmp_path / "new").write_text("third, longer!")
    (tmp_path / "new").replace(file)
    assert [watched.has_changed(), watched.has_changed()] == [True, False]
    (tmp_path / "other").write_text("fourth")
    (tmp_path / "new").symlink_to(tmp_path / "other")
    (tmp_path / "new").replace(link)
    assert [watched.has_changed(), watched.has_changed()] == [True, False]
    watched.forget()
    assert [watched.has_changed(), watched.has_changed()] == [True, False]
    link.unlink()
    assert not watched.has_changed()


def test_without_a_file_nothing_changes():
    """If the system's certificates are trusted, there is nothing to watch."""
    assert not WatchedFile(None).has_changed()
