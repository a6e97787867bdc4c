"""The use cases of API tokens. Only the result of `issue` contains the token itself."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.api_tokens import check_token_life, generate_api_token, status_of
from lyftdata.core.errors import ForbiddenError, InvalidInputError, NotFoundError
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.names import format_labels, parse_api_key_name
from lyftdata.core.policy import lesser_role
from lyftdata.core.records import ApiTokenRecord, OperatorRecord, Role
from lyftdata.core.scopes import narrow_labels, scope_of
from lyftdata.core.secret import Secret
from lyftdata.server.admin.operator_rules import get_operator
from lyftdata.server.admin.schemas.api_tokens import ApiToken
from lyftdata.server.admin.session_checks import get_own_session
from lyftdata.server.clock import Clock, RandomBytes
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import api_tokens, operators


class IssuedApiToken(msgspec.Struct, frozen=True):
    """A newly created token: its record, and the text to show once."""

    shown: ApiToken
    text: Secret


class ApiTokens:
    """Issues, lists and revokes API tokens."""

    def __init__(
        self, *, store: Store, known_secrets: KnownSecrets, clock: Clock, random_bytes: RandomBytes
    ) -> None:
        self._store = store
        self._known_secrets = known_secrets
        self._clock = clock
        self._random_bytes = random_bytes

    async def issue(
        self,
        name: str,
        role: Role,
        *,
        scope: Mapping[str, str] | None = None,
        expires_in: timedelta,
        actor: Actor,
    ) -> IssuedApiToken:
        """
        Create a token that acts for the calling operator.

        Args:
            name: 5 to 50 letters, digits, `-`, `_`; never reused.
            role: What it may do at most; not above the operator's own role.
            scope: Labels that further limit the operator's own scope; None for no further limit.
            expires_in: Its lifetime from now, at most 366 days.
            actor: Who issues it; the policy table forbids this to API tokens.

        Raises:
            InvalidInputError: The name, role, scope or lifetime is invalid.
            ConflictError: `api_token_name_taken`.
            NotSignedInError: The session has ended in the meantime.
            ForbiddenError: The operator has a first or an emergency password: a token would give anyone who has read that password access
             even after it is changed or ends.
        """
        name = parse_api_key_name(name)
        self._known_secrets.check("name", name)
        self._known_secrets.check_labels("scope", scope or {})
        check_token_life(expires_in)
        new = generate_api_token(self._random_bytes)
        now = self._clock()
        record = ApiTokenRecord(
            public_id=new.public_id,
            name=name,
            digest=new.digest,
            role=role,
            operator=actor.operator,
            created_at=now,
            expires_at=now + expires_in,
        )

        def op(tx: WriteTx) -> tuple[ApiTokenRecord, OperatorRecord]:
            get_own_session(tx, actor)
            # Re-read: the operator may have been deleted, demoted or limited since the request was authorized.
            operator = get_operator(tx.conn, actor.operator)
            _check_may_issue(operator, role)
            # Stored with the token: it does not gain what its operator gains later.
            limited = msgspec.structs.replace(record, scope=narrow_labels(operator.scope, scope))
            api_tokens.insert_api_token(tx, limited)
            tx.audit(actor.audit_event("api_token.issued", _subject(name), at=now, details=_details(limited)))
            return limited, operator

        limited, operator = await self._store.write(op)
        return IssuedApiToken(_show(limited, operator, now=now), new.text)

    async def revoke(self, name: str, *, actor: Actor) -> ApiToken:
        """
        Revoke a token: every Server rejects it from the next request on. Repeating it changes nothing.

        Raises:
            NotFoundError: No such token, or one with a wider scope than the caller.
        """
        now = self._clock()

        def op(tx: WriteTx) -> None:
            record = api_tokens.find_api_token(tx.conn, name)
            operator = operators.find_operator(tx.conn, actor.operator)
            if _get(record, name, operator, actor).revoked_at is None:
                tx.audit(actor.audit_event("api_token.revoked", _subject(name), at=now))
            api_tokens.revoke_api_token(tx, name, now)

        await self._store.write(op)
        return await self.get(name, actor=actor)

    async def get(self, name: str, *, actor: Actor) -> ApiToken:
        """Return one token, without the token itself; raises NotFoundError, also for one with a wider scope than the caller."""
        record, operator = await self._store.read(
            lambda conn: (
                (found := api_tokens.find_api_token(conn, name)),
                None if found is None else operators.find_operator(conn, found.operator),
            )
        )
        return _show(_get(record, name, operator, actor), operator, now=self._clock())

    async def list(self, *, actor: Actor) -> list[ApiToken]:
        """Return every token whose scope is no wider than the caller's, by name, including those that have ended."""
        records, found = await self._store.read(
            lambda conn: (api_tokens.all_api_tokens(conn), operators.all_operators(conn))
        )
        by_name = {operator.name: operator for operator in found}
        now = self._clock()
        return [
            _show(record, by_name.get(record.operator), now=now)
            for record in records
            if _is_within(record, by_name.get(record.operator), actor)
        ]


def _check_may_issue(operator: OperatorRecord, role: Role) -> None:
    if operator.must_change_password:
        raise ForbiddenError(
            "An operator with a first password issues no API tokens.",
            hint="Change the password first: lyftdata password",
        )
    # Persistence: access for an hour must not be extended to a year by a token.
    if operator.password_expires_at is not None:
        raise ForbiddenError(
            "An operator with a password for an emergency issues no API tokens.",
            hint="Issue it as an operator who can sign in without one.",
        )
    if lesser_role(role, operator.role) is not role:
        raise InvalidInputError("role", "must not be above your own")


def _is_within(record: ApiTokenRecord, operator: OperatorRecord | None, actor: Actor) -> bool:
    """Return whether a caller may see a token; one with a scope sees those of their own operator that reach no further."""
    if not actor.scope.is_limited:
        return True
    if operator is None or record.operator != actor.operator:
        return False
    return scope_of(record.scope).narrowed(scope_of(operator.scope)).is_within(actor.scope)


def _get(
    record: ApiTokenRecord | None, name: str, operator: OperatorRecord | None, actor: Actor
) -> ApiTokenRecord:
    if record is None or not _is_within(record, operator, actor):
        raise NotFoundError("api_token", name)
    return record


def _details(record: ApiTokenRecord) -> dict[str, str]:
    details = {
        "public_id": record.public_id,
        "role": record.role.value,
        "operator": record.operator,
        "expires_at": record.expires_at.isoformat(),
    }
    return details | ({} if record.scope is None else {"scope": format_labels(record.scope)})


def _subject(name: str) -> str:
    return f"api_token:{name}"


def _show(record: ApiTokenRecord, operator: OperatorRecord | None, *, now: datetime) -> ApiToken:
    return ApiToken(
        name=record.name,
        public_id=record.public_id,
        role=record.role,
        effective_role=None if operator is None else lesser_role(record.role, operator.role),
        scope=record.scope,
        operator=record.operator,
        status=status_of(record, now=now),
        created_at=record.created_at,
        expires_at=record.expires_at,
        revoked_at=record.revoked_at,
        last_used_at=record.last_used_at,
        last_used_from=record.last_used_from,
    )
