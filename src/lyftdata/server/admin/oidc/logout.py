"""Ends sessions when the issuer says that they have ended there (OpenID Connect Back-Channel Logout 1.0)."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

from lyftdata.core.errors import IssuerSignInError, IssuerUnavailableError
from lyftdata.core.id_tokens import (
    LEEWAY_S,
    IdTokenError,
    IssuerKey,
    Logout,
    UnknownKeyError,
    check_logout_token,
)
from lyftdata.core.records import AuditEvent
from lyftdata.failure_log import FailureLog
from lyftdata.server.admin.oidc.config import OidcConfig
from lyftdata.server.admin.oidc.issuer import Issuer
from lyftdata.server.admin.operator_rules import subject_of
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import admin_sessions, operators, spent_assertions


class OidcLogout:
    """
    Handles the issuer's logout tokens.

    Args:
        config: The issuer's settings.
        issuer: Provides its keys.
        store: Stores operators and sessions.
        failures: Logs that the issuer cannot be used.
        clock: Aware UTC time.
    """

    def __init__(
        self, *, config: OidcConfig, issuer: Issuer, store: Store, failures: FailureLog, clock: Clock
    ) -> None:
        self._config = config
        self._issuer = issuer
        self._store = store
        self._failures = failures
        self._clock = clock

    async def end_sessions(self, unverified_token: str, *, address: str) -> None:
        """
        End the sessions that a logout token names: those opened with one session at the issuer, or all of an operator.

        Raises:
            IssuerSignInError: `wrong_logout_token`.
            IssuerUnavailableError: The issuer's keys cannot be read.
        """
        try:
            logout = await self._verified(unverified_token)
        except IssuerUnavailableError as error:
            self._failures.failed(issuer=self._config.issuer, problem=error.detail)
            raise
        except IdTokenError as error:
            # Not logged each time: anyone can send one.
            raise IssuerSignInError("wrong_logout_token", "The logout token is not accepted.") from error
        now = self._clock()

        def op(tx: WriteTx) -> None:
            _use_up(tx, logout, now=now)
            for name in _end_sessions(tx, logout):
                tx.audit(
                    AuditEvent(
                        at=now,
                        actor="issuer",
                        action="operator.sessions_ended",
                        subject=subject_of(name),
                        address=address,
                        details={"issuer": logout.issuer},
                    )
                )

        await self._store.write(op)

    async def _verified(self, unverified_token: str) -> Logout:
        try:
            return self._check(unverified_token, await self._issuer.keys())
        except UnknownKeyError:
            return self._check(unverified_token, await self._issuer.newer_keys())

    def _check(self, unverified_token: str, keys: tuple[IssuerKey, ...]) -> Logout:
        return check_logout_token(
            unverified_token,
            keys=keys,
            issuer=self._config.issuer,
            client_id=self._config.client_id,
            now=self._clock(),
        )


def _use_up(tx: WriteTx, logout: Logout, *, now: datetime) -> None:
    """Accept each token once. Replay: a captured token must not end sessions that were opened since."""
    until = datetime.fromtimestamp(logout.expires_at_s, tz=UTC) + timedelta(seconds=LEEWAY_S)
    digest = sha256(f"logout\0{logout.issuer}\0{logout.jti}".encode()).digest()
    spent_assertions.prune(tx, now)
    if not spent_assertions.spend_all(tx, {digest: until}):
        raise IssuerSignInError("wrong_logout_token", "The logout token is not accepted.")


def _end_sessions(tx: WriteTx, logout: Logout) -> list[str]:
    """End the sessions, and return the names of their operators."""
    if logout.session is not None:
        names = admin_sessions.operators_of_issuer_session(
            tx.conn, issuer=logout.issuer, issuer_session=logout.session
        )
        if logout.subject is not None:
            owner = operators.find_by_identity(tx.conn, issuer=logout.issuer, subject=logout.subject)
            names = [name for name in names if owner is not None and owner.name == name]
        admin_sessions.delete_of_issuer_session(tx, names, logout.session)
        return names
    owner = operators.find_by_identity(tx.conn, issuer=logout.issuer, subject=logout.subject or "")
    if owner is None or not admin_sessions.list_sessions(tx.conn, operator=owner.name):
        return []
    admin_sessions.delete_sessions_of(tx, owner.name)
    return [owner.name]
