"""
Signs operators in by device code (RFC 8628): begins, lets an operator decide in a browser, and opens the session.

The session belongs to the operator who confirms, with no more rights than theirs. It ends no later than the browser session in which
they confirmed it, which must still be valid when the new one is opened: signing out everywhere before that ends it too.
"""

import hmac
from datetime import datetime, timedelta

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.device_login import (
    INTERVAL_S,
    LIFE,
    MAX_HOST_LENGTH,
    MAX_PENDING,
    SLOW_DOWN_S,
    DeviceLoginRecord,
    DeviceLoginState,
    make_user_code,
    read_user_code,
)
from lyftdata.core.encoding import base64url
from lyftdata.core.errors import DeviceLoginError, TooManyRequestsError
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.rate_limit import FailureLimiter
from lyftdata.core.records import AdminSessionRecord, OperatorRecord
from lyftdata.core.secret import Secret
from lyftdata.core.text import clean_text
from lyftdata.server.admin.new_sessions import NewSessions, open_session
from lyftdata.server.admin.operator_budget import session_digest
from lyftdata.server.admin.operator_rules import subject_of
from lyftdata.server.clock import Clock, RandomBytes
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import admin_sessions, device_logins
from lyftdata.store.tables.operators import find_operator

_MAX_READ = 1_000
# An earlier poll is not counted, since that would be a write.
_MIN_INTERVAL = timedelta(seconds=1)


class DeviceLoginBegun(msgspec.Struct, frozen=True, kw_only=True):
    """The response to the command line: the device code to poll with, and the user code to show."""

    device_code: Secret
    user_code: str
    expires_in_s: int
    interval_s: int


class DeviceSignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A session that was opened, and its token, to be returned once."""

    token: Secret
    session: AdminSessionRecord
    operator: OperatorRecord


class DeviceLogins:
    """
    Sign-ins by device code.

    Args:
        store: Stores them, for every Server.
        key: 32 bytes for this purpose alone, the same at every Server: user codes are too short for a plain hash.
        new_sessions: Creates the sessions.
        known_secrets: Redacted where a caller has put one.
        clock: Aware UTC time.
        random_bytes: Generates the codes.
    """

    def __init__(
        self,
        *,
        store: Store,
        key: bytes,
        new_sessions: NewSessions,
        known_secrets: KnownSecrets,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._key = key
        self._new_sessions = new_sessions
        self._known_secrets = known_secrets
        self._clock = clock
        self._random_bytes = random_bytes
        self.begun = FailureLimiter(burst=20, refill_per_s=1 / 15)
        """Limits how many an address may begin: each is a row."""
        self.guesses = FailureLimiter(burst=10, refill_per_s=1 / 60)
        """Limits how many wrong user codes an operator may enter (RFC 8628, section 5.1)."""

    async def begin(self, *, host: str, address: str, user_agent: str) -> DeviceLoginBegun:
        """
        Begin a sign-in.

        Raises:
            TooManyRequestsError: Too many from this address, or in total.
        """
        now = self._clock()
        wait_s = self.begun.record_failure(address, now.timestamp())
        if wait_s is not None:
            raise TooManyRequestsError(wait_s)
        device_code = Secret("lyftdata_device_" + base64url(self._random_bytes(32)))
        user_code = None
        while user_code is None:
            user_code = make_user_code(self._random_bytes(16))
        record = DeviceLoginRecord(
            device_digest=_digest(device_code.reveal()),
            user_digest=self._user_digest(user_code),
            state=DeviceLoginState.PENDING,
            address=address,
            host=clean_text(self._known_secrets.hide(host[:_MAX_READ]), MAX_HOST_LENGTH),
            user_agent=clean_text(self._known_secrets.hide(user_agent[:_MAX_READ]), 200),
            created_at=now,
            expires_at=now + LIFE,
        )
        if not await self._store.write(
            lambda tx: device_logins.insert_login(tx, record, at_most=MAX_PENDING)
        ):
            raise TooManyRequestsError(INTERVAL_S)
        return DeviceLoginBegun(
            device_code=device_code,
            user_code=user_code,
            expires_in_s=int(LIFE.total_seconds()),
            interval_s=INTERVAL_S,
        )

    async def find(self, typed: str, *, actor: Actor) -> DeviceLoginRecord:
        """
        Return the pending sign-in whose user code an operator has entered.

        Raises:
            DeviceLoginError: `unknown_code`: mistyped, expired, or already decided; it counts as a guess.
            TooManyRequestsError: The operator has entered too many wrong ones; this one was not looked up.
        """
        now = self._clock()
        # TOCTOU: counted before the look-up, or guesses in parallel would all be under the limit.
        wait_s = self.guesses.reserve(actor.account, now.timestamp())
        if wait_s is not None:
            raise TooManyRequestsError(wait_s)
        try:
            found = await self._look_up(typed, now)
        except BaseException:
            self.guesses.forgive(actor.account, now.timestamp())
            raise
        if found is None or found.state is not DeviceLoginState.PENDING:
            self.guesses.confirm(actor.account)
            raise _no_such_code()
        self.guesses.forgive(actor.account, now.timestamp())
        return found

    async def _look_up(self, typed: str, now: datetime) -> DeviceLoginRecord | None:
        code = read_user_code(typed[:_MAX_READ])
        if code is None:
            return None
        digest = self._user_digest(code)
        return await self._store.read(lambda conn: device_logins.find_by_user(conn, digest, now=now))

    async def decide(self, typed: str, *, approve: bool, actor: Actor) -> DeviceLoginRecord:
        """Approve or deny a sign-in, once; raises like `find`."""
        found = await self.find(typed, actor=actor)
        now = self._clock()
        action = "operator.device_login_approved" if approve else "operator.device_login_denied"
        event = actor.audit_event(
            action,
            subject_of(actor.operator),
            at=now,
            details={"host": found.host, "requested_from": found.address},
        )

        def op(tx: WriteTx) -> bool:
            current = device_logins.find_by_device(tx.conn, found.device_digest)
            # Two operators at once, or at two Servers: the first one decides.
            if current is None or current.state is not DeviceLoginState.PENDING or now >= current.expires_at:
                return False
            state = DeviceLoginState.APPROVED if approve else DeviceLoginState.DENIED
            session_id = actor.session_id if approve else None
            device_logins.replace_login(
                tx, msgspec.structs.replace(current, state=state, session_id=session_id)
            )
            tx.audit(event)
            return True

        if not await self._store.write(op):
            raise _no_such_code()
        return found

    async def redeem(self, unverified_code: str, *, address: str, user_agent: str) -> DeviceSignedIn:
        """
        Exchange a device code for a session, once an operator has approved it.

        Raises:
            DeviceLoginError: `authorization_pending`, `slow_down`, `access_denied` or `expired_token` (RFC 8628, section 3.5). An
             unknown code counts as expired: a caller without a code learns nothing.
        """
        digest = _digest(unverified_code)
        # Not in a write transaction: neither made-up codes nor polling in a loop must block the only writer.
        found = await self._store.read(lambda conn: device_logins.find_by_device(conn, digest))
        if found is None:
            raise _expired()
        if found.asked_at is not None and self._clock() - found.asked_at < _MIN_INTERVAL:
            raise _slow_down(found.interval_s)
        outcome = await self._store.write(lambda tx: self._redeem(tx, digest, address, user_agent))
        if isinstance(outcome, DeviceLoginError):
            raise outcome
        return outcome

    def _redeem(
        self, tx: WriteTx, digest: bytes, address: str, user_agent: str
    ) -> DeviceSignedIn | DeviceLoginError:
        """Return the session, or the error: what an error changes (the interval, or that the sign-in is gone) must be committed too."""
        now = self._clock()
        found = device_logins.find_by_device(tx.conn, digest)
        # Checked again in the transaction: if a code is redeemed twice at once, at any Servers, only one succeeds.
        if found is None:
            return _expired()
        if now >= found.expires_at:
            device_logins.delete_login(tx, digest)
            return _expired()
        if found.asked_at is not None and (now - found.asked_at).total_seconds() < found.interval_s:
            interval_s = found.interval_s + SLOW_DOWN_S
            device_logins.replace_login(
                tx, msgspec.structs.replace(found, interval_s=interval_s, asked_at=now)
            )
            return _slow_down(interval_s)
        if found.state is DeviceLoginState.PENDING:
            device_logins.replace_login(tx, msgspec.structs.replace(found, asked_at=now))
            return DeviceLoginError("authorization_pending", "No operator has confirmed the code yet.")
        device_logins.delete_login(tx, digest)
        approver = _approver(tx, found, now=now)
        if approver is None:
            return DeviceLoginError("access_denied", "The sign-in was denied.")
        return self._open(tx, found, *approver, address=address, user_agent=user_agent)

    def _open(
        self,
        tx: WriteTx,
        found: DeviceLoginRecord,
        browser: AdminSessionRecord,
        operator: OperatorRecord,
        *,
        address: str,
        user_agent: str,
    ) -> DeviceSignedIn:
        new = self._new_sessions.make(
            operator.name,
            address=address,
            user_agent=user_agent,
            # Not now: confirming a code proves no more than the browser session did.
            authenticated_at=browser.authenticated_at,
            # The browser session in which it was confirmed has proved the second factor.
            second_factor=browser.second_factor,
            # Persistence: a copied session must not create another one before it ends, and so last for ever.
            ends_by=min(browser.expires_at, operator.password_expires_at or browser.expires_at),
            issuer_session=browser.issuer_session,
        )
        details = {"method": "device_code", "host": found.host, "approved_from": browser.address}
        open_session(tx, new.record, operator, details=details)
        return DeviceSignedIn(token=new.token, session=new.record, operator=operator)

    def _user_digest(self, user_code: str) -> str:
        return hmac.digest(self._key, user_code.encode(), "sha256").hex()


def _approver(
    tx: WriteTx, found: DeviceLoginRecord, *, now: datetime
) -> tuple[AdminSessionRecord, OperatorRecord] | None:
    """Return the session in which a sign-in was approved, with its operator in the current state; None if it is no longer valid."""
    session = None if found.session_id is None else admin_sessions.find_session(tx.conn, found.session_id)
    if session is None or now >= session.expires_at:
        return None
    operator = find_operator(tx.conn, session.operator)
    return None if operator is None else (session, operator)


def _digest(device_code: str) -> bytes:
    return session_digest(device_code[:_MAX_READ].encode("utf-8", "surrogatepass"))


def _slow_down(interval_s: int) -> DeviceLoginError:
    return DeviceLoginError("slow_down", f"Ask every {interval_s} seconds at most.")


def _no_such_code() -> DeviceLoginError:
    return DeviceLoginError(
        "unknown_code",
        "There is no sign-in with this code.",
        hint="Check the code in the terminal: it is good for ten minutes, and once.",
    )


def _expired() -> DeviceLoginError:
    return DeviceLoginError(
        "expired_token", "This sign-in has expired, or was used before.", hint="lyftdata login --device"
    )
