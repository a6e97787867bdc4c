"""Proofs of possession (RFC 9449) at this Server: nonces, and that each proof is used once."""

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
# Sixty requests a second, all the while: each needs a proof of its own, which is remembered for a minute.
MAX_PROOFS_PER_WORKER = 4_096
# A proof is good for a minute from its `iat`; its record outlives that by so much as this host's clock may be set back.
_REMEMBERED_LONGER_S = 5


class DpopNonceError(LyftdataError):
    """The proof has no nonce issued by this Server; the answer carries one (RFC 9449, section 8)."""

    code = "use_dpop_nonce"

    def __init__(self) -> None:
        super().__init__("Make the proof again, with the nonce of this answer.")


class Dpop:
    """
    Checks proofs and makes nonces.

    Args:
        key: 32 bytes. Where there are several Servers all have the same: a nonce of one is good at the others. Where there is
            one, it is new at each start.
        clock: Gives the time.
        spent: Which proofs were used; MAX_PROOFS_PER_WORKER of a Worker.
    """

    def __init__(self, *, key: bytes, clock: Clock, spent: SpentAssertions) -> None:
        self._key = key
        self._clock = clock
        self.spent = spent

    def nonce(self) -> str:
        """Return the nonce of now: nothing to remember, and a caller cannot forge one."""
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
            DpopNonceError: It holds no nonce of this Server, or an old one.
        """
        proof = verify_dpop_proof(
            unverified, method=method, url=url, now=self._clock(), access_token=access_token
        )
        if (needs_nonce or proof.nonce is not None) and not self._is_ours(proof.nonce or ""):
            raise DpopNonceError
        return proof

    def spend(self, proof: DpopProof, *, worker: WorkerRecord) -> Ticket | None:
        """
        Use a proof up.

        Args:
            proof: As `check` returned it.
            worker: Whose credential came with it, and was checked: it counts against that Worker, which can make up as
                many keys as it likes, and not against the key. So neither strangers nor a Worker fill the memory.

        Returns:
            What is to be used up at every other Server too, if there may be any.

        Raises:
            DpopProofError: It was used before, or the Worker sends too many.
            DpopNonceError: It may have been used before this process started, and holds no nonce, which is new at each start.
        """
        if proof.nonce is None and self.spent.may_have_lost(worker, proof.signed_at, leeway_s=LEEWAY_S):
            raise DpopNonceError
        try:
            return self.spent.spend_id(
                worker.id,
                f"{proof.thumbprint} {proof.jti}",
                until_s=proof.expires_at.timestamp() + _REMEMBERED_LONGER_S,
                now_s=self._clock().timestamp(),
            )
        except AssertionReplayedError as error:
            raise DpopProofError("It was used before.") from error
        except RateLimitedError as error:
            raise DpopProofError("There are too many of this Worker's.") from error

    def _step(self) -> int:
        return int(self._clock().timestamp()) // _NONCE_EVERY_S

    def _is_ours(self, nonce: str) -> bool:
        step = self._step()
        return any(hmac.compare_digest(nonce.encode(), self._nonce_of(n).encode()) for n in (step, step - 1))

    def _nonce_of(self, step: int) -> str:
        digest = hmac.digest(self._key, step.to_bytes(8, "big"), sha256)
        return base64url(digest[:18])
