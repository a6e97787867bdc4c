"""
Checks proofs of possession (DPoP, RFC 9449), which make a stolen token useless without its key.

For each request the client signs a proof with its own key: the method, the URL, the time and the token. The proof carries the
public key; the token carries its thumbprint (`cnf.jkt`, section 6).
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
    """Not a proof for this request; the text may be shown to the sender, which made the proof."""


class DpopProof(msgspec.Struct, frozen=True):
    """
    A proof whose signature and claims have been checked.

    The caller must still compare `thumbprint` with the token's `cnf.jkt`, check that this Server issued `nonce`, and spend `jti`.
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
    Check a proof; the numbers of the steps are those of RFC 9449, section 4.3.

    Args:
        unverified: The header `DPoP` as received.
        method: The request's method.
        url: The request's absolute URL; query and fragment are ignored (RFC 9449, section 4.3, point 9).
        now: Aware UTC time.
        access_token: The token that the request carries, if any.

    Raises:
        DpopProofError: The proof is invalid; the text says why.
    """
    try:
        # 2: one well-formed JWT that carries its public key. Step 1 is checked where headers are read, step 10 by the caller.
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
        # 6 and 7: signed by the key that it carries, which must be a public key. That proves possession of some key: the caller
        # compares the thumbprint with the token's, otherwise an attacker's own key would do.
        proof.check_signature(key=key.key, algorithms=[algorithm])
        # 8 and 9: for this request. Relay: a service that received a proof must not be able to use it at another address.
        if text_claim(claims, "htm") != method:
            raise JwsError("Its htm is not the method of this request.")
        if _without_query(text_claim(claims, "htu", max_length=2_048)) != _without_query(url):
            raise JwsError("Its htu is not the address of this request.")
        # 11: made just now. Replay: a captured proof is valid for a minute at most, and its `jti` is remembered for that long. The
        # leeway for clocks ahead is short: malware could stockpile proofs for the future and use them after it was removed
        # (RFC 9449, section 11.2).
        issued_s = int_claim(claims, "iat")
        if not now.timestamp() - MAX_AGE_S <= issued_s <= now.timestamp() + LEEWAY_S:
            raise JwsError("Its iat is not recent: the clocks disagree, or it is old.")
        # 12: for this token. Substitution: a captured proof must not be usable with another token bound to the same key.
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
    Return scheme, host, port and path, normalized so that equivalent spellings are equal (RFC 3986, sections 6.2.2 and 6.2.3).

    Proxies change the spelling: Traefik passes `/%7ea%2fb` on as `/~a%2Fb`. Dot segments are not resolved (path confusion): if
    they were resolved here and not by the program that serves the request, a proof for one path would be good for another.

    URLs that parsers read differently are refused (parser differential): Python finds the host of `https://a\@b/` after the `@`,
    a browser before the backslash, and Python drops tabs and line feeds. A client could sign for one host and call another.
    """
    try:
        parts = urlsplit(url)
        if not _URL.fullmatch(url) or "@" in parts.netloc:
            raise JwsError("Its htu is not a URL.")
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError as error:
        raise JwsError("Its htu is not a URL.") from error
    path = _PERCENT_ENCODED.sub(_normalize_escape, parts.path or "/")
    return parts.scheme.lower(), (parts.hostname or "").lower(), port, path


def _normalize_escape(encoded: re.Match[str]) -> str:
    character = chr(int(encoded[0][1:], 16))
    return character if _UNRESERVED.fullmatch(character) else encoded[0].upper()


def _digest(access_token: str) -> str:
    digest = hashlib.sha256(access_token.encode("ascii", "replace")).digest()
    return base64url(digest)
