"""
Proofs of possession (DPoP, RFC 9449): a token that is bound to a key is useless to an attacker who steals the token alone.

The client signs, for each request, a proof with a key of its own: which method, which address, when, and for which
token. The proof carries the public key; the token carries its thumbprint (`cnf.jkt`, section 6).
"""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import msgspec

from lyftdata.core._jose import JwsError, UnverifiedJws, int_claim, text_claim
from lyftdata.core.encoding import base64url
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.identity_keys import parse_public_jwk
from lyftdata.core.origins import DEFAULT_PORTS

ALGORITHMS = ("ES256", "Ed25519", "EdDSA")
MAX_AGE_S = 60
LEEWAY_S = 5
_PERCENT_ENCODED = re.compile("%[0-9A-Fa-f]{2}")
_UNRESERVED = re.compile("[A-Za-z0-9._~-]")
# Printable ASCII without the space and the backslash.
_URL = re.compile(r"[\x21-\x5B\x5D-\x7E]+")


class DpopProofError(Exception):
    """Not a proof for this request; the text may be shown to its sender, which alone can correct it."""


class DpopProof(msgspec.Struct, frozen=True):
    """
    A proof whose signature and claims were checked.

    Whether its `jti` was used before, and whether this Server issued `nonce`, is not checked here: the caller does.
    """

    thumbprint: str
    jti: str
    nonce: str | None
    signed_at: datetime
    expires_at: datetime


def verify_dpop_proof(
    unverified: str, *, method: str, url: str, now: datetime, access_token: str | None = None
) -> DpopProof:
    """
    Check a proof as RFC 9449, section 4.3, numbers it.

    Args:
        unverified: The header `DPoP` as received.
        method: The request's method.
        url: The request's absolute URL; query and fragment do not count.
        now: Aware UTC time.
        access_token: The token that the request carries, if it does.

    Raises:
        DpopProofError: With what is wrong.
    """
    try:
        # 2 and 7: one well-formed JWT, signed by the public key that it carries. That proves possession only: the caller
        # compares the thumbprint with the token's, or anyone's key would do.
        proof = UnverifiedJws(unverified, carries_key=True)
        header, claims = proof.header, proof.claims
        # 4 and 5: of this type, with an accepted asymmetric algorithm. Type confusion: an assertion is not a proof. Algorithm
        # confusion: with HS256 the public key in the header would be the secret.
        if str(header.get("typ")).lower() != "dpop+jwt":
            raise JwsError("Its typ is not dpop+jwt.")
        algorithm = header.get("alg")
        key = parse_public_jwk(header["jwk"] if isinstance(header.get("jwk"), dict) else {})
        if algorithm not in ALGORITHMS or algorithm not in key.algorithms:
            raise JwsError("Its alg is not that of its key, or not supported.")
        proof.check_signature(key=key.key, algorithms=[algorithm])
        # 8 and 9: for this request. Relay: a service that received a proof must not be able to use it at another address.
        if text_claim(claims, "htm") != method:
            raise JwsError("Its htm is not the method of this request.")
        if _without_query(text_claim(claims, "htu", max_length=2_048)) != _without_query(url):
            raise JwsError("Its htu is not the address of this request.")
        # 11: made just now. Replay: a stolen proof is good for a minute, and its `jti` is remembered for that long.
        issued_s = int_claim(claims, "iat")
        if not now.timestamp() - MAX_AGE_S <= issued_s <= now.timestamp() + LEEWAY_S:
            raise JwsError("Its iat is not of now: the clocks disagree, or it is old.")
        # 12: for this token. Substitution: a proof must not lend itself to another token that is bound to the same key.
        if access_token is not None and text_claim(claims, "ath") != _digest(access_token):
            raise JwsError("Its ath is not the digest of this token.")
        nonce = text_claim(claims, "nonce") if "nonce" in claims else None
        jti = text_claim(claims, "jti", max_length=128)
    except InvalidInputError as error:
        raise DpopProofError(f"Its jwk {error.message}.") from error
    except JwsError as error:
        raise DpopProofError(str(error)) from error
    signed_at = datetime.fromtimestamp(issued_s, UTC)
    return DpopProof(key.thumbprint, jti, nonce, signed_at, signed_at + timedelta(seconds=MAX_AGE_S))


def _without_query(url: str) -> tuple[str, str, int | None, str]:
    r"""
    Return what of a URL counts, in the form in which two spellings of one are equal (RFC 3986, sections 6.2.2 and 6.2.3).

    Proxies change the spelling: Traefik passes `/%7ea%2fb` on as `/~a%2Fb`. Dot segments are left as they are: resolved here
    and not by the program that serves the request, they would make a proof for one path good for another.

    What parsers disagree about is no URL here: Python finds the host of `https://a\@b/` behind the `@`, a browser before the
    backslash, and Python drops tabs and line feeds. A client may sign the text and ask the other host.
    """
    try:
        parts = urlsplit(url)
        if not _URL.fullmatch(url) or "@" in parts.netloc:
            raise JwsError("Its htu is no URL.")
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError as error:
        raise JwsError("Its htu is no URL.") from error
    path = _PERCENT_ENCODED.sub(_one_spelling, parts.path or "/")
    return parts.scheme.lower(), (parts.hostname or "").lower(), port, path


def _one_spelling(encoded: re.Match[str]) -> str:
    character = chr(int(encoded[0][1:], 16))
    return character if _UNRESERVED.fullmatch(character) else encoded[0].upper()


def _digest(access_token: str) -> str:
    digest = hashlib.sha256(access_token.encode("ascii", "replace")).digest()
    return base64url(digest)
