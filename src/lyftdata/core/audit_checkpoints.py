"""
Signed checkpoints of the audit log: the number of events and the root of their Merkle tree, signed by the Server.

A checkpoint is a C2SP tlog-checkpoint in a C2SP signed note (https://c2sp.org/tlog-checkpoint, https://c2sp.org/signed-note),
which third-party tools can read too:

    lyft.example/audit
    1289
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — lyft.example/audit Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=

Everything about the key is here. It is an Ed25519 key derived from the key of the audit chain: no key is stored, every Server
with the same secret key has the same one, and it signs nothing but checkpoints (docs/decisions/0028).
"""

import base64
import binascii
import re
from collections.abc import Sequence
from hashlib import sha256
from urllib.parse import quote

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lyftdata.core.audit import leaf_of
from lyftdata.core.encoding import derive_key
from lyftdata.core.errors import LyftdataError
from lyftdata.core.merkle_tree import HASH_BYTES, CompactRange, leaf_hash
from lyftdata.core.records import ChainedAuditEvent

_ED25519 = b"\x01"
_KEY_ID_BYTES = 4
_BODY = re.compile(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n(?:[^\n]+\n)*")
_SIGNATURE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})\n")


class CheckpointError(LyftdataError):
    """A text is not a checkpoint, or not signed by the key."""

    code = "audit_checkpoint_invalid"


class Checkpoint(msgspec.Struct, frozen=True):
    """The number of events and the root of their Merkle tree; `origin` names the log."""

    origin: str
    size: int
    root: bytes

    def body(self) -> str:
        """Return the text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


class CheckpointKey:
    """
    The key that signs checkpoints; its repr shows the public half only.

    Args:
        audit_key: The key of the audit chain.
        issuer: The Server's public address, from which the log's name is derived.
    """

    def __init__(self, audit_key: bytes, *, issuer: str) -> None:
        self._audit_key = audit_key
        self.origin = origin_of(issuer)
        self.published = published_key(audit_key, origin=self.origin)
        """The public half, in the form that verifiers accept."""

    def sign(self, tree: CompactRange) -> str:
        """Return the signed note for the events of a tree."""
        return sign_checkpoint(Checkpoint(self.origin, tree.size, tree.root()), [self._audit_key])

    def __repr__(self) -> str:
        return f"CheckpointKey({self.published})"


def published_key(audit_key: bytes, *, origin: str) -> str:
    """Return the public key of a log as NAME+ID+KEY, which C2SP signed-note calls a verifier key."""
    public = _private_key(audit_key).public_key()
    encoded = base64.b64encode(_ED25519 + public.public_bytes_raw()).decode()
    return f"{origin}+{_key_id(origin, public).hex()}+{encoded}"


def sign_checkpoint(checkpoint: Checkpoint, audit_keys: Sequence[bytes]) -> str:
    """Return the signed note, with a signature by each key, in this order."""
    body = checkpoint.body()
    lines = "".join(_signature_line(checkpoint.origin, body, audit_key) for audit_key in audit_keys)
    return f"{body}\n{lines}"


def add_signature(note: str, *, audit_key: bytes, keep: int) -> str:
    """
    Return a signed note with its first `keep` signatures, followed by one by another key.

    The caller has verified the note.
    """
    checkpoint = read_checkpoint(note)
    body, _, signatures = note.partition("\n\n")
    kept = "".join(signatures.splitlines(keepends=True)[:keep])
    added = _signature_line(checkpoint.origin, body + "\n", audit_key)
    return f"{body}\n\n{kept}{added}"


def _signature_line(origin: str, body: str, audit_key: bytes) -> str:
    private = _private_key(audit_key)
    signature = _key_id(origin, private.public_key()) + private.sign(body.encode())
    return f"— {origin} {base64.b64encode(signature).decode()}\n"


def _private_key(audit_key: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(derive_key(audit_key, info=b"lyftdata audit checkpoints v1"))


def origin_of(issuer: str) -> str:
    """Return the name of a Server's log: its address without the scheme (as C2SP recommends), and `/audit`."""
    _, _, address = issuer.partition("://")
    # A plus or a space would end the name in a verifier key or a signature line.
    return quote(address.rstrip("/"), safe="/:[]@!$&'(),;=%~") + "/audit"


def read_checkpoint(note: str) -> Checkpoint:
    """
    Return the checkpoint in a signed note; the signature is not checked.

    Raises:
        CheckpointError: Not a checkpoint.
    """
    body, _, _ = note.partition("\n\n")
    found = _BODY.fullmatch(body + "\n")
    if found is None:
        raise CheckpointError("This is not a checkpoint of an audit log.")
    return Checkpoint(found[1], int(found[2]), base64.b64decode(found[3]))


def verify_checkpoint(note: str, *, audit_key: bytes) -> Checkpoint:
    """
    Return the checkpoint in a signed note, if the key of this audit chain signed it, under any log name.

    Raises:
        CheckpointError: Not a checkpoint, or not signed by that key.
    """
    checkpoint = read_checkpoint(note)
    public = _private_key(audit_key).public_key()
    body, _, signatures = note.partition("\n\n")
    for name, encoded in _SIGNATURE.findall(signatures):
        if _has_signed(public, name, encoded, f"{body}\n".encode()):
            return checkpoint
    raise CheckpointError("The checkpoint is not signed by the key of this audit log.")


def _has_signed(public: Ed25519PublicKey, name: str, encoded: str, body: bytes) -> bool:
    try:
        blob = base64.b64decode(encoded, validate=True)
        public.verify(blob[_KEY_ID_BYTES:], body)
    except (binascii.Error, InvalidSignature):
        return False
    return blob[:_KEY_ID_BYTES] == _key_id(name, public)


def _key_id(name: str, public: Ed25519PublicKey) -> bytes:
    return sha256(name.encode() + b"\n" + _ED25519 + public.public_bytes_raw()).digest()[:_KEY_ID_BYTES]


def add_event(tree: CompactRange, chained: ChainedAuditEvent) -> None:
    """Add the next event of a log to its tree."""
    tree.append(leaf_hash(leaf_of(chained.event, number=chained.number)))


def join_peaks(tree: CompactRange) -> bytes:
    """Return the subtrees of a tree as they are stored."""
    return b"".join(tree.peaks)


def split_peaks(size: int, peaks: bytes) -> CompactRange:
    """Return the tree of `size` events from its stored subtrees; raises ValueError if they do not fit."""
    return CompactRange(size, (peaks[at : at + HASH_BYTES] for at in range(0, len(peaks), HASH_BYTES)))
