"""
Computes and checks the hash chain that reveals changes to the audit log.

Each event's hash is a keyed hash (HMAC-SHA256) over its number, its content and the previous hash. The key is not in the
database, so an attacker who can write there cannot compute a chain that fits. Truncation (removing the last events) is found
by comparison with the head, which is recorded separately.
"""

import hmac
from collections.abc import Iterable
from hashlib import sha256

import msgspec

from lyftdata.core.records import AuditEvent, ChainedAuditEvent

PRUNED = "audit_log.pruned"
"""Action of the event that records a removal of old events, up to number `through`."""
KEY_ROTATED = "secret_key.rotated"
"""Action of the event that continues the chain under another key; it names the last event under the previous key."""
GENESIS = bytes(32)
"""The hash before the first event."""

# Deterministic: the same event must give the same bytes whichever database it was read from.
_encoder = msgspec.json.Encoder(order="deterministic")


class ChainReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    The result of checking a chain.

    `first_bad` is the number of the first event that does not fit. `removed` is how many of the oldest events were pruned; the
    chain is checked from the one after.
    """

    ok: bool
    checked: int
    head_number: int
    head_hash: bytes
    first_bad: int | None = None
    problem: str = ""
    removed: int = 0


def chain_hash(event: AuditEvent, *, number: int, previous: bytes, key: bytes) -> bytes:
    """
    Return the 32-byte hash of an event at its position.

    Args:
        event: Times are hashed in UTC with microseconds.
        number: From 1, without gaps.
        previous: Hash of the previous event, or GENESIS.
        key: 32 bytes that the database does not hold.
    """
    # Ambiguous encoding: the number and the previous hash have fixed widths and the rest is one JSON document, so no two contents
    # give the same bytes. The number is inside: a deleted event cannot be hidden by renumbering those after it.
    message = number.to_bytes(8, "big") + previous + _encoder.encode(event)
    return hmac.digest(key, message, sha256)


def leaf_of(event: AuditEvent, *, number: int) -> bytes:
    """
    Return an event as an entry of the log's Merkle tree: one JSON object, which is also its line in a signed export.

    The chain's hash is not included: only a holder of the key can check it, and it changes with the key.
    """
    return b'{"number":%d,' % number + _encoder.encode(event)[1:]


def verify_chain(
    events: Iterable[ChainedAuditEvent],
    *,
    key: bytes,
    start: tuple[int, bytes] = (0, GENESIS),
    expected_head: tuple[int, bytes] | None = None,
) -> ChainReport:
    """
    Check every link.

    Args:
        events: In order of number, from the one after `start`.
        key: As for `chain_hash`.
        start: Number and hash of the event before the first.
        expected_head: Number and hash that the last event must have.
    """
    number, previous = start
    checked = 0
    for chained in events:
        problem = _problem_of(chained, number=number + 1, previous=previous, key=key)
        if problem:
            return ChainReport(
                ok=False,
                checked=checked,
                head_number=number,
                head_hash=previous,
                first_bad=number + 1,
                problem=problem,
            )
        number, previous = chained.number, chained.hash
        checked += 1
    # Truncation: a chain that ends early is intact link by link; only the head recorded separately shows what is missing.
    if expected_head is not None and expected_head != (number, previous):
        problem = f"The log ends at event {number}, but event {expected_head[0]} was the last one written."
        return ChainReport(
            ok=False,
            checked=checked,
            head_number=number,
            head_hash=previous,
            first_bad=number + 1,
            problem=problem,
        )
    return ChainReport(ok=True, checked=checked, head_number=number, head_hash=previous)


def _problem_of(chained: ChainedAuditEvent, *, number: int, previous: bytes, key: bytes) -> str:
    if chained.number != number:
        return f"Event {number} is missing: event {chained.number} stands in its place."
    if chained.previous != previous:
        return f"Event {number} does not follow from the one before it."
    # Tampering: with the key, since an unkeyed hash could be recomputed by anyone who can write to the database.
    expected = chain_hash(chained.event, number=number, previous=previous, key=key)
    if not hmac.compare_digest(expected, chained.hash):
        return f"Event {number} was changed after it was written."
    return ""
