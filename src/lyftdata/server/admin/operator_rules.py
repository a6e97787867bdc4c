"""What changes of operators' accounts have in common: finding one, what each change checks, and its subject in the audit log."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection

from lyftdata.core.actor import Actor
from lyftdata.core.errors import ConflictError, NotFoundError
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.records import Labels, OperatorRecord, Role
from lyftdata.core.scopes import parse_scope
from lyftdata.store import WriteTx
from lyftdata.store.tables import api_tokens, operators


def get_operator(conn: Connection, name: str) -> OperatorRecord:
    """Return an operator; raises NotFoundError."""
    record = operators.find_operator(conn, name)
    if record is None:
        raise NotFoundError("operator", name)
    return record


def subject_of(name: str) -> str:
    """Return an operator's name in the audit log."""
    return f"operator:{name}"


def check_local(record: OperatorRecord) -> None:
    """Raise ConflictError `role_from_issuer` for an operator whose role comes from an OpenID Connect issuer."""
    if record.issuer is not None:
        raise ConflictError(
            "role_from_issuer",
            f"'{record.name}' signs in at {record.issuer}, whose claims decide the role.",
            hint="Change it there; it takes effect at the next sign-in.",
        )


def check_not_last_admin(tx: WriteTx, record: OperatorRecord) -> None:
    """Raise ConflictError `last_admin` if no other operator could undo what is about to be done to this one."""
    # Operators of the issuer do not count: neither an outage nor a rule there must leave the Server without an admin. Nor do admins with
    # a scope, who cannot manage operators.
    admins = [
        o
        for o in operators.all_operators(tx.conn)
        if o.role is Role.ADMIN and o.issuer is None and o.scope is None
    ]
    if admins == [record]:
        raise ConflictError(
            "last_admin",
            f"'{record.name}' is the last admin without a scope.",
            hint="Make another admin first.",
        )


def revoke_tokens_of(tx: WriteTx, name: str, *, actor: Actor, now: datetime) -> None:
    """Revoke the API tokens of an operator, each with an audit event."""
    for token in api_tokens.revoke_api_tokens_of(tx, name, now):
        tx.audit(actor.audit_event("api_token.revoked", f"api_token:{token}", at=now))


def read_scope(scope: Mapping[str, str] | None, known_secrets: KnownSecrets) -> Labels | None:
    """Return the labels of a scope, None for no limit; raises InvalidInputError."""
    if scope is None:
        return None
    labels = parse_scope(scope)
    known_secrets.check_labels("scope", labels)
    return labels
