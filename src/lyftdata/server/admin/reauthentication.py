"""
Makes operators authenticate again before actions that cannot be undone.

The policy table defines these actions (`core/policy.py`, `asks_again`). An open session is not enough for them, since its cookie may
be copied or the browser left alone: the operator must have authenticated recently, in this very session. When they do, the session
gets a new token: a copy of the old one is worthless from then on.
"""

from datetime import datetime, timedelta

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.errors import LoginFailedError
from lyftdata.core.policy import check_recently_authenticated
from lyftdata.core.secret import Secret
from lyftdata.server.admin.new_sessions import NewSessions
from lyftdata.server.admin.operator_budget import session_digest
from lyftdata.server.admin.operator_rules import get_operator, subject_of
from lyftdata.server.admin.password_check import PasswordCheck
from lyftdata.server.admin.second_factor_check import (
    SecondFactorCheck,
    SecondFactorChoices,
    SecondFactorProof,
)
from lyftdata.server.admin.session_checks import get_own_session
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import admin_sessions

# Checked before a form is filled in: input must not be lost because the time ran out in the meantime.
_SPARE = 3


class Reauthenticated(msgspec.Struct, frozen=True):
    """The session's new token, to be returned once, and until when no further authentication is needed."""

    token: Secret
    asked_again_at: datetime


class Reauthentication:
    """
    Checks how long ago an operator authenticated, and lets them do it again.

    Args:
        store: Stores the sessions.
        password_check: Checks passwords and counts failures.
        second_factors: Checks second factors.
        new_sessions: Generates tokens.
        within: How long ago an operator may have authenticated.
        clock: Aware UTC time.
    """

    def __init__(
        self,
        *,
        store: Store,
        password_check: PasswordCheck,
        second_factors: SecondFactorCheck,
        new_sessions: NewSessions,
        within: timedelta,
        clock: Clock,
    ) -> None:
        self.within = within
        self._store = store
        self._password_check = password_check
        self._second_factors = second_factors
        self._new_sessions = new_sessions
        self._clock = clock

    def check(self, action: str, *, actor: Actor, is_form: bool = False) -> None:
        """
        Refuse an action that cannot be undone, unless the operator has authenticated recently.

        Args:
            action: An action of the policy table.
            actor: The caller.
            is_form: Whether this is only a request for the form: a third of the time must be left to fill it in.

        Raises:
            ReauthenticationRequiredError: It was too long ago.
        """
        within = self.within - self.within / _SPARE if is_form else self.within
        check_recently_authenticated(action, actor=actor, within=within, now=self._clock())

    async def choices(self, *, actor: Actor) -> SecondFactorChoices:
        """Return the caller's second factors, with a challenge for this session alone."""
        return await self._second_factors.choices(actor.operator, bound_to=_bound_to(actor))

    async def reauthenticate(
        self,
        password: Secret,
        code: Secret | None = None,
        *,
        passkey: Secret | None = None,
        actor: Actor,
    ) -> Reauthenticated:
        """
        Check the password and the second factor of the caller, and give their session a new token.

        Args:
            password: As sent.
            code: Of an app, or a recovery code.
            passkey: JSON of the browser's response to `choices`.
            actor: The caller.

        Raises:
            LoginFailedError, LoginLockedError: The password is wrong, or there were too many failures.
            SecondFactorRequiredError, SecondFactorFailedError: The code is missing or wrong.
            ConflictError: `no_password`: the operator signs in at an issuer.
            NotSignedInError: The session has ended in the meantime.
        """
        operator, claim = await self._password_check.check_own(password, actor=actor)
        # As at sign-in: what a second factor protects must not be available for the password alone.
        proof = SecondFactorProof(code=code, passkey=passkey, bound_to=_bound_to(actor))
        factor = await self._second_factors.check(operator, proof, claim=claim)
        token, now = self._new_sessions.make_token(), self._clock()

        def op(tx: WriteTx) -> None:
            # The password may have been reset while it was being checked.
            if get_operator(tx.conn, operator.name).password_hash != operator.password_hash:
                raise LoginFailedError("The current password is wrong.")
            session = get_own_session(tx, actor)
            digest = session_digest(token.reveal().encode())
            admin_sessions.renew_session(tx, session.id, digest=digest, authenticated_at=now)
            if factor is not None:
                admin_sessions.set_second_factor(tx, session.id, factor)
            tx.audit(actor.audit_event("operator.reauthenticated", subject_of(operator.name), at=now))

        await self._store.write(op)
        return Reauthenticated(token, now + self.within)


def _bound_to(actor: Actor) -> str:
    return f"confirmation {actor.operator} {actor.session_id}"
