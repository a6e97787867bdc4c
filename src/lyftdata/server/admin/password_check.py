"""Checks an operator's password, unless there were too many failures; the time it takes reveals nothing."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.errors import (
    ConflictError,
    LoginFailedError,
    LoginLockedError,
    PasswordSignInOffError,
)
from lyftdata.core.lockout import Claim, Lockout
from lyftdata.core.log_events.server import LOCKOUT_NOT_RECORDED
from lyftdata.core.rate_limit import network_of
from lyftdata.core.records import AuditEvent, OperatorRecord
from lyftdata.core.secret import Secret
from lyftdata.core.sign_in_methods import SignInMethods
from lyftdata.log import emit, get_logger
from lyftdata.server.admin.passwords import Passwords
from lyftdata.server.clock import Clock
from lyftdata.store import Store
from lyftdata.store.tables import known_networks, operators

_log = get_logger(__name__)

NETWORK_KEY_PURPOSE = "known networks"


class PasswordCheck:
    """
    Checks passwords and counts failures.

    Args:
        store: Stores the operators.
        passwords: Hashes and compares passwords.
        lockout: Counts failed sign-ins.
        network_key: 32 bytes that key the hashes of known networks.
        methods: How operators may sign in.
        clock: Aware UTC time.
    """

    def __init__(
        self,
        *,
        store: Store,
        passwords: Passwords,
        lockout: Lockout,
        network_key: bytes,
        methods: SignInMethods,
        clock: Clock,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._lockout = lockout
        self._network_key = network_key
        self._methods = methods
        self._clock = clock
        self._detached: set[asyncio.Task[None]] = set()

    async def is_enabled(self) -> bool:
        """Return whether any password is accepted: by the settings, or in an emergency."""
        if self._methods.passwords:
            return True
        now = self._clock()
        return await self._store.read(lambda conn: operators.has_emergency_password(conn, now=now))

    async def check_enabled(self) -> None:
        """Reject every password if none is accepted; raises PasswordSignInOffError, the same for every name."""
        if not await self.is_enabled():
            raise PasswordSignInOffError(
                "Sign-in by password is switched off on this Server.",
                hint="Sign in at your identity provider. In an emergency, on the Server's host: "
                "lyftdata admin emergency-access NAME",
            )

    async def look_up(self, name: str, address: str) -> tuple[OperatorRecord | None, Claim]:
        """
        Return the operator of a name, and what the lockout must know about an attempt from an address.

        An operator without a password that is accepted now is returned as None: the answer must not distinguish the two.
        """
        now = self._clock()
        network = network_digest(self._network_key, name, address)
        # Both are read whether or not the operator exists: the time must not reveal it.
        operator, is_known = await self._store.read(
            lambda conn: (
                operators.find_operator(conn, name),
                known_networks.is_known_network(conn, name, network, now=now),
            )
        )
        if operator is not None and not self._methods.allows_password(operator, now=now):
            operator = None
        claim = Claim(
            name=name,
            address=address,
            exists=operator is not None,
            is_known_network=is_known,
            unlocks=0 if operator is None else operator.unlocks,
        )
        return operator, claim

    async def check(self, password: Secret, operator: OperatorRecord | None, claim: Claim) -> bool:
        """Check a password unless locked out, and count the result; raises LoginLockedError."""
        password_hash = None if operator is None else operator.password_hash
        is_known = claim.is_known_network or claim.device is not None
        return await self.count(
            lambda: self._passwords.matches(password, password_hash, is_known=is_known), operator, claim
        )

    async def count(
        self, verify: Callable[[], Awaitable[bool]], operator: OperatorRecord | None, claim: Claim
    ) -> bool:
        """
        Verify something unless locked out, and count the result.

        Args:
            verify: Returns whether it is right.
            operator: The operator; a lockout is audited if they exist.
            claim: The name it is counted under, and where the attempt comes from.

        Raises:
            LoginLockedError: Too many failures; it was not verified.
        """
        attempt = self._lockout.begin(claim, now=self._clock())
        if attempt.wait_s:
            raise LoginLockedError(attempt.wait_s)
        try:
            right = await verify()
            if right:
                self._lockout.succeeded(attempt, now=self._clock())
            elif self._lockout.failed(attempt, now=self._clock()) and operator is not None:
                self._record_lockout(operator.name, claim.address)
            return right
        finally:
            self._lockout.end(attempt)

    async def check_own(self, password: Secret, *, actor: Actor) -> tuple[OperatorRecord, Claim]:
        """
        Check the password of a signed-in operator; a wrong one counts as a failed sign-in, so that this is not a way to guess.

        Returns:
            The operator, and what the lockout knows about the attempt's origin.

        Raises:
            LoginFailedError, LoginLockedError: It is wrong, or there were too many failures.
            ConflictError: `no_password`: the operator signs in at an issuer.
            PasswordSignInOffError: The settings allow no passwords.
        """
        check_has_password(await self._store.read(lambda conn: operators.find_operator(conn, actor.operator)))
        await self.check_enabled()
        operator, claim = await self.look_up(actor.operator, actor.address)
        # An open session is as good as a device mark: other people's failures do not lock its operator out here.
        claim = msgspec.structs.replace(claim, device=f"session {actor.session_id}")
        if operator is None or not await self.check(password, operator, claim):
            raise LoginFailedError("The current password is wrong.")
        return operator, claim

    def _record_lockout(self, name: str, address: str) -> None:
        """
        Record a lockout in the audit log, without delaying the response.

        Only the lockout of an existing operator is audited: an unproven caller must not be able to fill the log. And the
        response does not wait for it: otherwise its time would reveal which operators exist.
        """
        event = AuditEvent(
            at=self._clock(),
            actor="server",
            action="operator.locked_out",
            subject=f"operator:{name}",
            address=address,
        )
        task = asyncio.create_task(self._store.write(lambda tx: tx.audit(event)))
        self._detached.add(task)
        task.add_done_callback(self._on_lockout_recorded)

    def _on_lockout_recorded(self, task: "asyncio.Task[None]") -> None:
        self._detached.discard(task)
        if not task.cancelled() and task.exception() is not None:
            emit(_log, LOCKOUT_NOT_RECORDED, problem=str(task.exception()))

    async def aclose(self) -> None:
        """Wait for writes in the background."""
        await asyncio.gather(*self._detached, return_exceptions=True)


def check_has_password(record: OperatorRecord | None) -> None:
    """Reject an action that needs a password for an operator who signs in at an issuer; raises ConflictError `no_password`."""
    if record is not None and record.issuer is not None:
        raise ConflictError(
            "no_password", f"'{record.name}' signs in at {record.issuer} and has no password."
        )


def network_digest(key: bytes, operator: str, address: str) -> bytes:
    """Return the keyed hash under which an address' network is stored for an operator."""
    text = f"{operator}\0{network_of(address)}"
    return hmac.digest(key, text.encode("utf-8", "surrogateescape"), "sha256")[:16]
