"""Limits what callers without a role here can cost: requests to the issuer, and events in the audit log."""

import contextlib
import hashlib
from collections.abc import Iterator
from datetime import datetime

from lyftdata.core.errors import TooManyRequestsError
from lyftdata.core.id_tokens import Identity
from lyftdata.core.rate_limit import FailureLimiter
from lyftdata.server.clock import Clock

_CODES_BURST = 20
_CODES_PER_S = 1 / 3
_AUDITED_BURST = 5
_AUDITED_PER_S = 1 / 600


class OidcLimits:
    """Failed sign-in attempts, counted by network and by identity. Successful sign-ins are never counted."""

    def __init__(self) -> None:
        self.codes = FailureLimiter(burst=_CODES_BURST, refill_per_s=_CODES_PER_S)
        self.audited = FailureLimiter(burst=_AUDITED_BURST, refill_per_s=_AUDITED_PER_S)

    @contextlib.contextmanager
    def exchanging(self, address: str, *, clock: Clock) -> Iterator[None]:
        """
        Count a code as wrong unless the block, which exchanges it, ends without an error.

        Denial of service: made-up codes must not take all slots at the issuer from people who sign in. It is counted
        before the issuer is asked: otherwise many could be sent at once before the first one is known to be wrong.

        Raises:
            TooManyRequestsError: Too many codes from this network were wrong.
        """
        wait_s = self.codes.reserve(address, clock().timestamp())
        if wait_s is not None:
            raise TooManyRequestsError(wait_s, "Too many failed sign-ins from your network.")
        try:
            yield
        except BaseException:
            self.codes.confirm(address)
            raise
        self.codes.forgive(address, clock().timestamp())

    def is_audited(self, identity: Identity, *, now: datetime) -> bool:
        """
        Return whether to audit another refusal of an identity, and count it.

        Log flooding: an account at the issuer without a role must not grow the audit log with each of its requests.
        """
        # Hashed, since Servers exchange the counts: the issuer chooses the text, and how long it is.
        name = hashlib.sha256(f"{identity.issuer}\0{identity.subject}".encode()).hexdigest()
        return self.audited.record_failure(name, now.timestamp()) is None
