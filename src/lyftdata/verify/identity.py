"""Who a verified token speaks for."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from lyftdata.verify.errors import InsufficientScopeError


class WorkerIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """
    A Worker, as a token proved it. Made by a verifier alone; the same object may be given to many requests.

    Attributes:
        worker_id: The Worker's ID on the Server: what to grant rights by.
        name: Its name. Chosen by the Worker itself under Auto-Enrollment, and may change.
        strategy: `api_key` or `auto_enrollment`.
        labels: Its labels, read-only. An auto-enrolled Worker's are its own word (security model).
        scopes: What it may do here (`scope`, RFC 9068, section 2.2.3).
        audience: The service that the token is meant for, as this service calls itself.
        issued_at: Aware UTC time.
        expires_at: Aware UTC time; from this very second the token is refused.
        token_id: `jti`, to find the token in logs. No secret.
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
    Make sure that a Worker has every one of these scopes.

    Raises:
        InsufficientScopeError: It lacks one.
        TypeError: A plain string, which would be taken for its letters, or for nothing if it is empty.
    """
    if isinstance(needed, str):
        raise TypeError("scopes must be a list of names, not one string.")
    wanted = frozenset(needed)
    missing = wanted - worker.scopes
    if missing:
        raise InsufficientScopeError(needed=wanted, missing=missing)
