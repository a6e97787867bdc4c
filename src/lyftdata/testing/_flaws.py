"""Flawed tokens, one for each kind of flaw, to test that a service refuses all of them."""

from enum import StrEnum

from lyftdata.core.encoding import base64url, decode_base64url
from lyftdata.testing._tokens import TokenFields

ELSEWHERE = "https://elsewhere.example"
# From RFC 7638, section 3.1: the thumbprint of a key that no test has.
_THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


class Flaw(StrEnum):
    """
    The flaw of a token of `FakeServer.flawed_token`; its value is the `code` of the error that a verifier raises.

    Only an online check (`online=True`) detects `TOKEN_REVOKED`: the token itself is valid, and an offline check accepts it until it expires.
    """

    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - codes
    TOKEN_NOT_YET_VALID = "token_not_yet_valid"  # noqa: S105
    TOKEN_SIGNATURE = "token_signature"  # noqa: S105
    TOKEN_MALFORMED = "token_malformed"  # noqa: S105
    TOKEN_BOUND = "token_bound"  # noqa: S105
    TOKEN_REVOKED = "token_revoked"  # noqa: S105
    UNKNOWN_KEY = "unknown_key"
    WRONG_ISSUER = "wrong_issuer"
    WRONG_AUDIENCE = "wrong_audience"

    @classmethod
    def offline(cls) -> "list[Flaw]":
        """Return the flaws that a service detects without asking the Server."""
        return [flaw for flaw in cls if flaw is not cls.TOKEN_REVOKED]


def flawed_fields(flaw: Flaw, *, ttl_s: int) -> TokenFields:
    """Return the token fields that make this flaw; empty for flaws that are not in the claims."""
    fields: dict[Flaw, TokenFields] = {
        Flaw.TOKEN_EXPIRED: {"issued_ago_s": ttl_s + 1, "expires_in_s": -1},
        Flaw.TOKEN_NOT_YET_VALID: {"issued_ago_s": -3600, "expires_in_s": 3600 + ttl_s},
        Flaw.TOKEN_BOUND: {"bound_to": _THUMBPRINT},
        Flaw.WRONG_AUDIENCE: {"audience": ELSEWHERE},
    }
    return fields.get(flaw, {})


def with_flawed_text(token: str, flaw: Flaw) -> str:
    """Return a token as an attacker on the network could have changed it."""
    if flaw is Flaw.TOKEN_MALFORMED:
        return token.replace(".", "~")
    return _with_wrong_signature(token) if flaw is Flaw.TOKEN_SIGNATURE else token


def _with_wrong_signature(token: str) -> str:
    """Return a token whose signature has one bit changed."""
    message, _, signature = token.rpartition(".")
    raw = bytearray(decode_base64url(signature))
    raw[0] ^= 1
    return f"{message}.{base64url(bytes(raw))}"
