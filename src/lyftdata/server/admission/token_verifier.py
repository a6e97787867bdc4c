"""
Whether a worker token lets its bearer through: the hottest path there is.

A signature is checked once; after that the token is remembered until it ends. What may change under a living
token (Worker disabled, key revoked) is asked of the directory every single time: memory saves the arithmetic,
never the question.
"""

from collections.abc import Collection
from datetime import datetime

import msgspec

from lyftdata.core.encoding import text_digest
from lyftdata.core.records import WorkerRecord
from lyftdata.core.refusals import TokenExpiredError, TokenRevokedError, WrongTokenError
from lyftdata.core.tokens import TokenClaims, verify_worker_token
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.signing_keys import SigningKeys
from lyftdata.server.admission.token_issuer import check_standing
from lyftdata.server.clock import Clock

_MAX_REMEMBERED = 50_000


class VerifiedWorker(msgspec.Struct, frozen=True):
    """Who stands behind a token that was just checked, and what the token says."""

    worker: WorkerRecord
    claims: TokenClaims


class TokenVerifier:
    """Checks worker tokens against the Server's own keys and its directory."""

    def __init__(
        self, *, directory: Directory, signing_keys: SigningKeys, issuers: Collection[str], clock: Clock
    ) -> None:
        self._directory = directory
        self._signing_keys = signing_keys
        self._issuers = issuers
        self._clock = clock
        self._remembered: dict[bytes, TokenClaims] = {}

    def verify(self, unverified_token: str, *, bound_to: str | None = None) -> VerifiedWorker:
        """
        Check a token for this Server, and what it was minted from.

        Args:
            unverified_token: As received.
            bound_to: Thumbprint of the key whose possession the caller has proved; None where a bare bearer token came.

        Raises:
            WrongTokenError: Not a worker token of this Server, not for it, or bound to another key than was proved.
            TokenExpiredError: `now >= exp`.
            TokenRevokedError: The Worker or its credential is no longer good, or this very token was taken back.
        """
        verified = self.verify_any_audience(unverified_token)
        claims = verified.claims
        # Both of an earlier issuer in a token from before the Server moved to another address.
        if claims.aud != claims.iss:
            raise WrongTokenError("It is for another service.", claimed_worker=claims.sub)
        if claims.bound_to != bound_to:
            raise WrongTokenError("It is bound to a key that was not proved.", claimed_worker=claims.sub)
        return verified

    def verify_any_audience(self, unverified_token: str, *, claimed_worker: str = "") -> VerifiedWorker:
        """
        Check a token of this Server for whatever audience.

        Who it is for, and whether its bearer holds the key it is bound to, is not asked here: the caller does.

        Args:
            unverified_token: As received.
            claimed_worker: Whose it is according to the caller, for the refusal of a token that does not say.

        Raises:
            WrongTokenError, TokenExpiredError, TokenRevokedError: As `verify`.
        """
        now = self._clock()
        # Remembered by digest: a dump of this memory holds no token that could be used.
        digest = text_digest(unverified_token)
        claims = self._remembered.get(digest)
        if claims is None:
            claims = self._check_signature(unverified_token, digest, claimed_worker)
        elif now.timestamp() >= claims.exp:
            del self._remembered[digest]
            raise TokenExpiredError(claimed_worker=claims.sub)
        return self._still_good(claims, now)

    def again(self, verified: VerifiedWorker) -> VerifiedWorker:
        """Return a Worker that was verified before as it is now; raises TokenExpiredError, TokenRevokedError."""
        claims = verified.claims
        now = self._clock()
        if now.timestamp() >= claims.exp:
            raise TokenExpiredError(claimed_worker=claims.sub)
        return self._still_good(claims, now)

    def _still_good(self, claims: TokenClaims, now: datetime) -> VerifiedWorker:
        worker = check_standing(self._directory, claims.sub, claims.cred, now=now)
        if self._directory.is_token_revoked(claims.jti):
            raise TokenRevokedError("The Worker took this token back.", claimed_worker=claims.sub)
        return VerifiedWorker(worker, claims)

    def _check_signature(self, unverified_token: str, digest: bytes, claimed_worker: str) -> TokenClaims:
        claims = verify_worker_token(
            unverified_token,
            keys=self._signing_keys.verification_keys,
            issuers=self._issuers,
            audience=None,
            now=self._clock(),
            claimed_worker=claimed_worker,
        )
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._forget()
        self._remembered[digest] = claims
        return claims

    def _forget(self) -> None:
        """Drop what has ended, and the oldest half of the rest if that is not enough."""
        now_s = self._clock().timestamp()
        alive = [(digest, claims) for digest, claims in self._remembered.items() if claims.exp > now_s]
        self._remembered = dict(alive[-_MAX_REMEMBERED // 2 :])
