"""Checks proofs of possession (DPoP, RFC 9449) at this Server: issues nonces, and accepts each proof once."""

import hmac
from hashlib import sha256

from lyftdata.core.dpop import LEEWAY_S, DpopProof, DpopProofError, verify_dpop_proof
from lyftdata.core.encoding import base64url
from lyftdata.core.errors import LyftdataError
from lyftdata.core.records import WorkerRecord
from lyftdata.core.refusals import AssertionReplayedError, RateLimitedError
from lyftdata.server.admission.replay import SpentAssertions, Ticket
from lyftdata.server.clock import Clock

_NONCE_EVERY_S = 120
# Sixty requests a second, sustained: each needs its own proof, which is remembered for a minute.
MAX_PROOFS_PER_WORKER = 4_096
# A proof is valid for a minute from its `iat`; its record is kept longer, by as much as this host's clock may be set back.
_REMEMBERED_LONGER_S = 5


class DpopNonceError(LyftdataError):
    """The proof has no nonce issued by this Server; the response carries one (RFC 9449, section 8)."""

    code = "use_dpop_nonce"

    def __init__(self) -> None:
        super().__init__("Retry with a new proof that has the nonce of this response.")


class Dpop:
    """
    Checks proofs and issues nonces.

    Args:
        key: 32 bytes. Several Servers share one key, so that each accepts the others' nonces. A single Server has a new key
         at each start.
        clock: Returns the time.
        spent: The used proofs; at most MAX_PROOFS_PER_WORKER of each Worker.
    """

    def __init__(self, *, key: bytes, clock: Clock, spent: SpentAssertions) -> None:
        self._key = key
        self._clock = clock
        self.spent = spent

    def nonce(self) -> str:
        """Return the current nonce: a MAC of the time, so nothing is stored and no one else can make one."""
        return self._nonce_of(self._step())

    def check(
        self,
        unverified: str,
        *,
        method: str,
        url: str,
        access_token: str | None = None,
        needs_nonce: bool = False,
    ) -> DpopProof:
        """
        Check a proof for a request.

        Raises:
            DpopProofError: It is not a proof for this request.
            DpopNonceError: Its nonce is missing, expired, or not from this Server.
        """
        proof = verify_dpop_proof(
            unverified, method=method, url=url, now=self._clock(), access_token=access_token
        )
        # Pre-generation: proofs made in advance, by malware that had access to the key for a while, have no current nonce (RFC 9449, section
        # 11.2). A nonce is checked even if none is required: a wrong one means that the proof was made elsewhere.
        if (needs_nonce or proof.nonce is not None) and not self._is_own(proof.nonce or ""):
            raise DpopNonceError
        return proof

    def spend(self, proof: DpopProof, *, worker: WorkerRecord) -> Ticket | None:
        """
        Mark a proof as used.

        Args:
            proof: Returned by `check`.
            worker: The authenticated Worker that sent it. Memory exhaustion: proofs are counted per Worker and not per DPoP key, of
             which it can make any number. Unauthenticated callers store nothing.

        Returns:
            What must also be marked as used at every peer, if there may be any.

        Raises:
            DpopProofError: It was used before, or the Worker sends too many.
            DpopNonceError: It has no nonce, and may have been used before this process started.
        """
        # Replay across a crash: the list of used proofs may be incomplete, so a proof from before the start is not accepted.
        if proof.nonce is None and self.spent.may_be_unrecorded(worker, proof.signed_at, leeway_s=LEEWAY_S):
            raise DpopNonceError
        try:
            # Replay: `jti` is only unique per key (RFC 9449, sections 4.2 and 11.1), so the thumbprint is part of the identity. In the
            # event loop check and record are one step: of two equal proofs sent at once, one is refused (TOCTOU).
            return self.spent.spend_id(
                worker.id,
                f"{proof.thumbprint} {proof.jti}",
                until_s=proof.expires_at.timestamp() + _REMEMBERED_LONGER_S,
                now_s=self._clock().timestamp(),
            )
        except AssertionReplayedError as error:
            raise DpopProofError("It was used before.") from error
        except RateLimitedError as error:
            raise DpopProofError("The Worker has too many unexpired proofs.") from error

    def _step(self) -> int:
        return int(self._clock().timestamp()) // _NONCE_EVERY_S

    def _is_own(self, nonce: str) -> bool:
        step = self._step()
        # The current and the previous step, so that a nonce is valid for at least two minutes; compared in constant time, so that it
        # cannot be forged byte by byte.
        return any(hmac.compare_digest(nonce.encode(), self._nonce_of(n).encode()) for n in (step, step - 1))

    def _nonce_of(self, step: int) -> str:
        digest = hmac.digest(self._key, step.to_bytes(8, "big"), sha256)
        return base64url(digest[:18])
