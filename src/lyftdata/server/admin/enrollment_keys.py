"""The use cases of enrollment keys. Only the results of `issue` and `rotate` contain the key itself."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.enrollment_rules import (
    MAX_USES,
    STARTUP_NAME,
    parse_enrollment_key_name,
    parse_name_pattern,
    parse_networks,
)
from lyftdata.core.enrollment_secrets import generate_enrollment_key, make_stored_parts
from lyftdata.core.errors import ConflictError, InvalidInputError
from lyftdata.core.key_generations import check_life, end_of_previous, newest_generation
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.names import format_labels, parse_labels
from lyftdata.core.records import EnrollmentKeyRecord, EnrollmentMode
from lyftdata.core.secret import Secret
from lyftdata.server.admin.scope_checks import check_key_grants, get_enrollment_key, with_scope_labels
from lyftdata.server.clock import Clock, RandomBytes
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import enrollment_keys


class EnrollmentKeyRules(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a key allows, as entered by an operator.

    Attributes:
        expires_in: Lifetime from now; None for no end.
        max_uses: How many Workers it may enroll; None for any number.
        worker_name: Pattern of the names that Workers may request; None for any.
        networks: From where; empty for everywhere.
        labels: Given to every Worker that enrolls with it, overriding the Worker's own.
        ephemeral: Whether the entries of its Workers are removed when they leave.
        mode: Whether Workers that match the rules are admitted at once or wait for approval.
        approve_name: In mode `approve`: Workers whose names match this pattern are approved automatically; None for no such rule.
        approve_networks: In mode `approve`: the same for Workers from these networks; empty for no such rule. If both are set, both must match.
    """

    expires_in: timedelta | None = None
    max_uses: int | None = None
    worker_name: str | None = None
    networks: Sequence[str] = ()
    labels: Mapping[str, str] = {}
    ephemeral: bool = False
    mode: EnrollmentMode = EnrollmentMode.AUTO
    approve_name: str | None = None
    approve_networks: Sequence[str] = ()


class IssuedEnrollmentKey(msgspec.Struct, frozen=True):
    """A newly created key: the record to store and the text to show once."""

    record: EnrollmentKeyRecord
    text: Secret


