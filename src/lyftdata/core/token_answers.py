"""Builds the answers about a token: for the Worker that gets it, the service that asks about it, and a proxy."""

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from lyftdata.core.names import format_labels
from lyftdata.core.records import WorkerRecord
from lyftdata.core.tokens import TokenClaims


class TokenAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a Worker that gets a token (RFC 6749, section 5.1)."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str = ""


def introspection_answer(
    claims: TokenClaims, *, worker: WorkerRecord, scopes: Sequence[str]
) -> dict[str, object]:
    """
    Return the answer about an active token (RFC 7662, section 2.2).

    Args:
        claims: The claims of the token.
        worker: The current entry.
        scopes: The scopes of the token that are still granted.
    """
    described: dict[str, object] = {
        "active": True,
        "client_id": claims.client_id,
        "sub": claims.sub,
        "aud": claims.aud,
        "iss": claims.iss,
        "jti": claims.jti,
        "iat": claims.iat,
        "exp": claims.exp,
        "token_type": "Bearer" if claims.cnf is None else "DPoP",
        "worker_name": worker.name,
        "auth_strategy": worker.strategy.value,
        "labels": worker.labels,
    }
    if scopes:
        described["scope"] = " ".join(scopes)
    if claims.cnf is not None:
        described["cnf"] = claims.cnf
    return described


def worker_headers(worker: WorkerRecord) -> tuple[tuple[bytes, bytes], ...]:
    """
    Return a Worker's identity as the headers that a proxy passes to its service.

    Header injection: a Worker chooses its name itself, so the name is percent-encoded UTF-8. IDs and labels are ASCII without
    control characters by their own rules.
    """
    return (
        (b"x-lyftdata-worker-id", worker.id.encode()),
        (b"x-lyftdata-worker-name", quote(worker.name, safe=" ").encode()),
        (b"x-lyftdata-worker-strategy", worker.strategy.encode()),
        (b"x-lyftdata-worker-labels", format_labels(worker.labels).encode()),
    )
