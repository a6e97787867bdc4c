"""
Finds or creates the operator for an identity at the issuer.

An operator is identified by a subject at an issuer, and nothing else: a name or e-mail address, which people can change there, never
leads to an existing account.
"""

import hashlib
import re
import unicodedata
from datetime import datetime

import msgspec

from lyftdata.core.errors import ConflictError
from lyftdata.core.id_tokens import Identity
from lyftdata.core.names import format_labels
from lyftdata.core.records import AuditEvent, OperatorRecord
from lyftdata.core.role_rules import RoleRule, find_claim
from lyftdata.server.admin.operator_rules import subject_of
from lyftdata.store import WriteTx
from lyftdata.store.tables import admin_sessions, api_tokens, change_requests, operators

_NOT_IN_A_NAME = re.compile(r"[^a-z0-9._-]+")
_MAX_NAME_LENGTH = 64
_TAG_LENGTH = 8


def admit_operator(
    tx: WriteTx, identity: Identity, rule: RoleRule, *, name_claim: str, now: datetime
) -> OperatorRecord:
    """Return the operator of an identity, with the role and scope that its claims now give; created at the first sign-in."""
    known = operators.find_by_identity(tx.conn, issuer=identity.issuer, subject=identity.subject)
    if known is None:
        return _make(tx, identity, rule, name_claim=name_claim, now=now)
    if known.role is rule.role and known.scope == rule.scope:
        return known
    changed = msgspec.structs.replace(known, role=rule.role, scope=rule.scope)
    operators.replace_operator(tx, changed)
    if known.role is not rule.role:
        tx.audit(_event("operator.role_set", known.name, identity, now, role=rule.role))
    if known.scope != rule.scope:
        scope = format_labels(rule.scope or {})
        tx.audit(_event("operator.scope_set", known.name, identity, now, scope=scope))
    # Revoked privileges end now, not with the last session that was opened before.
    admin_sessions.delete_sessions_of(tx, known.name)
    return changed


def refuse_operator(
    tx: WriteTx, identity: Identity, *, address: str, is_audited: bool, now: datetime
) -> None:
    """
    Audit a sign-in without a role, and end the sessions and API tokens of an operator who had a role before.

    `is_audited` says whether to audit a refusal that revokes nothing.
    """
    known = operators.find_by_identity(tx.conn, issuer=identity.issuer, subject=identity.subject)
    takes_away = False
    if known is not None:
        # Persistence: the event voids the operator's pending requests, even if further refusals are no longer audited.
        takes_away = bool(admin_sessions.list_sessions(tx.conn, operator=known.name)) or bool(
            change_requests.count_pending(tx.conn, known.name)
        )
        admin_sessions.delete_sessions_of(tx, known.name)
        # A token must not outlive the rights of the operator it acts for.
        for token in api_tokens.revoke_api_tokens_of(tx, known.name, now):
            tx.audit(
                AuditEvent(at=now, actor="issuer", action="api_token.revoked", subject=f"api_token:{token}")
            )
    if not is_audited and not takes_away:
        return
    tx.audit(
        AuditEvent(
            at=now,
            actor="issuer",
            action="operator.sign_in_refused",
            # Not their name at the issuer, which may be that of another operator here.
            subject="server" if known is None else subject_of(known.name),
            address=address,
            details={"issuer": identity.issuer, "subject": identity.subject, "reason": "no_role"},
        )
    )


def _make(
    tx: WriteTx, identity: Identity, rule: RoleRule, *, name_claim: str, now: datetime
) -> OperatorRecord:
    record = OperatorRecord(
        name=_free_name(tx, identity, name_claim),
        role=rule.role,
        password_hash="",
        created_at=now,
        issuer=identity.issuer,
        subject=identity.subject,
        scope=rule.scope,
    )
    operators.insert_operator(tx, record)
    details = {"role": rule.role.value} | ({"scope": format_labels(rule.scope)} if rule.scope else {})
    tx.audit(_event("operator.created", record.name, identity, now, **details))
    return record


def _free_name(tx: WriteTx, identity: Identity, name_claim: str) -> str:
    """
    Return the name from the issuer, or one with a tag of the subject if another operator has it.

    Takeover: a person who can choose a name at the issuer must not become an existing operator, nor be mistaken for one.
    """
    wanted = _wanted_name(identity, name_claim)
    digest = hashlib.sha256(f"{identity.issuer}\0{identity.subject}".encode()).hexdigest()
    tagged = f"{wanted[: _MAX_NAME_LENGTH - _TAG_LENGTH - 1]}-{digest[:_TAG_LENGTH]}"
    for name in (wanted, tagged):
        if operators.find_operator(tx.conn, name) is None:
            return name
    raise ConflictError("operator_name_taken", f"There are operators '{wanted}' and '{tagged}' already.")


def _wanted_name(identity: Identity, name_claim: str) -> str:
    """Return the claim, or else the subject, in the form of an operator's name; an e-mail address without its domain."""
    for text in (find_claim(identity.claims, name_claim), identity.subject):
        if isinstance(text, str):
            plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
            name = _NOT_IN_A_NAME.sub("-", plain.partition("@")[0]).strip("._-").lstrip("0123456789._-")
            if name:
                return name[:_MAX_NAME_LENGTH]
    return "operator"


def _event(action: str, name: str, identity: Identity, now: datetime, **details: str) -> AuditEvent:
    return AuditEvent(
        at=now,
        actor="issuer",
        action=action,
        subject=subject_of(name),
        details={"issuer": identity.issuer, "subject": identity.subject, **details},
    )
