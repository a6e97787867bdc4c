"""Forge tokens that must be refused: an attacker may choose every part of a compact JWS."""

import base64
import hmac
import json
from typing import Any


def b64(raw: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """Decode base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Return a token's header, claims and signature."""
    header, claims, signature = token.split(".")
    return json.loads(unb64(header)), json.loads(unb64(claims)), unb64(signature)


def join(header: Any, claims: Any, signature: bytes) -> str:
    """Return a token made of these parts."""
    return ".".join([b64(json.dumps(header).encode()), b64(json.dumps(claims).encode()), b64(signature)])


def altered(token: str, *, header: dict[str, Any] | None = None, claims: dict[str, Any] | None = None) -> str:
    """Return a token with some members changed but the old signature; None removes a member."""
    old_header, old_claims, signature = parts(token)
    return join(merged(old_header, header), merged(old_claims, claims), signature)


def merged(old: dict[str, Any], new: dict[str, Any] | None) -> dict[str, Any]:
    """Return the members with others merged in; None removes a member."""
    return {key: value for key, value in (old | (new or {})).items() if value is not None}


def hs256(header: dict[str, Any], claims: dict[str, Any], key: bytes) -> str:
    """Return a token signed with HMAC."""
    message = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{message}.{b64(hmac.digest(key, message.encode(), 'sha256'))}"
