"""Mints tokens for tests, with the functions that a Server uses."""

import secrets
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Literal, TypedDict

from lyftdata.core.discovery import jwk_set
from lyftdata.core.epochs import first_epoch
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.keyring import SigningKey, VerificationKey, generate_signing_key
from lyftdata.core.names import parse_worker_id
from lyftdata.core.records import Strategy, WorkerRecord
from lyftdata.core.resources import parse_scopes
from lyftdata.core.tokens import format_credential, mint_worker_token

SigningAlgorithm = Literal["ES256", "EdDSA", "Ed25519"]

_PUBLIC_ID = "TESTS00001"
CREATED_AT = datetime(2026, 1, 1, tzinfo=UTC)


class TokenFields(TypedDict, total=False):
    """
    The properties of a token that a test may choose.

    Attributes:
        name: The Worker's name; its ID unless given.
        labels: The Worker's labels.
        strategy: `api_key` or `auto_enrollment`.
        audience: The audience of the token; the Server itself unless given.
        scopes: Its scopes.
        issued_ago_s: Seconds since it was issued; negative for the future.
        expires_in_s: Seconds until it expires.
        bound_to: RFC 7638 thumbprint of the key that it is bound to (DPoP).
    """

    name: str
    labels: Mapping[str, str]
    strategy: Literal["api_key", "auto_enrollment"]
    audience: str
    scopes: Collection[str]
    issued_ago_s: float
    expires_in_s: float
    bound_to: str


class SigningKeys:
    """
    The keys of a Server: the last one signs, all are published.

    Args:
        algorithm: The algorithm that signs tokens.
    """

    def __init__(self, algorithm: SigningAlgorithm) -> None:
        self._algorithm = algorithm
        self._keys = [generate_signing_key(algorithm)]

    @property
    def signer(self) -> SigningKey:
        """Return the key that signs now."""
        return self._keys[-1]

    def jwks(self) -> bytes:
        """Return the published JWK Set."""
        return jwk_set(self._keys)

    def verification(self) -> dict[str, VerificationKey]:
        """Return the keys that verify tokens, by `kid`."""
        return {key.kid: key.verification for key in self._keys}

    def rotate(self, *, forget_old: bool) -> None:
        """Sign with a new key from now on; keep publishing the old ones unless `forget_old`."""
        new = generate_signing_key(self._algorithm)
        self._keys = [new] if forget_old else [*self._keys, new]


def worker_record(worker_id: str, fields: TokenFields, *, epoch: int | None = None) -> WorkerRecord:
    """Return the entry that a Server would have for a Worker; in its first epoch unless another one is given."""
    strategy = Strategy(fields.get("strategy", "api_key"))
    enrolled = strategy is Strategy.AUTO_ENROLLMENT
    return WorkerRecord(
        id=parse_worker_id(worker_id),
        name=fields.get("name", worker_id),
        strategy=strategy,
        labels=dict(fields.get("labels", {})),
        epoch=first_epoch(CREATED_AT) if epoch is None else epoch,
        created_at=CREATED_AT,
        created_by="tests",
        thumbprint=generate_identity_key().public.thumbprint if enrolled else None,
    )


def make_token(
    worker: WorkerRecord, fields: TokenFields, *, signer: SigningKey, issuer: str, ttl_s: int
) -> str:
    """
    Sign a token as a Server does.

    Raises:
        TypeError: `scopes` is one string, which would be read as single letters.
        InvalidInputError: A scope that no Server grants.
        TokenTooLongError: Name, labels and scopes are more than a token can hold.
    """
    scopes = fields.get("scopes", ())
    if isinstance(scopes, str):
        raise TypeError("scopes must be a list of names, not one string.")
    issued_s = int(time.time() - fields.get("issued_ago_s", 0))
    ends_s = int(time.time() + fields["expires_in_s"]) if "expires_in_s" in fields else issued_s + ttl_s
    return mint_worker_token(
        signer=signer,
        issuer=issuer,
        audience=fields.get("audience", issuer),
        worker=worker,
        credential=format_credential("key", _PUBLIC_ID, worker.epoch)
        if worker.thumbprint is None
        else format_credential("jkt", worker.thumbprint, worker.epoch),
        now=datetime.fromtimestamp(issued_s, UTC),
        ttl_s=ends_s - issued_s,
        jti=secrets.token_urlsafe(16),
        scope=" ".join(parse_scopes(list(scopes))),
        bound_to=fields.get("bound_to"),
    )
