"""Checkpoints are C2SP signed notes, and are rejected if anything in them was changed."""

import base64

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.builders import event
from tests.unit.core.test_audit import KEY, chain

from lyftdata.core.audit import leaf_of
from lyftdata.core.audit_checkpoints import (
    CheckpointError,
    CheckpointKey,
    add_event,
    join_peaks,
    origin_of,
    read_checkpoint,
    split_peaks,
    verify_checkpoint,
)
from lyftdata.core.merkle_tree import CompactRange, leaf_hash

ISSUER = "https://lyft.example"


@pytest.fixture(scope="module")
def tree():
    """Return the Merkle tree of a log with five events."""
    made = CompactRange()
    for chained in chain(5):
        add_event(made, chained)
    return made


@pytest.fixture(scope="module")
def note(tree):
    """Return a signed checkpoint of this log."""
    return CheckpointKey(KEY, issuer=ISSUER).sign(tree)


def test_a_checkpoint_has_the_number_of_events_and_their_root(tree, note):
    """Its three lines are those of C2SP tlog-checkpoint; it is verified with the key derived from the chain's."""
    lines = note.splitlines()

    assert lines[:2] == ["lyft.example/audit", "5"]
    assert base64.b64decode(lines[2]) == tree.root()
    checkpoint = verify_checkpoint(note, audit_key=KEY)
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == ("lyft.example/audit", 5, tree.root())
    assert checkpoint.body() == "\n".join(lines[:3]) + "\n"


def test_the_published_key_is_enough_to_verify(note):
    """NAME+ID+KEY: the Ed25519 key verifies the signature of the three lines, and the signature has the same ID."""
    name, key_id, key = CheckpointKey(KEY, issuer=ISSUER).published.split("+", 2)
    body, _, signatures = note.partition("\n\n")
    blob = base64.b64decode(signatures.split()[2])
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key)[1:])

    public.verify(blob[4:], f"{body}\n".encode())
    assert (name, key_id, base64.b64decode(key)[0]) == (signatures.split()[1], blob[:4].hex(), 1)
    with pytest.raises(InvalidSignature):
        public.verify(blob[4:], body.encode())


@pytest.mark.parametrize(
    "change",
    [
        ("\n5\n", "\n4\n"),
        ("lyft.example/audit\n5", "other.example/audit\n5"),
        ("— lyft.example", "— other.example"),
    ],
)
def test_a_changed_checkpoint_is_rejected(note, change):
    """Another size, another log, another name in the signature."""
    with pytest.raises(CheckpointError, match="not signed"):
        verify_checkpoint(note.replace(*change, 1), audit_key=KEY)


def test_a_checkpoint_signed_with_another_key_is_rejected(note):
    """Even if the log has the same name."""
    with pytest.raises(CheckpointError, match="not signed"):
        verify_checkpoint(note, audit_key=b"o" * 32)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "lyft.example/audit\n5\n",
        "lyft.example/audit\n05\n{root}\n\n— x y\n",
        "lyft.example/audit\n-5\n{root}\n\n— x y\n",
        "lyft.example/audit\n5\nshort=\n\n— x y\n",
        "5\n{root}\n\n— x y\n",
    ],
)
def test_a_malformed_checkpoint_is_rejected(text, tree):
    """Lines are missing, or numbers and hashes have another format."""
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        read_checkpoint(text.format(root=base64.b64encode(tree.root()).decode()))


@pytest.mark.parametrize(
    ("issuer", "origin"),
    [
        ("https://lyft.example", "lyft.example/audit"),
        ("http://localhost:3000", "localhost:3000/audit"),
        ("https://[2001:db8::1]:3000", "[2001:db8::1]:3000/audit"),
        ("https://lyft.example/a+b c", "lyft.example/a%2Bb%20c/audit"),
    ],
)
def test_the_log_is_named_after_the_issuer(issuer, origin):
    """Its URL without the scheme, with every character escaped that would end a name in a note."""
    assert origin_of(issuer) == origin


def test_a_tree_is_restored_from_its_stored_peaks(tree):
    """Stored bytes that do not fit the size are rejected."""
    assert split_peaks(5, join_peaks(tree)).root() == tree.root()
    with pytest.raises(ValueError, match="cannot cover"):
        split_peaks(7, join_peaks(tree))


def test_a_leaf_contains_the_events_number():
    """So the same event at another position has another hash. A leaf is one line of JSON."""
    one, two = (leaf_of(event(details={"n": "1\n2"}), number=number) for number in (1, 2))

    assert leaf_hash(one) != leaf_hash(two)
    assert one.startswith(b'{"number":1,"at":"2026-03-01T12:00:00Z",')
    assert b"\n" not in one


def test_the_repr_of_the_key_has_only_its_public_half():
    """A repr in a traceback reveals nothing that is not published anyway."""
    key = CheckpointKey(KEY, issuer=ISSUER)

    assert repr(key) == f"CheckpointKey({key.published})"
