"""Secrets and signatures of webhooks, by the Standard Webhooks specification (https://www.standardwebhooks.com), version `v1`."""

import base64
import binascii
import hmac
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256

from lyftdata.core.secret import Secret

_PREFIX = "whsec_"
_SECRET_BYTES = 32


def generate_webhook_secret(random_bytes: Callable[[int], bytes]) -> Secret:
    """Return a new secret: `whsec_` and 32 random bytes in base64."""
    return Secret(_PREFIX + base64.b64encode(random_bytes(_SECRET_BYTES)).decode())


def signed_headers(
    body: bytes, *, message_id: str, at: datetime, secrets: Sequence[Secret]
) -> dict[str, str]:
    """
    Return the headers that sign a message.

    Args:
        body: The body, exactly as sent.
        message_id: The same for each attempt to deliver the message: receivers recognize repetitions by it.
        at: The time of this attempt, aware UTC. Receivers reject old ones, so that a captured message cannot be replayed later.
        secrets: Two during a rotation: a receiver accepts either signature.
    """
    timestamp = str(int(at.timestamp()))
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(_key(secret), signed, sha256)).decode() for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _key(secret: Secret) -> bytes:
    try:
        return base64.b64decode(secret.reveal().removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        msg = "not a webhook secret"
        raise ValueError(msg) from error
