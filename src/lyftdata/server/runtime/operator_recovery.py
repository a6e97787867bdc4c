"""
Restores an operator's access from the Server's host, without a signed-in operator: unlock, a new password, or emergency access.

It changes the database itself, whether or not Servers are running. They read operators and sessions from there at each request,
so changes take effect at once. Each is an audit event by `host`, with the host's name and its user.
"""

import asyncio
import ipaddress
import os
import pwd
import socket
from collections.abc import Callable
from datetime import timedelta

import msgspec
from sqlalchemy import URL

from lyftdata.core.errors import ConflictError, InvalidInputError, NotFoundError
from lyftdata.core.names import parse_operator_name
from lyftdata.core.records import AuditEvent, OperatorRecord, Role
from lyftdata.core.secret import Secret
from lyftdata.server.admin.password_check import NETWORK_KEY_PURPOSE, network_digest
from lyftdata.server.admin.passwords import Passwords, check_new_password
from lyftdata.server.clock import Clock, random_bytes, random_id, utc_now
from lyftdata.server.runtime.data_dir import check_staging_dir
from lyftdata.server.runtime.maintenance import StateLocation, secret_key_of
from lyftdata.server.runtime.secret_keys import audit_key_of, derive_key
from lyftdata.server.runtime.settings_values import is_shared_database
from lyftdata.store import WriteTx
from lyftdata.store.backup import check_not_empty
from lyftdata.store.direct_write import write_directly
from lyftdata.store.tables import admin_sessions, api_tokens, known_networks, operators


def unlock(place: StateLocation, name: str, *, address: str | None = None, clock: Clock = utc_now) -> None:
    """
    Reset the failed sign-ins counted against an operator.

    Args:
        place: Where the Server's state is.
        name: The operator.
        address: IP address from which the operator signs in: its network counts as known from now on, so that further guesses from
         elsewhere do not lock the operator out again.
        clock: Aware UTC time.

    Raises:
        NotFoundError: No such operator.
        InvalidInputError: Not an IP address.
        SettingsError, StoreError: The state cannot be used; nothing was changed.
    """
    url = url_of(place)
    secret_key = secret_key_of(place, url)
    network = None if address is None else _digest(secret_key, name, address)

    def op(tx: WriteTx) -> None:
        record = _get(tx, name)
        operators.replace_operator(tx, msgspec.structs.replace(record, unlocks=record.unlocks + 1))
        details = {} if address is None else {"from": address}
        if network is not None:
            known_networks.remember_network(tx, name, network, now=clock())
        tx.audit(_event("operator.unlocked", f"operator:{name}", clock, details))

    write_directly(url, op, audit_key=audit_key_of(secret_key))


def reset_password(
    place: StateLocation,
    name: str,
    password: Secret | None,
    *,
    announce: Callable[[OperatorRecord, Secret], None],
    clock: Clock = utc_now,
) -> None:
    """
    Set a new first password for an operator, end their sessions and device marks, revoke their API tokens, and unlock them.

    Args:
        place: Where the Server's state is.
        name: The operator.
        password: The new password, or None for a random one.
        announce: Prints a random password. Called before the change is committed: if it raises, the old password stays valid.
        clock: Aware UTC time.

    Raises:
        NotFoundError: No such operator.
        ConflictError: `no_password`: the operator signs in at an issuer.
        InvalidInputError: The password violates a rule.
        SettingsError, StoreError: The state cannot be used; nothing was changed.
    """
    url = url_of(place)
    secret_key = secret_key_of(place, url)
    if password is not None:
        check_new_password(password, operator=name)
    chosen = password or Secret(random_id(random_bytes))
    # Before the transaction: Servers would wait for it.
    password_hash = asyncio.run(Passwords().hash(chosen))

    def op(tx: WriteTx) -> None:
        record = _get(tx, name)
        _check_has_password(record)
        changed = msgspec.structs.replace(
            record,
            password_hash=password_hash,
            must_change_password=True,
            password_expires_at=None,
            unlocks=record.unlocks + 1,
        )
        operators.replace_operator(tx, changed)
        admin_sessions.delete_sessions_of(tx, name)
        tx.audit(_event("operator.password_set", f"operator:{name}", clock, {}))
        for token in api_tokens.revoke_api_tokens_of(tx, name, clock()):
            tx.audit(_event("api_token.revoked", f"api_token:{token}", clock, {}))
        if password is None:
            announce(changed, chosen)

    write_directly(url, op, audit_key=audit_key_of(secret_key))


