"""Limits what callers without a role here can cost: requests to the issuer, and events in the audit log."""

from datetime import datetime

from lyftdata.core.errors import TooManyRequestsError
from lyftdata.core.id_tokens import Identity
from lyftdata.core.rate_limit import FailureLimiter

_CODES_BURST = 20
_CODES_PER_S = 1 / 3
_AUDITED_BURST = 5
_AUDITED_PER_S = 1 / 600


class OidcLimits:
    """Failed sign-in attempts, counted by network and by identity. Successful sign-ins are never counted."""

    def __init__(self) -> None:
        self._codes = FailureLimiter(burst=_CODES_BURST, refill_per_s=_CODES_PER_S)
        self._audited = FailureLimiter(burst=_AUDITED_BURST, refill_per_s=_AUDITED_PER_S)

    def begin_exchange(self, address: str, *, now: datetime) -> None:
        """
        Count a code as wrong before it is exchanged.

        Denial of service: made-up codes must not take all slots at the issuer from people who sign in. It is counted
        before the issuer is asked: otherwise many could be sent at once before the first one is known to be wrong.

        Raises:
            TooManyRequestsError: Too many codes from this network were wrong.
        """
        wait_s = self._codes.record_failure(address, now.timestamp())
        if wait_s is not None:
            raise TooManyRequestsError(wait_s, "Too many failed sign-ins from your network.")

    def code_was_right(self, address: str, *, now: datetime) -> None:
        """Undo the count of `begin_exchange`."""
        self._codes.forgive(address, now.timestamp())

    def is_audited(self, identity: Identity, *, now: datetime) -> bool:
        """
        Return whether to audit another refusal of an identity, and count it.

        Log flooding: an account at the issuer without a role must not grow the audit log with each of its requests.
        """
        return self._audited.record_failure(f"{identity.issuer}\0{identity.subject}", now.timestamp()) is None