class EnrollmentKeys:
    """Issues, rotates and revokes enrollment keys."""

    def __init__(
        self, *, store: Store, known_secrets: KnownSecrets, clock: Clock, random_bytes: RandomBytes
    ) -> None:
        self._store = store
        self._known_secrets = known_secrets
        self._clock = clock
        self._random_bytes = random_bytes

    async def issue(self, name: str, rules: EnrollmentKeyRules, *, actor: Actor) -> IssuedEnrollmentKey:
        """
        Create a key.

        Args:
            name: 5 to 50 letters, digits, `-`, `_`; unique.
            rules: What it allows.
            actor: Who issues it.

        Raises:
            InvalidInputError: The name or one of the rules is invalid, or a label contradicts the scope.
            ConflictError: `enrollment_key_name_taken`.
            ForbiddenError: Its Workers would get tokens for a resource outside the scope.
        """
        self._check_no_secret(name, rules)
        rules = msgspec.structs.replace(rules, labels=with_scope_labels(actor.scope, rules.labels))
        issued = self._make(parse_enrollment_key_name(name), rules, actor)

        def op(tx: WriteTx) -> None:
            check_key_grants(tx, issued.record, actor)
            enrollment_keys.insert_enrollment_key(tx, issued.record)
            details = {"public_id": issued.record.public_id, **_describe(issued.record)}
            tx.audit(
                actor.audit_event(
                    "enrollment_key.issued", _subject(name), at=issued.record.created_at, details=details
                )
            )

        await self._store.write(op)
        return issued

    async def rotate(
        self, name: str, *, grace: timedelta | None = None, ends_at: datetime | None = None, actor: Actor
    ) -> IssuedEnrollmentKey:
        """
        Create the next generation of a key, with the same rules.

        Older ones end after a grace period or at a given time, at once if neither is given.

        Raises:
            NotFoundError: No such key.
            ConflictError: `enrollment_key_revoked`: a revoked key cannot be rotated; `enrollment_key_is_a_setting`.
            InvalidInputError: From `end_of_previous`.
        """
        _check_not_startup(name, actor)
        now = self._clock()
        previous_end = end_of_previous(now=now, grace=grace, ends_at=ends_at)

        def op(tx: WriteTx) -> IssuedEnrollmentKey:
            newest = _newest(tx, name, actor)
            if newest.revoked_at is not None:
                raise ConflictError(
                    "enrollment_key_revoked", f"Enrollment key '{name}' was revoked.", hint="Issue a new key."
                )
            issued = self._make_like(newest, actor)
            enrollment_keys.rotate_enrollment_key(tx, issued.record, previous_expire_at=previous_end)
            details = {
                "generation": str(issued.record.generation),
                "public_id": issued.record.public_id,
                "grace_s": str(int((previous_end - now).total_seconds())),
            }
            tx.audit(actor.audit_event("enrollment_key.rotated", _subject(name), at=now, details=details))
            return issued

        return await self._store.write(op)

    async def end_previous(self, name: str, *, actor: Actor) -> None:
        """
        End every older generation of a key now: it enrolls no more Workers. Repeating it changes nothing.

        Raises:
            NotFoundError: No such key.
            ConflictError: `enrollment_key_is_a_setting`.
        """
        _check_not_startup(name, actor)
        now = self._clock()

        def op(tx: WriteTx) -> None:
            _newest(tx, name, actor)
            ended = enrollment_keys.end_previous(tx, name, now)
            if ended:
                details = {"public_ids": ",".join(ended)}
                tx.audit(
                    actor.audit_event(
                        "enrollment_key.previous_ended", _subject(name), at=now, details=details
                    )
                )

        await self._store.write(op)

    async def revoke(self, name: str, *, actor: Actor) -> None:
        """
        Revoke every generation of a key. Workers that it has enrolled stay. Repeating it changes nothing.

        Raises:
            NotFoundError: No such key.
            ConflictError: `enrollment_key_is_a_setting`.
        """
        _check_not_startup(name, actor)
        now = self._clock()

        def op(tx: WriteTx) -> None:
            newest = _newest(tx, name, actor)
            if newest.revoked_at is None:
                tx.audit(actor.audit_event("enrollment_key.revoked", _subject(name), at=now))
            enrollment_keys.revoke_enrollment_key(tx, name, now)

        await self._store.write(op)

    def _check_no_secret(self, name: str, rules: EnrollmentKeyRules) -> None:
        self._known_secrets.check("name", name)
        self._known_secrets.check("worker_name", rules.worker_name or "")
        self._known_secrets.check("approve_name", rules.approve_name or "")
        self._known_secrets.check_labels("labels", rules.labels)

    def _make(self, name: str, rules: EnrollmentKeyRules, actor: Actor) -> IssuedEnrollmentKey:
        now = self._clock()
        check_life(rules.expires_in)
        check_uses(rules.max_uses)
        check_mode(rules.mode, rules.approve_name, rules.approve_networks)
        text = generate_enrollment_key(self._random_bytes)
        kept = make_stored_parts(text)
        record = EnrollmentKeyRecord(
            public_id=kept.public_id,
            name=name,
            public_key=kept.public_key,
            digest=kept.digest,
            worker_name=None if rules.worker_name is None else parse_name_pattern(rules.worker_name),
            networks=parse_networks(rules.networks),
            labels=parse_labels(rules.labels),
            ephemeral=rules.ephemeral,
            mode=rules.mode,
            approve_name=None
            if rules.approve_name is None
            else parse_name_pattern(rules.approve_name, field="approve_name"),
            approve_networks=parse_networks(rules.approve_networks, field="approve_networks"),
            max_uses=rules.max_uses,
            created_at=now,
            created_by=actor.audit_name,
            expires_at=None if rules.expires_in is None else now + rules.expires_in,
            scope=dict(actor.scope.required) if actor.scope.is_limited else None,
        )
        return IssuedEnrollmentKey(record, text)

    def _make_like(self, before: EnrollmentKeyRecord, actor: Actor) -> IssuedEnrollmentKey:
        rules = EnrollmentKeyRules(
            expires_in=None if before.expires_at is None else before.expires_at - before.created_at,
            max_uses=before.max_uses,
            worker_name=before.worker_name,
            networks=before.networks,
            labels=before.labels,
            ephemeral=before.ephemeral,
            mode=before.mode,
            approve_name=before.approve_name,
            approve_networks=before.approve_networks,
        )
        issued = self._make(before.name, rules, actor)
        # Both apply: the scope of the first operator, and of the one who has seen this generation.
        scope = None if before.scope is None else before.scope | (issued.record.scope or {})
        record = msgspec.structs.replace(
            issued.record, generation=before.generation + 1, scope=scope or issued.record.scope
        )
        return IssuedEnrollmentKey(record, issued.text)


def _newest(tx: WriteTx, name: str, actor: Actor) -> EnrollmentKeyRecord:
    return newest_generation(get_enrollment_key(tx, name, actor), kind="enrollment_key", name=name)


def _subject(name: str) -> str:
    return f"enrollment_key:{name}"


def _describe(record: EnrollmentKeyRecord) -> dict[str, str]:
    """Return the rules of a key for the audit log, without those that are not set."""
    rules = {
        "expires_at": record.expires_at.isoformat() if record.expires_at else "",
        "max_uses": str(record.max_uses or ""),
        "worker_name": record.worker_name or "",
        "networks": ",".join(record.networks),
        "labels": format_labels(record.labels),
        "ephemeral": "yes" if record.ephemeral else "",
        "mode": "" if record.mode is EnrollmentMode.AUTO else record.mode.value,
        "approve_name": record.approve_name or "",
        "approve_networks": ",".join(record.approve_networks),
    }
    return {rule: value for rule, value in rules.items() if value}


def _check_not_startup(name: str, actor: Actor) -> None:
    # Within a scope it does not exist.
    if name == STARTUP_NAME and not actor.scope.is_limited:
        raise ConflictError(
            "enrollment_key_is_a_setting",
            "The enrollment key 'startup' is a setting of the Server.",
            hint="Change LYFTDATA_AUTO_ENROLLMENT_KEY and start the Server again.",
        )


def check_mode(mode: EnrollmentMode, approve_name: str | None, approve_networks: Sequence[str]) -> None:
    """
    Reject an approval rule for a key in another mode: its author may believe that it keeps Workers out.

    Raises:
        InvalidInputError: Names the rule.
    """
    for field, value in {"approve_name": approve_name, "approve_networks": approve_networks}.items():
        if value and mode is not EnrollmentMode.APPROVE:
            raise InvalidInputError(field, "is for mode approve only")


def check_uses(max_uses: int | None) -> None:
    """Reject an invalid number of uses; raises InvalidInputError."""
    if max_uses is not None and not 1 <= max_uses <= MAX_USES:
        raise InvalidInputError("max_uses", f"must be from 1 to {MAX_USES}")
