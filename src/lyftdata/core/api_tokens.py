"""
Makes, parses and checks API tokens, with which automation uses the admin API: `lyftdata_token_<10 public id>_<32 secret><6 checksum>`.

The form is that of an API key (`core/api_keys.py`), with a prefix of its own for secret scanners, and so that one is never mistaken
for the other. The public id finds the record and is not a secret. The secret carries more than 190 random bits and is stored as a
SHA-256 digest. A token acts for the operator who issued it, and never with a role above that operator's
(docs/decisions/0038).
"""

import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from lyftdata.core.base62 import checksum, generate_base62
from lyftdata.core.errors import ApiTokenRejectedError, InvalidInputError
from lyftdata.core.records import ApiTokenRecord, OperatorRecord
from lyftdata.core.secret import Secret
from lyftdata.core.times import format_time

PREFIX = "lyftdata_token_"
API_TOKEN_LENGTH = 64
DEFAULT_LIFE = timedelta(days=90)
MAX_LIFE = timedelta(days=366)

_FORM = re.compile(r"(lyftdata_token_([0-9A-Za-z]{10})_([0-9A-Za-z]{32}))([0-9A-Za-z]{6})")
# Enumeration by timing: compared against if no record has the public id, so that an unknown id takes as long as a wrong secret.
_DECOY_DIGEST = bytes(32)
_HINT = "An admin issues another: lyftdata operators token issue"


class ApiTokenStatus(StrEnum):
    """Whether an API token is accepted."""

    LIVE = "live"
    EXPIRED = "expired"
    REVOKED = "revoked"


class NewApiToken(msgspec.Struct, frozen=True):
    """A new token: its text is shown once, its digest is stored."""

    public_id: str
    text: Secret
    digest: bytes


class PresentedApiToken(msgspec.Struct, frozen=True):
    """A well-formed token as a caller presented it; nothing is proved yet."""

    public_id: str
    digest: bytes


def generate_api_token(random_bytes: Callable[[int], bytes]) -> NewApiToken:
    """Make a token."""
    public_id = generate_base62(random_bytes, 10)
    secret = generate_base62(random_bytes, 32)
    body = f"{PREFIX}{public_id}_{secret}"
    return NewApiToken(public_id, Secret(body + checksum(body)), _digest(secret))


def parse_api_token(unverified: str) -> PresentedApiToken:
    """
    Read a token as presented.

    Raises:
        ApiTokenRejectedError: Wrong form or checksum. Anyone can compute that offline, so a quick answer reveals nothing.
    """
    match = _FORM.fullmatch(unverified)
    if match is None or match[4] != checksum(match[1]):
        raise ApiTokenRejectedError(
            "The API token is malformed: it was cut or changed.", hint="Copy it again, whole."
        )
    # A fast hash on purpose, as for API keys: the secret is random (docs/decisions/0003).
    return PresentedApiToken(match[2], _digest(match[3]))


def verify_api_token(
    presented: PresentedApiToken,
    *,
    record: ApiTokenRecord | None,
    operator: OperatorRecord | None,
    now: datetime,
) -> tuple[ApiTokenRecord, OperatorRecord]:
    """
    Check a presented token against the record with its public id, and that the token is valid now.

    Does not decide what the token may do: the caller asks the policy table.

    Args:
        presented: As returned by `parse_api_token`.
        record: The record with that public id, or None; the time taken does not reveal which.
        operator: The present record of the operator for whom it acts, or None.
        now: Aware UTC time.

    Raises:
        ApiTokenRejectedError: No such token, or another secret; or, once the secret is proved: revoked, expired from
            `now >= expires_at` on, or its operator is gone. `token_name` is set only if the secret was proved.
    """
    # Step 1, the secret, before anything else is said. Timing oracle: compared in constant time. Both cases raise one error:
    # "no such token" would confirm which public ids exist.
    right = hmac.compare_digest(presented.digest, _DECOY_DIGEST if record is None else record.digest)
    if record is None or not right:
        raise ApiTokenRejectedError("The API token is not known.", hint=_HINT)
    # Step 2, only now: what is wrong with a token whose secret the caller has proved.
    status = status_of(record, now=now)
    if status is ApiTokenStatus.REVOKED:
        raise ApiTokenRejectedError(
            f"The API token '{record.name}' was revoked.", hint=_HINT, token_name=record.name
        )
    if status is ApiTokenStatus.EXPIRED:
        raise ApiTokenRejectedError(
            f"The API token '{record.name}' expired at {format_time(record.expires_at)}.",
            hint=_HINT,
            token_name=record.name,
        )
    # Default deny: deleting an operator revokes their tokens. A token that this missed is rejected too, whether the operator is gone
    # or the name now belongs to another one.
    if operator is None or operator.created_at > record.created_at:
        raise ApiTokenRejectedError(
            f"The API token '{record.name}' acts for an operator who does not exist.",
            hint=_HINT,
            token_name=record.name,
        )
    return record, operator


def status_of(record: ApiTokenRecord, *, now: datetime) -> ApiTokenStatus:
    """Return the status of a token; one that was revoked stays `revoked` after its expiry."""
    if record.revoked_at is not None:
        return ApiTokenStatus.REVOKED
    return ApiTokenStatus.EXPIRED if now >= record.expires_at else ApiTokenStatus.LIVE


def check_token_life(expires_in: timedelta) -> None:
    """
    Check the lifetime of a new token; every token expires.

    Raises:
        InvalidInputError: Not more than 0 seconds, or more than 366 days.
    """
    if not timedelta(0) < expires_in <= MAX_LIFE:
        raise InvalidInputError("expires_in_s", "must be more than 0 seconds and at most 366 days")


def holds_api_token(text: str) -> bool:
    """Return whether a text contains an API token, by its form and checksum."""
    return any(match[4] == checksum(match[1]) for match in _FORM.finditer(text))


def find_token_flaw(token: Secret) -> str | None:
    """Return what is wrong with the form or the checksum of a token, or None; the text does not repeat the token."""
    text = token.reveal()
    match = _FORM.fullmatch(text)
    if match is not None:
        return None if match[4] == checksum(match[1]) else "its checksum is wrong, so a character was changed"
    if not text.startswith(PREFIX):
        return f"an API token begins with {PREFIX}"
    return f"an API token has {API_TOKEN_LENGTH} characters, and this has {len(text)}"


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("ascii")).digest()
