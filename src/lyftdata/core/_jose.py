"""
Splits a compact JWS (RFC 7515) strictly, and checks its signature.

joserfc checks signatures. The header members, the length of the token and the types of its claims are checked here, before
and after, so that no caller can forget a part of it. Nothing here trusts what it reads: names say `unverified` until the
signature has been checked.
"""

from collections.abc import Collection
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.registry import JWS_HEADER_REGISTRY

from lyftdata.core.encoding import decode_base64url
from lyftdata.core.token_size import MAX_TOKEN_LENGTH

Key = ECKey | OKPKey | OctKey | RSAKey

_MAX_HEADER_LENGTH = 512
_MAX_AUDIENCES = 8
# Key injection and SSRF: with `jwk`, `jku`, `x5u` or `x5c` a verifier uses a key, or fetches a URL, of the sender's choice
# (RFC 8725, section 3.10). Downgrade: `crit` and `b64` change what is signed (RFC 7515, section 4.1.11; RFC 7797), and a
# verifier must not ignore them. `zip` and `enc` belong to JWE: compressed input can be a decompression bomb, and leaks what it
# compresses (RFC 8725, section 3.6). None of them is needed, so each is refused instead of interpreted.
_FORBIDDEN_HEADERS = frozenset({"crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "enc"})

# Built once: for a type that is not a class, msgspec would work out how to decode it again for each token.
_json_object = msgspec.json.Decoder(dict[str, Any])
_json_strings = msgspec.json.Decoder(dict[str, str])


class JwsError(Exception):
    """A token that is not accepted; the text is for operators."""


class UnverifiedJws:
    """
    A compact JWS, split into its parts once, with the same work for every sender; nothing in it has been checked.

    `payload` is the text of `claims`; `signed` and `signature` are for `check_signature`.
    """

    __slots__ = ("claims", "encoded_header_length", "header", "payload", "signature", "signed")

    def __init__(
        self, unverified: str, *, carries_key: bool = False, max_length: int = MAX_TOKEN_LENGTH
    ) -> None:
        """
        Split a compact JWS.

        Args:
            unverified: As received.
            carries_key: Whether the header may hold a public key (`jwk`), as a DPoP proof's header does.
            max_length: Characters.

        Raises:
            JwsError: Too long, not three canonical base64url parts, not JSON objects, or a forbidden header.
        """
        # Resource exhaustion before authentication: the length first, so that no sender makes the parsing below expensive.
        if len(unverified) > max_length:
            raise JwsError(f"It is longer than {max_length} characters.")
        parts = unverified.split(".")
        if len(parts) != 3:  # noqa: PLR2004 - header, payload, signature
            raise JwsError("It is not a compact JWS.")
        # Malleability: each part has one accepted encoding (`decode_base64url`). Otherwise one token would have several texts, and
        # a text that differs from the revoked or used one would still verify.
        self.encoded_header_length = len(parts[0])
        self.header = _header(_decode(parts[0]), carries_key=carries_key)
        self.payload = _decode(parts[1])
        self.claims = _object(self.payload)
        self.signature = _decode(parts[2])
        # It is ASCII, or a part could not have been decoded.
        self.signed = f"{parts[0]}.{parts[1]}".encode()

    def check_signature(self, *, key: Key, algorithms: Collection[str]) -> None:
        """
        Check the signature; only these algorithms are accepted.

        Calls joserfc's algorithm directly: its function for a whole token parses every part again, which takes longer than the
        ES256 check itself.

        Raises:
            JwsError: The signature is wrong, or uses another algorithm.
        """
        # Algorithm confusion: the caller, which knows the key, says which algorithms count. `none` and HS256 under a public key
        # are never in that list (RFC 8725, sections 2.1 and 3.1).
        name = self.header.get("alg")
        if name not in algorithms or not isinstance(name, str):
            raise JwsError("Its algorithm is not one of those accepted.")
        # Parser differential: an unregistered header parameter may mean something to another reader of the token. joserfc refuses
        # both as well, in the function that is not called here.
        if (
            self.encoded_header_length > _MAX_HEADER_LENGTH
            or not self.header.keys() <= JWS_HEADER_REGISTRY.keys()
        ):
            raise JwsError("Its header is too long, or has an unregistered parameter.")
        algorithm = JWSRegistry.algorithms[name]
        try:
            # Key confusion: a key of another type or curve than the algorithm's is refused before any arithmetic.
            algorithm.check_key(key)
            is_right = algorithm.verify(self.signed, self.signature, key)
        except (JoseError, ValueError, TypeError) as error:
            raise JwsError("Its signature is wrong.") from error
        if not is_right:
            raise JwsError("Its signature is wrong.")


def sign(header: dict[str, Any], claims: dict[str, Any], *, key: Key) -> str:
    """Return a compact JWS."""
    return jws.serialize_compact(header, msgspec.json.encode(claims), key, algorithms=[header["alg"]])


def int_claim(claims: dict[str, Any], name: str) -> int:
    """
    Return a NumericDate claim (RFC 7519, section 2) as an integer.

    Raises:
        JwsError: Missing, not a number, or not between 1970 and 2242.
    """
    value = claims.get(name)
    # Type confusion: `true` is an int to Python, and text cannot be compared with a number. Denial of service: beyond the upper
    # bound datetime would overflow, and the caller would get a 500.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**33:
        raise JwsError(f"Its claim {name} is missing or not a date.")
    return int(value)


def text_claim(claims: dict[str, Any], name: str, *, max_length: int = 256) -> str:
    """
    Return a string claim.

    Raises:
        JwsError: Missing, not a string, empty or too long, or it holds a null character, which PostgreSQL cannot store.
    """
    value = claims.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= max_length:
        raise JwsError(f"Its claim {name} is missing or not a string of 1 to {max_length} characters.")
    if "\0" in value:
        raise JwsError(f"Its claim {name} holds a null character.")
    return value


def audience_claim(claims: dict[str, Any]) -> list[str]:
    """
    Return `aud` as a list (RFC 7519, section 4.1.3).

    Raises:
        JwsError: Missing, or neither a string nor a short list of strings.
    """
    value = claims.get("aud")
    audiences = [value] if isinstance(value, str) else value
    if (
        not isinstance(audiences, list)
        or not 1 <= len(audiences) <= _MAX_AUDIENCES
        or not all(isinstance(a, str) for a in audiences)
    ):
        raise JwsError("Its claim aud is missing or not a string.")
    return audiences


def _decode(part: str) -> bytes:
    try:
        return decode_base64url(part)
    except ValueError as error:
        raise JwsError(f"It {error}.") from error


def _header(raw: bytes, *, carries_key: bool) -> dict[str, Any]:
    """
    Return a header: each value is a string, except that of `jwk` where a key is expected.

    Type confusion: `alg` as a list or `kid` as a number could compare equal, or fail open, somewhere later.
    """
    header: dict[str, Any] = _object(raw) if carries_key else _strings(raw)
    forbidden = _FORBIDDEN_HEADERS
    if carries_key:
        forbidden = _FORBIDDEN_HEADERS - {"jwk"}
        if not all(isinstance(value, str) for name, value in header.items() if name != "jwk"):
            raise JwsError("Its header has a value that is not a string.")
    if not forbidden.isdisjoint(header):
        raise JwsError(f"Its header holds {min(forbidden & header.keys())}.")
    return header


def _object(raw: bytes) -> dict[str, Any]:
    try:
        return _json_object.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise JwsError("It does not hold a JSON object.") from error


def _strings(raw: bytes) -> dict[str, str]:
    try:
        return _json_strings.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise JwsError("Its header is not a JSON object of strings.") from error
