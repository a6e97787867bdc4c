"""Who a verified token speaks for, and the check of its scopes."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from lyftdata.verify.errors import InsufficientScopeError


class WorkerIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """
    A Worker that a token proved. Only verifiers create it; one object may serve many requests.

    Attributes:
        worker_id: The Worker's ID on the Server: grant rights by this.
        name: Its name. An auto-enrolled Worker chose it itself, and it may change: never grant rights by it.
        strategy: `api_key` or `auto_enrollment`.
        labels: Its labels, read-only. An auto-enrolled Worker chose them itself (security model).
        scopes: What it may do here (`scope`, RFC 9068, section 2.2.3).
        audience: The audience of the token: this service.
        issued_at: Aware UTC time.
        expires_at: Aware UTC time; from this second on the token is refused.
        token_id: `jti`, to find the token in logs. Not a secret.
    """

    worker_id: str
    name: str
    strategy: str
    labels: Mapping[str, str]
    scopes: frozenset[str]
    audience: str
    issued_at: datetime
    expires_at: datetime
    token_id: str


def require_scopes(worker: WorkerIdentity, needed: Iterable[str]) -> None:
    """
    Raise unless a Worker has every one of these scopes.

    Raises:
        InsufficientScopeError: One is missing.
        TypeError: `needed` is one string, which would be read as its letters, or as no scopes if it is empty.
    """
    # Missing authorization: `scopes=""` would otherwise require nothing, and `"ab"` the scopes `a` and `b`.
    if isinstance(needed, str):
        raise TypeError("scopes must be a list of names, not one string.")
    wanted = frozenset(needed)
    missing = wanted - worker.scopes
    if missing:
        raise InsufficientScopeError(needed=wanted, missing=missing)
