"""
Verifies worker tokens at this Server: the signature once, the Worker's state at every use.

This is the hottest path of the Server. A signature is checked once, and the claims are then cached until `exp`. What may change
before that (Worker disabled, key revoked, token revoked) is looked up in the directory at every use: a cached decision would
admit a revoked Worker until its token expires.
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
    """The Worker and the claims of a verified token."""

    worker: WorkerRecord
    claims: TokenClaims
    withdrawals: int = 0
    """How often signing keys had been withdrawn when the signature was checked."""


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
        self._removals = signing_keys.removals

    def verify(self, unverified_token: str, *, bound_to: str | None = None) -> VerifiedWorker:
        """
        Check a token for this Server, and that its Worker and credential are valid now.

        Args:
            unverified_token: As received.
            bound_to: Thumbprint of the key whose possession was proved; None for a bearer token.

        Raises:
            WrongTokenError: Not a worker token of this Server, not for it, or bound to a different key than was proved.
            TokenExpiredError: `now >= exp`.
            TokenRevokedError: The Worker or its credential is no longer valid, or the token was revoked.
        """
        verified = self.verify_any_audience(unverified_token)
        claims = verified.claims
        # Audience confusion: a token for another service, which sees it, must not be accepted by this Server. Compared with `iss`, since both
        # name the previous issuer in a token from before the Server's URL changed.
        if claims.aud != claims.iss:
            raise WrongTokenError("It is for another service.", claimed_worker=claims.sub)
        # Downgrade and mix-up in one comparison: a bound token without a proof (None), or with a proof by another key, is refused; so
        # is a bearer token with a proof, whose sender believes that it is bound (RFC 9449, section 7.2).
        if claims.bound_to != bound_to:
            raise WrongTokenError("It is bound to a key that was not proved.", claimed_worker=claims.sub)
        return verified

    def verify_any_audience(self, unverified_token: str, *, claimed_worker: str = "") -> VerifiedWorker:
        """
        Check a token of this Server for any audience.

        The caller must still compare the audience, and check possession of the key that the token is bound to.

        Args:
            unverified_token: As received.
            claimed_worker: The Worker that the caller claims to be, for the refusal of a token without `sub`.

        Raises:
            WrongTokenError, TokenExpiredError, TokenRevokedError: As for `verify`.
        """
        now = self._clock()
        # Use of a removed signing key: the cache was cleared, so every signature is checked again.
        if self._removals != self._signing_keys.removals:
            self._removals = self._signing_keys.removals
            self._remembered.clear()
        # Secret disclosure: cached by digest, so that a memory dump or heap snapshot contains no usable token.
        digest = text_digest(unverified_token)
        claims = self._remembered.get(digest)
        if claims is None:
            claims = self._check_signature(unverified_token, digest, claimed_worker)
        elif now.timestamp() >= claims.exp:
            del self._remembered[digest]
            raise TokenExpiredError(claimed_worker=claims.sub)
        return self._check_current(claims, now)

    def recheck(self, verified: VerifiedWorker) -> VerifiedWorker:
        """Return the current state of a verified Worker (TOCTOU: after a wait); raises TokenExpiredError, TokenRevokedError."""
        claims = verified.claims
        now = self._clock()
        if now.timestamp() >= claims.exp:
            raise TokenExpiredError(claimed_worker=claims.sub)
        # It is no longer known which key signed the token; a Worker whose token is valid retries with it.
        if verified.withdrawals != self._signing_keys.withdrawals:
            raise WrongTokenError("A signing key was withdrawn in the meantime.", claimed_worker=claims.sub)
        return self._check_current(claims, now)

    def _check_current(self, claims: TokenClaims, now: datetime) -> VerifiedWorker:
        worker = check_standing(self._directory, claims.sub, claims.cred, now=now)
        if self._directory.is_token_revoked(claims.jti):
            raise TokenRevokedError("The Worker revoked this token.", claimed_worker=claims.sub)
        return VerifiedWorker(worker, claims, self._signing_keys.withdrawals)

    def _check_signature(self, unverified_token: str, digest: bytes, claimed_worker: str) -> TokenClaims:
        claims = verify_worker_token(
            unverified_token,
            keys=self._signing_keys.verification_keys,
            issuers=self._issuers,
            audience=None,
            now=self._clock(),
            claimed_worker=claimed_worker,
        )
        # Memory exhaustion: bounded, and only valid tokens are cached, so unproven callers cannot evict them.
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._forget()
        self._remembered[digest] = claims
        return claims

    def _forget(self) -> None:
        """Drop expired tokens, and the oldest half of the rest if that is not enough."""
        now_s = self._clock().timestamp()
        alive = [(digest, claims) for digest, claims in self._remembered.items() if claims.exp > now_s]
        self._remembered = dict(alive[-_MAX_REMEMBERED // 2 :])