def open_emergency_access(
    place: StateLocation,
    name: str,
    life: timedelta,
    *,
    announce: Callable[[OperatorRecord, Secret], None],
    clock: Clock = utc_now,
) -> None:
    """
    Give an operator a temporary password, even if the Server accepts no passwords; an operator that does not exist is created as an admin.

    Their sessions and device marks end, and failed sign-ins are reset. Afterwards, the password and the sessions opened with it
    are invalid.

    Args:
        place: Where the Server's state is.
        name: The operator.
        life: How long the password is valid.
        announce: Prints the password. Called before the change is committed: if it raises, nothing changes.
        clock: Aware UTC time.

    Raises:
        ConflictError: `no_password`: the operator signs in at an issuer.
        InvalidInputError: A new operator cannot have this name.
        SettingsError, StoreError: The state cannot be used; nothing was changed.
    """
    url = url_of(place)
    secret_key = secret_key_of(place, url)
    parse_operator_name(name)
    password = Secret(random_id(random_bytes))
    # Before the transaction: Servers would wait for it.
    password_hash = asyncio.run(Passwords().hash(password))

    def op(tx: WriteTx) -> None:
        now = clock()
        known = operators.find_operator(tx.conn, name)
        record = known or OperatorRecord(
            name=name, role=Role.ADMIN, password_hash=password_hash, created_at=now
        )
        _check_has_password(record)
        changed = msgspec.structs.replace(
            record,
            password_hash=password_hash,
            # It expires by itself, and there is no time to choose another one in an emergency.
            must_change_password=False,
            password_expires_at=now + life,
            unlocks=record.unlocks + 1,
        )
        if known is None:
            operators.insert_operator(tx, changed)
            tx.audit(_event("operator.created", f"operator:{name}", clock, {"role": record.role.value}))
        else:
            operators.replace_operator(tx, changed)
            admin_sessions.delete_sessions_of(tx, name)
        until = changed.password_expires_at
        details = {"until": "" if until is None else until.isoformat()}
        tx.audit(_event("operator.emergency_access", f"operator:{name}", clock, details))
        announce(changed, password)

    write_directly(url, op, audit_key=audit_key_of(secret_key))


def _check_has_password(record: OperatorRecord) -> None:
    if record.issuer is not None:
        raise ConflictError(
            "no_password",
            f"'{record.name}' signs in at {record.issuer} and has no password.",
            hint="For an emergency, name another operator: lyftdata admin emergency-access admin",
        )


def _get(tx: WriteTx, name: str) -> OperatorRecord:
    record = operators.find_operator(tx.conn, name)
    if record is None:
        names = ", ".join(operator.name for operator in operators.all_operators(tx.conn))
        raise NotFoundError("operator", name, hint=f"There are: {names}" if names else "")
    return record


def _digest(secret_key: bytes, name: str, address: str) -> bytes:
    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        raise InvalidInputError("from", f"'{address}' is not an IP address") from error
    return network_digest(derive_key(secret_key, purpose=NETWORK_KEY_PURPOSE), name, address)


def _event(action: str, subject: str, clock: Clock, details: dict[str, str]) -> AuditEvent:
    return AuditEvent(
        at=clock(), actor="host", action=action, subject=subject, details=details | who_on_host()
    )


def who_on_host() -> dict[str, str]:
    """Return the details of an audit event by `host`: the host's name, and the user."""
    return {"host": socket.gethostname(), "user": _user_name()}


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        # A container may run under a UID that has no name.
        return str(os.geteuid())


def url_of(place: StateLocation) -> str | URL:
    """Return the URL of the database, which must exist: a mistyped directory must not create one."""
    if is_shared_database(place.database_url):
        assert place.database_url is not None  # noqa: S101 - narrows the type
        return place.database_url.reveal()
    if place.database_url is None:
        check_staging_dir(place.staging_dir)
    file = place.sqlite_file()
    check_not_empty(file)
    return URL.create("sqlite", database=str(file))
