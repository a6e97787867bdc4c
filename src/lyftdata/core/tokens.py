"""
Mints and verifies worker tokens: short-lived JWTs of type `at+jwt` (RFC 9068), signed by the Server.

Signing builds the compact form here instead of calling joserfc: with the Server's own key and a header that is always the same
that takes 24 µs instead of 43 (ES256). Verification calls joserfc.
"""

import functools
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Literal

import msgspec

from lyftdata.core._jose import JwsError, UnverifiedJws
from lyftdata.core.encoding import base64url_bytes, decode_base64url
from lyftdata.core.keyring import SigningKey, VerificationKey
from lyftdata.core.records import WorkerRecord
from lyftdata.core.refusals import TokenExpiredError, TokenTooLongError, WrongTokenError
from lyftdata.core.token_size import MAX_TOKEN_LENGTH


class TokenClaims(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    The claims of a worker token (RFC 9068, section 2.2).

    `cred` names the credential and the epoch of the Worker entry at minting; the token is valid only as long as both are
    (`core.standing`). `scope` holds its scopes at its audience, space-separated; `cnf` binds it to a key (RFC 9449,
    section 6.1).
    """

    iss: str
    sub: str
    client_id: str
    aud: str | list[str]
    jti: str
    iat: int
    exp: int
    worker_name: str
    auth_strategy: str
    labels: dict[str, str]
    cred: str
    scope: str = ""
    cnf: dict[str, str] | None = None

    @property
    def bound_to(self) -> str | None:
        """Return the thumbprint of the key that the token is bound to, or None for a bearer token."""
        # Fail closed: a `cnf` of another kind gives "", which no key's thumbprint equals, and not None, which would make the token a
        # bearer token.
        return None if self.cnf is None else self.cnf.get("jkt", "")


class Credential(msgspec.Struct, frozen=True):
    """The credential behind a token: an API key by public id, or an identity key by thumbprint."""

    kind: Literal["key", "jkt"]
    value: str
    epoch: int


# Longer than the header section of a request may be.
_MAX_PEEK_LENGTH = 32_768

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(TokenClaims)


def format_credential(kind: Literal["key", "jkt"], value: str, epoch: int) -> str:
    """Return the `cred` claim."""
    return f"{kind}.{value}.{epoch}"


def kind_and_value(credential: str) -> str:
    """Return the output of `format_credential` without the epoch: the same for a key however often its Worker was disabled."""
    return credential.rpartition(".")[0]


@functools.lru_cache(maxsize=50_000)
def parse_credential(text: str) -> Credential:
    """
    Parse the `cred` claim of a verified token.

    Raises:
        WrongTokenError: Not in the form of `format_credential`.
    """
    kind, _, rest = text.partition(".")
    value, _, epoch = rest.rpartition(".")
    if kind not in {"key", "jkt"} or not value or not (epoch.isascii() and epoch.isdigit()):
        raise WrongTokenError("Its claim cred cannot be read.")
    return Credential("key" if kind == "key" else "jkt", value, int(epoch))


def mint_worker_token(
    *,
    signer: SigningKey,
    issuer: str,
    audience: str,
    worker: WorkerRecord,
    credential: str,
    now: datetime,
    ttl_s: int,
    jti: str,
    scope: str = "",
    bound_to: str | None = None,
) -> str:
    """
    Sign a token for an authenticated Worker.

    Args:
        signer: The current signing key.
        issuer: The Server's issuer.
        audience: The service that the token is for.
        worker: The current entry.
        credential: As returned by `format_credential`.
        now: Aware UTC time.
        ttl_s: Lifetime in seconds.
        jti: Random, new each time.
        scope: Its scopes at the audience, space-separated.
        bound_to: RFC 7638 thumbprint of the key that it is bound to, if any.

    Raises:
        TokenTooLongError: Every check would refuse it. The limits of `token_size` prevent that, except for data that an older or
            newer version has stored.
    """
    issued = int(now.timestamp())
    claims = TokenClaims(
        iss=issuer,
        sub=worker.id,
        client_id=worker.id,
        aud=audience,
        jti=jti,
        iat=issued,
        exp=issued + ttl_s,
        worker_name=worker.name,
        auth_strategy=worker.strategy.value,
        labels=worker.labels,
        cred=credential,
        scope=scope,
        cnf=None if bound_to is None else {"jkt": bound_to},
    )
    message = _header(signer.algorithm, signer.kid) + base64url_bytes(_encoder.encode(claims))
    token = (message + b"." + base64url_bytes(signer.sign(message))).decode()
    if len(token) > MAX_TOKEN_LENGTH:
        raise TokenTooLongError(
            f"It would have {len(token)} characters; {MAX_TOKEN_LENGTH} are accepted.",
            claimed_worker=worker.id,
        )
    return token


def verify_worker_token(
    unverified_token: str,
    *,
    keys: Mapping[str, VerificationKey],
    issuers: Collection[str],
    audience: str | None,
    now: datetime,
    claimed_worker: str = "",
) -> TokenClaims:
    """
    Check a worker token and return its claims.

    The caller must still check that the Worker and its credential are valid now, that the token was not revoked, and, if it is
    bound to a key, that the sender has proved possession of that key.

    Args:
        unverified_token: Compact JWS as received, at most 4096 characters.
        keys: Verification keys by `kid`; a retired key stays until its last token has expired.
        issuers: The accepted `iss` values, compared exactly: the Server's issuer and its previous ones.
        audience: The one accepted `aud`, compared exactly; None if the caller compares it.
        now: Aware UTC time.
        claimed_worker: The Worker that the caller claims to be, for the refusal of a token that does not say.

    Raises:
        WrongTokenError: Malformed, an unknown `kid`, an `alg` that is not that key's, a bad signature, another
            issuer or audience.
        TokenExpiredError: `now >= exp`, from that very second (RFC 7519, section 4.1.4).
    """
    try:
        unverified = UnverifiedJws(unverified_token)
        header = unverified.header
        # Step 1 of 4, type. Cross-JWT confusion: an assertion or an ID token must not pass as an access token (RFC 9068, section 4).
        if str(header.get("typ")).lower() not in {"at+jwt", "application/at+jwt"}:
            raise JwsError("Its typ is not at+jwt.")
        # Step 2, key. Algorithm confusion: the key decides the algorithm, the token only repeats it (RFC 8725, section 3.1). Key
        # injection: `kid` selects among the Server's own keys by exact match; it is never a path, a URL or a query (section 3.10).
        key = keys.get(str(header.get("kid")))
        if key is None or header.get("alg") != key.algorithm:
            raise JwsError("No key of this Server has its kid and alg.")
        # Step 3, signature: before any claim is read for a decision.
        unverified.check_signature(key=key.key, algorithms=[key.algorithm])
        claims = _decode_claims(unverified.payload)
    except JwsError as error:
        claimed = _unsafe_subject(unverified_token) or claimed_worker
        raise WrongTokenError(str(error), claimed_worker=claimed) from error
    # Step 4, claims. Relay: a service that a Worker called must not be able to use the token that it received at this Server (RFC
    # 8725, section 3.9).
    audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if claims.iss not in issuers or (audience is not None and audience not in audiences):
        raise WrongTokenError("It is from or for another Server.", claimed_worker=claims.sub)
    # Confused deputy: a token of a client for another subject is not a Worker's own (RFC 9068, sections 2.2 and 5).
    if claims.sub != claims.client_id:
        raise WrongTokenError("sub and client_id differ.", claimed_worker=claims.sub)
    # No leeway: the Server compares with its own clock.
    if now.timestamp() >= claims.exp:
        raise TokenExpiredError(claimed_worker=claims.sub)
    return claims


def _unsafe_subject(unverified_token: str) -> str:
    """
    Return the unverified `sub` of a refused token, or "": for the operator who looks up the refusal, and for nothing else.

    Works for a token that is too long to be accepted, too.
    """
    return _unsafe_claim(unverified_token, "sub")


def unsafe_worker_name(unverified_token: str) -> str:
    """
    Return the unverified `worker_name` of a token, or "".

    For the Worker itself, which got the token from its Server over TLS and has no keys to check it; never to admit a caller.
    """
    return _unsafe_claim(unverified_token, "worker_name")


def _unsafe_claim(unverified_token: str, name: str) -> str:
    payload = unverified_token[:_MAX_PEEK_LENGTH].split(".")[1:2]
    try:
        claim = msgspec.json.decode(decode_base64url(payload[0])).get(name)
    except (IndexError, ValueError, AttributeError, RecursionError):
        return ""
    return claim if isinstance(claim, str) else ""


def _decode_claims(payload: bytes) -> TokenClaims:
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, ValueError) as error:
        raise JwsError("Its claims are not those of a worker token.") from error


@functools.lru_cache(maxsize=8)
def _header(algorithm: str, kid: str) -> bytes:
    return base64url_bytes(_encoder.encode({"alg": algorithm, "kid": kid, "typ": "at+jwt"})) + b"."
