"""Proofs of possession (RFC 9449) at this Server: nonces, and that each proof is used once."""

import base64
import hmac
from hashlib import sha256

from lyftdata.core.dpop import DpopProof, DpopProofError, verify_dpop_proof
from lyftdata.core.refusals import AssertionReplayedError, RateLimitedError
from lyftdata.server.clock import Clock
from lyftdata.server.replay import SpentAssertions, Ticket
from lyftdata.server.wire import OAuthError

_NONCE_EVERY_S = 120
# Sixty requests a second, all the while: each needs a proof of its own, which is remembered for a minute.
_MOST_A_WORKER = 4_096
# A proof is good for a minute from its `iat`; its record outlives that by so much as this host's clock may be set back.
_REMEMBERED_LONGER_S = 5


class DpopNonceError(OAuthError):
    """The proof holds no nonce of ours; the answer carries one (RFC 9449, section 8)."""

    def __init__(self) -> None:
        super().__init__("use_dpop_nonce", "Make the proof again, with the nonce of this answer.")


class Dpop:
    """
    Checks proofs and makes nonces.

    Args:
        key: 32 bytes that every Server of the deployment has: a nonce of one is good at the others.
        shared: Whether there may be other Servers.
    """

    def __init__(self, *, key: bytes, clock: Clock, shared: bool = False) -> None:
        self._key = key
        self._clock = clock
        self.spent = SpentAssertions(most_a_worker=_MOST_A_WORKER, shared=shared)

    def nonce(self) -> str:
        """Return the nonce of now: nothing to remember, nobody else can make one."""
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
            OAuthError: `invalid_dpop_proof`.
            DpopNonceError: `use_dpop_nonce`.
        """
        try:
            proof = verify_dpop_proof(
                unverified, method=method, url=url, now=self._clock(), access_token=access_token
            )
        except DpopProofError as error:
            raise OAuthError("invalid_dpop_proof", str(error)) from error
        if (needs_nonce or proof.nonce is not None) and not self._is_ours(proof.nonce or ""):
            raise DpopNonceError
        return proof

    def spend(self, proof: DpopProof, *, worker_id: str) -> Ticket | None:
        """
        Use a proof up.

        Args:
            proof: As `check` returned it.
            worker_id: Whose credential came with it, and was checked: it counts against that Worker, which can make up as
                many keys as it likes, and not against the key. So neither strangers nor a Worker fill the memory.

        Returns:
            What is to be used up at every other Server too, if there may be any.

        Raises:
            OAuthError: `invalid_dpop_proof`: it was used before, or the Worker signs without end.
        """
        try:
            return self.spent.spend_id(
                worker_id,
                f"{proof.thumbprint} {proof.jti}",
                until_s=proof.expires_at.timestamp() + _REMEMBERED_LONGER_S,
                now_s=self._clock().timestamp(),
            )
        except AssertionReplayedError as error:
            raise OAuthError("invalid_dpop_proof", "It was used before.") from error
        except RateLimitedError as error:
            raise OAuthError("invalid_dpop_proof", "There are too many of this Worker's.") from error

    def _step(self) -> int:
        return int(self._clock().timestamp()) // _NONCE_EVERY_S

    def _is_ours(self, nonce: str) -> bool:
        step = self._step()
        return any(hmac.compare_digest(nonce.encode(), self._nonce_of(n).encode()) for n in (step, step - 1))

    def _nonce_of(self, step: int) -> str:
        digest = hmac.digest(self._key, step.to_bytes(8, "big"), sha256)
        return base64.urlsafe_b64encode(digest[:18]).decode()
