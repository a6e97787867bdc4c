"""
A message that a page shows once, after an action.

It is stored in a cookie from the response to a form until the next page, signed with a secret of the operator's session
and bound to that page's path. It is never read from a URL: a link from somebody else, a bookmark or a reload must not show
anything that is not true at that moment.
"""

import hmac
import json
from datetime import datetime, timedelta
from hashlib import sha256

import msgspec

from lyftdata.core.encoding import base64url, decode_base64url

FLASH_LIFE = timedelta(minutes=1)
"""How long a message waits for its page, unless it is about a secret."""
_MAX_SENTENCE = 600


class Flash(msgspec.Struct, frozen=True):
    """A message that is shown once; `undo` is the number of the change that it offers to undo."""

    sentence: str
    undo: int | None = None


def seal_flash(flash: Flash, *, path: str, session_secret: str, now: datetime, life: timedelta) -> str:
    """
    Return the cookie's value.

    Args:
        flash: The message; text, not markup.
        path: The path of the page that shows it, without its query.
        session_secret: Known only to the operator's own pages.
        now: Aware UTC time.
        life: How long it may wait for its page.
    """
    until_s = int((now + life).timestamp())
    payload = json.dumps([path, until_s, flash.sentence[:_MAX_SENTENCE], flash.undo]).encode()
    return base64url(payload) + "." + _mac(payload, session_secret)


def open_flash(unverified: str, *, path: str, session_secret: str, now: datetime) -> Flash | None:
    """Return the message for the page at `path`; None if it is forged, for another page or session, or too old."""
    encoded, _, mac = unverified.partition(".")
    try:
        payload = decode_base64url(encoded)
    except ValueError:
        return None
    if not hmac.compare_digest(mac.encode(), _mac(payload, session_secret).encode()):
        return None
    for_path, until_s, sentence, undo = json.loads(payload)
    return Flash(sentence, undo) if for_path == path and now.timestamp() < until_s else None


def _mac(payload: bytes, session_secret: str) -> str:
    return hmac.digest(session_secret.encode(), b"flash " + payload, sha256).hex()
