"""
Identifies callers of the admin API: by an operator's session, or by an API token.

Both are read from the database at each request, so that what is revoked at one Server is rejected by all from the next request on.
Pages accept only sessions (`web/gate.py`), not an API token in a cookie.
"""

from collections.abc import Collection

from lyftdata.core.actor import Actor
from lyftdata.core.api_tokens import PREFIX, parse_api_token, verify_api_token
from lyftdata.core.errors import ApiTokenRejectedError
from lyftdata.core.log_events.server import API_TOKEN_REJECTED
from lyftdata.core.policy import lesser_role
from lyftdata.core.records import ApiTokenRecord, OperatorRecord
from lyftdata.core.scopes import Scope, scope_of
from lyftdata.core.sign_in_methods import SignInMethods
from lyftdata.failure_log import FailureLog
from lyftdata.log import get_logger
from lyftdata.server.admin.api_token_uses import ApiTokenUses
from lyftdata.server.admin.operator_budget import REQUEST_COST, OperatorBudget, session_digest
from lyftdata.server.admin.operator_sessions import OperatorSessions
from lyftdata.server.clock import Clock
from lyftdata.server.metrics import Metrics
from lyftdata.store import Store
from lyftdata.store.tables import api_tokens

# Precedes the public id where other callers have a session ID; those are hexadecimal.
_TOKEN = "api_token:"  # noqa: S105 - a prefix


class Callers:
    """
    Distinguishes sessions and API tokens, and checks whether they are valid.

    Args:
        store: Where API tokens are kept.
        sessions: Operators' sessions.
        uses: Records the last use of API tokens.
        budget: How much work each caller may cause.
        methods: How operators may sign in.
        metrics: Counts rejected API tokens.
        clock: Aware UTC time.
    """

    def __init__(
        self,
        *,
        store: Store,
        sessions: OperatorSessions,
        uses: ApiTokenUses,
        budget: OperatorBudget,
        methods: SignInMethods,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._uses = uses
        self._budget = budget
        self._methods = methods
        self._metrics = metrics
        self._clock = clock
        self._rejections = FailureLog(get_logger(__name__), API_TOKEN_REJECTED)

    async def identify(self, unverified_token: str, *, address: str) -> Actor:
        """
        Identify the caller, and charge their budget for the request.

        Args:
            unverified_token: The bearer token as received: of a session, or an API token.
            address: IP address of the caller.

        Raises:
            NotSignedInError: No session, or one that has ended.
            ApiTokenRejectedError: Not a valid API token.
            TooManyRequestsError: The caller makes too many requests.
        """
        if not unverified_token.startswith(PREFIX):
            return await self._sessions.identify(unverified_token, address=address)
        try:
            return await self._identify_token(unverified_token, address)
        except ApiTokenRejectedError as error:
            self._metrics.count_rejected_api_token()
            # Log flooding: an unproven caller could write lines endlessly; one that has the secret of a token deserves a line.
            if error.token_name is not None:
                self._rejections.failed(token=error.token_name, address=address, problem=error.message)
            raise

    async def is_signed_in(self, actor: Actor) -> bool:
        """Return whether the session or API token of a previously identified caller is still valid."""
        if actor.api_token is None:
            return await self._sessions.is_signed_in(actor)
        return not await self.ended({actor.session_id})

    async def ended(self, session_ids: Collection[str]) -> set[str]:
        """Return which of these sessions and API tokens have ended (by `Actor.session_id`)."""
        tokens = {one for one in session_ids if one.startswith(_TOKEN)}
        sessions = set(session_ids) - tokens
        ended = await self._sessions.ended_sessions(sessions) if sessions else set()
        return ended | (await self._ended_tokens(tokens) if tokens else set())

    async def _identify_token(self, unverified_token: str, address: str) -> Actor:
        presented = parse_api_token(unverified_token)
        found = await self._store.read(lambda conn: api_tokens.find_with_operator(conn, presented.public_id))
        now = self._clock()
        record, operator = verify_api_token(presented, record=found[0], operator=found[1], now=now)
        # As for sessions: an issuer that was removed from the settings no longer vouches for operators.
        if not self._methods.trusts(operator):
            raise ApiTokenRejectedError(
                f"The API token '{record.name}' acts for an operator of an issuer that is not configured any more.",
                hint="An admin issues another: lyftdata operators token issue",
                token_name=record.name,
            )
        actor = Actor(
            operator=operator.name,
            # Privilege escalation: the tokens of a demoted or limited operator must not allow more than the operator may do.
            role=lesser_role(record.role, operator.role),
            session_id=_session_id(record, operator),
            address=address,
            api_token=record.name,
            scope=_scope(record, operator),
        )
        self._budget.remember_session(session_digest(unverified_token.encode()), actor.account)
        self._budget.take(actor.account, REQUEST_COST)
        self._uses.note(record, at=now, address=address)
        return actor

    async def _ended_tokens(self, session_ids: Collection[str]) -> set[str]:
        now = self._clock()
        public_ids = {one.removeprefix(_TOKEN).partition(":")[0] for one in session_ids}
        live = await self._store.read(lambda conn: api_tokens.live_among(conn, public_ids, now=now))
        return set(session_ids) - {_session_id(record, operator) for record, operator in live}


def _scope(record: ApiTokenRecord, operator: OperatorRecord) -> Scope:
    return scope_of(record.scope).narrowed(scope_of(operator.scope))


def _session_id(record: ApiTokenRecord, operator: OperatorRecord) -> str:
    """Return an ID with which an API token's streams end, also if its scope changes, since they began with the old one."""
    return f"{_TOKEN}{record.public_id}:{_scope(record, operator).text}"
