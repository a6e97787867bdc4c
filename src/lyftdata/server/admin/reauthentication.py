"""
Asks operators again who they are before what cannot be undone.

Which actions these are is in the policy table (`core/policy.py`, `asks_again`). An open session, its cookie copied or the browser
left alone, is not enough for them: the operator must have proved lately who they are, in this very session. When they prove it
the session gets another token: a copy of the one before is worth nothing from then on.
"""

from datetime import datetime, timedelta

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.errors import LoginFailedError
from lyftdata.core.policy import check_recently_authenticated
from lyftdata.core.secret import Secret
from lyftdata.server.admin.new_sessions import NewSessions
from lyftdata.server.admin.operator_budget import session_digest
from lyftdata.server.admin.operators import get_operator, subject_of
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

# A form is asked for before it is filled in: what was typed must not be lost because the time was over meanwhile.
_SPARE = 3


class Reauthenticated(msgspec.Struct, frozen=True):
    """The token that the session has from now on, to hand out once, and until when nothing is asked again."""

    token: Secret
    asked_again_at: datetime


class Reauthentication:
    """
    Checks how long ago an operator has proved who they are, and lets them prove it again.

    Args:
        store: Where sessions are kept.
        password_check: Checks passwords and counts failures.
        second_factors: Checks second factors.
        new_sessions: Makes tokens.
        within: How long ago an operator may have proved who they are.
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
        Refuse what cannot be undone to an operator who has not proved lately who they are.

        Args:
            action: Of the policy table.
            actor: Who asks.
            is_form: Whether only its form is asked for: a third of the time must be left to fill it in.

        Raises:
            ReauthenticationRequiredError: It is too long ago.
        """
        within = self.within - self.within / _SPARE if is_form else self.within
        check_recently_authenticated(action, actor=actor, within=within, now=self._clock())

    async def choices(self, *, actor: Actor) -> SecondFactorChoices:
        """Return by what the operator who asks can be recognised, with a challenge for this session alone."""
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
        Check the password and the second factor of the operator who asks, and give their session another token.

        Args:
            password: As given.
            code: Of an app, or a recovery code.
            passkey: JSON of the browser's answer to `choices`.
            actor: Who asks.

        Raises:
            LoginFailedError, LoginLockedError: The password is wrong, or was guessed at too often.
            SecondFactorRequiredError, SecondFactorFailedError: The code is missing or wrong.
            ConflictError: `no_password`: the operator signs in at an issuer.
            NotSignedInError: The session has ended meanwhile.
        """
        operator, claim = await self._password_check.check_own(password, actor=actor)
        # As at the sign-in: what a second factor protects must not be had for the password alone.
        proof = SecondFactorProof(code=code, passkey=passkey, bound_to=_bound_to(actor))
        factor = await self._second_factors.check(operator, proof, claim=claim)
        token, now = self._new_sessions.make_token(), self._clock()

        def op(tx: WriteTx) -> None:
            # It may have been reset while it was being checked.
            if get_operator(tx, operator.name).password_hash != operator.password_hash:
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
