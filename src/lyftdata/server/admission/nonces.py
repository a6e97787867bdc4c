"""
Nonces for assertions and enrollment proofs (docs/decisions/0012).

A nonce for an assertion is bound to the Worker's entry as it is: it ends with the entry's epoch, and with its key.
"""

from lyftdata.core.nonces import is_good_nonce, make_nonce
from lyftdata.core.records import WorkerRecord
from lyftdata.server.clock import Clock, RandomBytes

_ENROLLMENT = "enrollment"
# As long as those of a Worker, so that a nonce for an unknown one takes the same time.
_NO_EPOCH = "0" * 13
_NO_THUMBPRINT = "-" * 43


class Nonces:
    """
    Makes nonces and recognizes them; keeps nothing.

    Args:
        key: 32 bytes. Where there are several Servers all have the same: a nonce of one is good at the others. Where there is
            one, it is new at each start, so that what was signed before the start is not good after it.
        clock: Gives the time.
        random_bytes: Gives the salt.
    """

    def __init__(self, *, key: bytes, clock: Clock, random_bytes: RandomBytes) -> None:
        self._key = key
        self._clock = clock
        self._random_bytes = random_bytes

    def for_assertion(self, worker_id: str, worker: WorkerRecord | None) -> str:
        """
        Make a nonce for an assertion.

        Args:
            worker_id: Who the caller says it is.
            worker: The entry, if there is one; the nonce does not show whether there is.
        """
        return self._make(_bound_to(worker_id, worker))

    def for_enrollment(self) -> str:
        """Make a nonce for a proof of the enrollment key."""
        return self._make(_ENROLLMENT)

    def is_good_for_assertion(self, unverified_nonce: str, worker: WorkerRecord) -> bool:
        """Return whether a nonce is of the last two minutes, and the Worker's entry is as it was when it was made."""
        return self._is_good(unverified_nonce, _bound_to(worker.id, worker))

    def is_good_for_enrollment(self, unverified_nonce: str) -> bool:
        """Return whether a nonce for a proof is of the last two minutes."""
        return self._is_good(unverified_nonce, _ENROLLMENT)

    def _make(self, bound_to: str) -> str:
        return make_nonce(self._key, issued_at=self._clock(), salt=self._random_bytes(9), bound_to=bound_to)

    def _is_good(self, unverified_nonce: str, bound_to: str) -> bool:
        return is_good_nonce(unverified_nonce, self._key, now=self._clock(), bound_to=bound_to)


def _bound_to(worker_id: str, worker: WorkerRecord | None) -> str:
    if worker is None:
        return f"assertion {_NO_EPOCH} {_NO_THUMBPRINT} {worker_id}"
    return f"assertion {worker.epoch} {worker.thumbprint or _NO_THUMBPRINT} {worker_id}"
