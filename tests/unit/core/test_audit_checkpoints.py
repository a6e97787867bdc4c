"""Checkpoints are C2SP signed notes: read and verified as such, and rejected when anything in them was changed."""

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
    """Return the tree of a log of five events."""
    made = CompactRange()
    for chained in chain(5):
        add_event(made, chained)
    return made


@pytest.fixture(scope="module")
def note(tree):
    """Return a checkpoint of that log."""
    return CheckpointKey(KEY, issuer=ISSUER).sign(tree)


def test_a_checkpoint_says_how_many_events_and_their_root(tree, note):
    """Three lines as in C2SP tlog-checkpoint, and verified by the key that belongs to the chain."""
    lines = note.splitlines()

    assert lines[:2] == ["lyft.example/audit", "5"]
    assert base64.b64decode(lines[2]) == tree.root()
    checkpoint = verify_checkpoint(note, audit_key=KEY)
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == ("lyft.example/audit", 5, tree.root())
    assert checkpoint.body() == "\n".join(lines[:3]) + "\n"


def test_the_published_key_is_enough_to_verify(note):
    """NAME+ID+KEY: the Ed25519 key in it verifies the signature over the three lines, and the ID is in the signature."""
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
def test_a_changed_checkpoint_is_not_signed(note, change):
    """Another size, another log, another name in the signature."""
    with pytest.raises(CheckpointError, match="not signed"):
        verify_checkpoint(note.replace(*change, 1), audit_key=KEY)


def test_another_key_did_not_sign_it(note):
    """A checkpoint of another log, under the same name."""
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
def test_what_is_not_a_checkpoint_is_rejected(text, tree):
    """Lines that are missing, or numbers and hashes in another form."""
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
def test_the_log_has_its_name_from_the_issuer(issuer, origin):
    """The address without scheme, and nothing in it that would end a name in a note."""
    assert origin_of(issuer) == origin


def test_subtrees_are_stored_and_read_back(tree):
    """The tree goes on from what is stored; bytes that do not fit the size are rejected."""
    assert split_peaks(5, join_peaks(tree)).root() == tree.root()
    with pytest.raises(ValueError, match="cannot cover"):
        split_peaks(7, join_peaks(tree))


def test_the_number_of_an_event_is_in_its_leaf():
    """The same event at another place has another hash, and a leaf is one line of JSON."""
    one, two = (leaf_of(event(details={"n": "1\n2"}), number=number) for number in (1, 2))

    assert leaf_hash(one) != leaf_hash(two)
    assert one.startswith(b'{"number":1,"at":"2026-03-01T12:00:00Z",')
    assert b"\n" not in one


def test_the_key_shows_its_public_half_only():
    """A repr in a traceback has the key that is published anyway."""
    key = CheckpointKey(KEY, issuer=ISSUER)

    assert repr(key) == f"CheckpointKey({key.published})"
