"""
Issues and checks the nonces of assertions and enrollment proofs (docs/decisions/0012).

A nonce for an assertion is bound to the Worker's epoch and key, so it becomes invalid when the Worker is disabled and enabled again,
or changes its key: an assertion captured before must not be usable after.
"""

from lyftdata.core.nonces import is_good_nonce, make_nonce
from lyftdata.core.records import WorkerRecord
from lyftdata.server.clock import Clock, RandomBytes

_ENROLLMENT = "enrollment"
# Enumeration by timing: as long as a Worker's, so that a nonce for an unknown one takes the same time.
_NO_EPOCH = "0" * 13
_NO_THUMBPRINT = "-" * 43


class Nonces:
    """
    Issues and checks nonces; stores nothing.

    Args:
        key: 32 bytes. Several Servers share one key, so that each accepts the others' nonces. A single Server has a new key at each
         start, so that an assertion signed before the start is invalid after it.
        clock: Returns the time.
        random_bytes: Returns the salt.
    """

    def __init__(self, *, key: bytes, clock: Clock, random_bytes: RandomBytes) -> None:
        self._key = key
        self._clock = clock
        self._random_bytes = random_bytes

    def for_assertion(self, worker_id: str, worker: WorkerRecord | None) -> str:
        """
        Issue a nonce for an assertion.

        Args:
            worker_id: The Worker ID that the caller claims.
            worker: The entry, if it exists. Enumeration: the nonce does not reveal whether it does.
        """
        return self._make(_bound_to(worker_id, worker))

    def for_enrollment(self) -> str:
        """Issue a nonce for a proof of the enrollment key."""
        return self._make(_ENROLLMENT)

    def is_valid_for_assertion(self, unverified_nonce: str, worker: WorkerRecord) -> bool:
        """Return whether a nonce is at most two minutes old, and the Worker's epoch and key have not changed since."""
        return self._is_valid(unverified_nonce, _bound_to(worker.id, worker))

    def is_valid_for_enrollment(self, unverified_nonce: str) -> bool:
        """Return whether a nonce for an enrollment proof is at most two minutes old."""
        return self._is_valid(unverified_nonce, _ENROLLMENT)

    def _make(self, bound_to: str) -> str:
        return make_nonce(self._key, issued_at=self._clock(), salt=self._random_bytes(9), bound_to=bound_to)

    def _is_valid(self, unverified_nonce: str, bound_to: str) -> bool:
        return is_good_nonce(unverified_nonce, self._key, now=self._clock(), bound_to=bound_to)


def _bound_to(worker_id: str, worker: WorkerRecord | None) -> str:
    if worker is None:
        return f"assertion {_NO_EPOCH} {_NO_THUMBPRINT} {worker_id}"
    return f"assertion {worker.epoch} {worker.thumbprint or _NO_THUMBPRINT} {worker_id}"
