"""
Makes, parses and checks API keys: `lyftdata_<10 public id>_<32 secret><6 checksum>`, base62, 58 characters.

The prefix lets secret scanners recognise a leaked key. The checksum shows offline that a key was cut or mistyped. The public
id finds the record and is not a secret. The secret carries more than 190 random bits and is stored as a SHA-256 digest
(docs/decisions/0003 says why a slow hash is not needed).
"""

import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import datetime

import msgspec

from lyftdata.core.base62 import checksum, generate_base62
from lyftdata.core.records import ApiKeyRecord
from lyftdata.core.refusals import MalformedApiKeyError, WrongApiKeyError
from lyftdata.core.secret import Secret
from lyftdata.core.standing import Problem, key_problem
from lyftdata.core.text import count
from lyftdata.core.times import format_time

_FORM = re.compile(r"(lyftdata_([0-9A-Za-z]{10})_([0-9A-Za-z]{32}))([0-9A-Za-z]{6})")
API_KEY_LENGTH = 58
# Enumeration by timing: compared against if no record has the public id, so that an unknown id takes as long as a wrong secret.
_DECOY_DIGEST = bytes(32)


class NewApiKey(msgspec.Struct, frozen=True):
    """A new key: its text is shown once, its digest is stored."""

    public_id: str
    text: Secret
    digest: bytes


class PresentedApiKey(msgspec.Struct, frozen=True):
    """A well-formed key as a caller presented it; nothing is proved yet."""

    public_id: str
    digest: bytes


def generate_api_key(random_bytes: Callable[[int], bytes]) -> NewApiKey:
    """Make a key."""
    public_id = generate_base62(random_bytes, 10)
    secret = generate_base62(random_bytes, 32)
    body = f"lyftdata_{public_id}_{secret}"
    return NewApiKey(public_id, Secret(body + checksum(body)), _digest(secret))


def parse_api_key(unverified: str, *, claimed_worker: str = "") -> PresentedApiKey:
    """
    Read a key as presented.

    Args:
        unverified: As received.
        claimed_worker: The ID that the caller claims, for the refusal; "" if it does not say.

    Raises:
        MalformedApiKeyError: Wrong form or checksum. Anyone can compute that offline, so a quick answer reveals nothing.
    """
    match = _FORM.fullmatch(unverified)
    if match is None:
        raise MalformedApiKeyError(
            f"What was sent has {count(len(unverified), 'character')}.", claimed_worker=claimed_worker
        )
    body, public_id, secret, given = match.groups()
    if given != checksum(body):
        raise MalformedApiKeyError(
            f"The checksum of {public_id} is wrong: a character was changed.", claimed_worker=claimed_worker
        )
    # A fast hash on purpose: the secret is random, so guessing it is hopeless, while a slow hash would let unproven callers
    # exhaust the processor (docs/decisions/0003).
    return PresentedApiKey(public_id, _digest(secret))


def holds_api_key(text: str) -> bool:
    """Return whether a text contains an API key of lyftdata, by its form and checksum."""
    return any(match[4] == checksum(match[1]) for match in _FORM.finditer(text))


def find_malformation(api_key: Secret) -> str | None:
    """Return what is wrong with the form or the checksum of a key, or None; the text does not repeat the key."""
    text = api_key.reveal()
    match = _FORM.fullmatch(text)
    if match is not None:
        is_right = match[4] == checksum(match[1])
        return None if is_right else "its checksum is wrong, so at least one character was changed"
    if len(text) != API_KEY_LENGTH:
        return f"it has {count(len(text), 'character')}, and an API key has {API_KEY_LENGTH}"
    return "it does not have the form lyftdata_… of letters and digits"


def verify_api_key(
    presented: PresentedApiKey, *, record: ApiKeyRecord | None, worker_id: str, now: datetime
) -> ApiKeyRecord:
    """
    Check a presented key against the record with its public id, and that this Worker may use it now.

    Does not check whether the Worker exists or is enabled: the caller asks the directory.

    Args:
        presented: As returned by `parse_api_key`.
        record: The record with that public id, or None; the time taken does not reveal which.
        worker_id: The ID sent with the key.
        now: Aware UTC time.

    Raises:
        WrongApiKeyError: No such key, or another secret.
        ApiKeyRevokedError: Revoked.
        ApiKeyRotatedError: An older generation, and `now >= expires_at`.
        ApiKeyExpiredError: The newest generation, and `now >= expires_at`.
        ApiKeyNotForWorkerError: Issued for other Workers.
    """
    # Step 1, the secret, before anything else is said. Timing oracle: compared in constant time, so an answer's time reveals no
    # matching prefix. Both cases raise one error: "no such key" would confirm which public ids exist.
    right = hmac.compare_digest(presented.digest, _DECOY_DIGEST if record is None else record.digest)
    if record is None or not right:
        raise WrongApiKeyError(lambda: f"Public id {presented.public_id}.", claimed_worker=worker_id)
    # Step 2, revoked, expired, for another Worker: only now. Before the secret is proved, these causes would tell an unproven caller
    # the state of a key, or which Workers it is for.
    problem = key_problem(record, worker_id=worker_id, now=now)
    if problem is not None:
        raise problem.cause(lambda: _describe(problem, record), claimed_worker=worker_id, api_key=record.name)
    return record


def _format_others(number: int) -> str:
    return count(number, "other Worker") if number else "no Worker any more"


def _named(record: ApiKeyRecord) -> str:
    return f"API key '{record.name}' ({record.public_id})"


def _format_end(record: ApiKeyRecord) -> str:
    return "" if record.expires_at is None else format_time(record.expires_at)


def _describe(problem: Problem, key: ApiKeyRecord) -> str:
    """Return the details of the problem with a key, for operators."""
    match problem:
        case Problem.API_KEY_REVOKED:
            return f"{_named(key)} was revoked at {format_time(key.revoked_at) if key.revoked_at else ''}."
        case Problem.API_KEY_ROTATED:
            return f"Generation {key.generation} of {_named(key)} stopped working at {_format_end(key)}, after a rotation."
        case Problem.API_KEY_EXPIRED:
            return f"{_named(key)} expired at {_format_end(key)}."
        case Problem.API_KEY_NOT_FOR_WORKER:
            return f"{_named(key)} is for {_format_others(len(key.worker_ids))}."
        case _:
            return f"{_named(key)}. {problem.sentence}"


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("ascii")).digest()
