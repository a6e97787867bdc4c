"""Flawed tokens, one for each kind of flaw, for a test that a service refuses all of them."""

from enum import StrEnum

from lyftdata.core.encoding import base64url, decode_base64url
from lyftdata.testing._tokens import TokenFields

ELSEWHERE = "https://elsewhere.example"
# Of RFC 7638, section 3.1: a key that no test has.
_THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


class Flaw(StrEnum):
    """
    What is wrong with a token of `FakeServer.flawed_token`; its value is the `code` of the error that a verifier raises.

    `TOKEN_REVOKED` shows online only (`online=True`): the token itself is good, and an offline check takes it until its end.
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
        """Return those that a service sees without asking the Server."""
        return [flaw for flaw in cls if flaw is not cls.TOKEN_REVOKED]


def flawed_fields(flaw: Flaw, *, ttl_s: int) -> TokenFields:
    """Return what a token says that has this flaw; nothing for flaws of another kind."""
    fields: dict[Flaw, TokenFields] = {
        Flaw.TOKEN_EXPIRED: {"issued_ago_s": ttl_s + 1, "expires_in_s": -1},
        Flaw.TOKEN_NOT_YET_VALID: {"issued_ago_s": -3600, "expires_in_s": 3600 + ttl_s},
        Flaw.TOKEN_BOUND: {"bound_to": _THUMBPRINT},
        Flaw.WRONG_AUDIENCE: {"audience": ELSEWHERE},
    }
    return fields.get(flaw, {})


def with_flawed_text(token: str, flaw: Flaw) -> str:
    """Return a token as somebody in between could have changed it."""
    if flaw is Flaw.TOKEN_MALFORMED:
        return token.replace(".", "~")
    return _with_wrong_signature(token) if flaw is Flaw.TOKEN_SIGNATURE else token


def _with_wrong_signature(token: str) -> str:
    """Return a token whose signature has one bit changed."""
    message, _, signature = token.rpartition(".")
    raw = bytearray(decode_base64url(signature))
    raw[0] ^= 1
    return f"{message}.{base64url(bytes(raw))}"
