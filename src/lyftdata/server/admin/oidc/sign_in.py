"""
Signs operators in at an OpenID Connect issuer: authorization code with PKCE.

  1. `begin`: the browser gets a cookie and is sent to the issuer with `state`, `nonce` and a PKCE challenge.
  2. The issuer signs the person in and sends the browser back with a code.
  3. `finish`: `iss` and `state` must match, the code is exchanged with the PKCE verifier, and the ID token is checked.
  4. The rules give a role; if they give none, the sign-in is refused and audited.
  5. One transaction marks the sign-in as used, creates or changes the operator, and opens a new session.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode, urlsplit

import msgspec

from lyftdata.core.errors import IssuerSignInError, IssuerUnavailableError
from lyftdata.core.id_tokens import Identity, IdTokenError, IssuerKey, UnknownKeyError, check_id_token
from lyftdata.core.records import AdminSessionRecord, OperatorRecord
from lyftdata.core.role_rules import RoleRule, find_claim, find_rule
from lyftdata.core.secret import Secret
from lyftdata.failure_log import FailureLog
from lyftdata.server.admin.new_sessions import NewSessions, open_session
from lyftdata.server.admin.oidc.accounts import admit_operator, refuse_operator
from lyftdata.server.admin.oidc.config import OidcConfig
from lyftdata.server.admin.oidc.issuer import Issuer, Metadata, Tokens
from lyftdata.server.admin.oidc.limits import OidcLimits
from lyftdata.server.admin.oidc.pending import Pending, PendingSignIns
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import spent_assertions

_MAX_CODE_LENGTH = 2_048
# The maximum difference between the clocks of the issuer and of this Server.
_CLOCK_LEEWAY = timedelta(minutes=1)


class Begun(msgspec.Struct, frozen=True):
    """Where to redirect the browser, and the cookie to set."""

    url: str
    cookie: str


class SignedInAtIssuer(msgspec.Struct, frozen=True):
    """A new session: its token, to be returned once, its record, and the page to continue with."""

    token: Secret
    session: AdminSessionRecord
    operator: OperatorRecord
    next: str


class OidcSignIn:
    """
    Sign-in at the issuer.

    Args:
        config: The issuer's settings, and what its claims give.
        issuer: The client for it.
        pending: Recognizes sign-ins that have begun.
        new_sessions: Creates sessions.
        limits: Counts attempts by callers without a role.
        store: Stores operators and sessions.
        failures: Logs that the issuer cannot be used, in a way that unproven callers cannot use to flood the log.
        clock: Aware UTC time.
    """

    def __init__(
        self,
        *,
        config: OidcConfig,
        issuer: Issuer,
        pending: PendingSignIns,
        new_sessions: NewSessions,
        limits: OidcLimits,
        store: Store,
        failures: FailureLog,
        clock: Clock,
    ) -> None:
        self.config = config
        self._issuer = issuer
        self._pending = pending
        self._new_sessions = new_sessions
        self._limits = limits
        self._store = store
        self._failures = failures
        self._clock = clock

    async def begin(self, destination: str, *, asks_again: bool = False) -> Begun:
        """
        Begin a sign-in.

        Args:
            destination: The page of this Server to continue with; already checked.
            asks_again: Whether the person must authenticate again, even if the issuer has a session.

        Raises:
            IssuerUnavailableError: The issuer's metadata cannot be read.
        """
        try:
            metadata = await self._issuer.metadata()
        except IssuerUnavailableError as error:
            self._note_unusable(error.detail)
            raise
        cookie, pending = self._pending.begin(destination, asks_again=asks_again)
        return Begun(authorization_url(self.config, metadata, pending), cookie)

    async def finish(
        self,
        unverified_answer: Mapping[str, str],
        *,
        unverified_cookie: str | None,
        address: str,
        user_agent: str,
    ) -> SignedInAtIssuer:
        """
        Finish a sign-in.

        Args:
            unverified_answer: The query with which the browser came back.
            unverified_cookie: The cookie from `begin`.
            address: IP address of the caller.
            user_agent: As sent by the caller.

        Raises:
            IssuerSignInError: Not begun here, already used, refused by the issuer, an invalid ID token, or no role.
            IssuerUnavailableError: The issuer gives no usable response.
            TooBusyError: Too many sign-ins at once.
            TooManyRequestsError: Too many failed sign-ins from the caller's network.
        """
        # First of all: nothing made up by a page of another site is processed any further.
        pending = self._pending.resume(unverified_cookie, unverified_state=unverified_answer.get("state", ""))
        try:
            await self._check_response_issuer(unverified_answer.get("iss"))
            code = _code_of(unverified_answer)
            tokens = await self._exchange(code, pending, address=address)
            identity = await self._identity(tokens, pending)
        except IssuerUnavailableError as error:
            self._note_unusable(error.detail)
            raise
        authenticated_at = _authenticated_at(identity, now=self._clock())
        if pending.asks_again:
            _check_asked_again(authenticated_at, pending)
        rule = find_rule(identity.claims, self.config.role_rules)
        if rule is None:
            await self._refuse(identity, pending, address=address)
            raise IssuerSignInError(
                "no_role",
                "You are known to your identity provider, but you have no role on this Server.",
                hint="Ask an admin of this Server for one: its role rules (LYFTDATA_OIDC_ROLES) give none to your account.",
            )
        return await self._open(
            identity,
            rule,
            pending,
            authenticated_at=authenticated_at,
            address=address,
            user_agent=user_agent,
        )

    async def _exchange(self, code: str, pending: Pending, *, address: str) -> Tokens:
        with self._limits.exchanging(address, clock=self._clock):
            return await self._issuer.exchange(code, verifier=pending.verifier)

    async def _check_response_issuer(self, unverified_iss: str | None) -> None:
        """Mix-up (RFC 9207): the response must come from the expected issuer, and name it if that issuer always does."""
        must_be_there = (await self._issuer.metadata()).sends_iss
        if unverified_iss is None and not must_be_there:
            return
        if unverified_iss != self.config.issuer:
            raise IssuerSignInError(
                "wrong_issuer",
                "The answer comes from another identity provider than this Server's.",
                hint="Sign in again. If this happens again, tell an admin: it may be an attack.",
            )

    async def _identity(self, tokens: Tokens, pending: Pending) -> Identity:
        """Return the identity that signed in, with all claims that are needed."""
        try:
            try:
                identity = self._check(tokens, pending, await self._issuer.keys())
            except UnknownKeyError:
                identity = self._check(tokens, pending, await self._issuer.newer_keys())
        except IdTokenError as error:
            self._note_unusable(f"The ID token is not accepted. {error}")
            raise IssuerSignInError(
                "wrong_id_token",
                "What your identity provider says about you cannot be verified.",
                hint="Sign in again. The Server's log says what is wrong.",
            ) from error
        missing = {
            claim for claim in self.config.wanted_claims() if find_claim(identity.claims, claim) is None
        }
        if not missing or tokens.access_token is None:
            return identity
        claims = await self._issuer.userinfo(tokens.access_token)
        # Token substitution: claims about another subject are not used (OpenID Connect Core, section 5.3.2).
        if claims.get("sub") != identity.subject:
            return identity
        return msgspec.structs.replace(identity, claims={**claims, **identity.claims})

    def _check(self, tokens: Tokens, pending: Pending, keys: tuple[IssuerKey, ...]) -> Identity:
        return check_id_token(
            tokens.id_token,
            keys=keys,
            issuer=self.config.issuer,
            client_id=self.config.client_id,
            nonce=pending.nonce,
            access_token=tokens.access_token,
            now=self._clock(),
        )

    async def _open(
        self,
        identity: Identity,
        rule: RoleRule,
        pending: Pending,
        *,
        authenticated_at: datetime | None,
        address: str,
        user_agent: str,
    ) -> SignedInAtIssuer:
        now = self._clock()

        def op(tx: WriteTx) -> SignedInAtIssuer:
            _use_up(tx, pending, now=now)
            operator = admit_operator(tx, identity, rule, name_claim=self.config.name_claim, now=now)
            new = self._new_sessions.make(
                operator.name,
                address=address,
                user_agent=user_agent,
                authenticated_at=authenticated_at,
                issuer_session=identity.session,
            )
            open_session(tx, new.record, operator, details={"issuer": identity.issuer})
            return SignedInAtIssuer(new.token, new.record, operator, pending.next)

        return await self._store.write(op)

    async def _refuse(self, identity: Identity, pending: Pending, *, address: str) -> None:
        now = self._clock()
        is_audited = self._limits.is_audited(identity, now=now)

        def op(tx: WriteTx) -> None:
            _use_up(tx, pending, now=now)
            refuse_operator(tx, identity, address=address, is_audited=is_audited, now=now)

        await self._store.write(op)

    def _note_unusable(self, problem: str) -> None:
        self._failures.failed(issuer=self.config.issuer, problem=problem)


def authorization_url(config: OidcConfig, metadata: Metadata, pending: Pending) -> str:
    """Return the URL at the issuer where a sign-in begins (OpenID Connect Core, section 3.1.2.1; RFC 7636, section 4.3)."""
    query = {
        "response_type": "code",
        "client_id": config.client_id,
        "redirect_uri": config.redirect_uri,
        "scope": " ".join(config.scopes),
        "state": pending.state,
        "nonce": pending.nonce,
        "code_challenge": pending.challenge,
        "code_challenge_method": "S256",
    }
    if pending.asks_again:
        # With `max_age` the ID token must contain the time of authentication (section 2, `auth_time`).
        query |= {"prompt": "login", "max_age": "0"}
    separator = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
    return f"{metadata.authorization_endpoint}{separator}{urlencode(query)}"


def _authenticated_at(identity: Identity, *, now: datetime) -> datetime | None:
    """Return when the person authenticated at the issuer (`auth_time`); None if the issuer does not say."""
    at_s = identity.claims.get("auth_time")
    if isinstance(at_s, bool) or not isinstance(at_s, int | float) or not 0 <= at_s <= now.timestamp():
        # A time in the future is due to a clock difference, or meaningless.
        is_ahead = (
            isinstance(at_s, int | float) and 0 < at_s - now.timestamp() <= _CLOCK_LEEWAY.total_seconds()
        )
        return now if is_ahead else None
    return datetime.fromtimestamp(at_s, UTC)


def _check_asked_again(authenticated_at: datetime | None, pending: Pending) -> None:
    """
    Reject a sign-in that should have made the person authenticate again, but did not.

    Session theft: a person at an open browser can remove `prompt=login` from the URL, and is sent back by the issuer's session
    without being asked.
    """
    if authenticated_at is None or authenticated_at < pending.begun_at - _CLOCK_LEEWAY:
        raise IssuerSignInError(
            "not_asked_again",
            "Your identity provider did not ask you again, or does not say that it did (auth_time).",
            hint="Try again. If it stays so, an admin can look at the settings of this Server there.",
        )


def _code_of(unverified_answer: Mapping[str, str]) -> str:
    """Return the authorization code; raises IssuerSignInError if the issuer sent an error instead (RFC 6749, section 4.1.2.1)."""
    if unverified_answer.get("error") == "access_denied":
        raise IssuerSignInError(
            "access_denied", "The sign-in was cancelled or denied at your identity provider."
        )
    code = unverified_answer.get("code", "")
    if "error" in unverified_answer or not 1 <= len(code) <= _MAX_CODE_LENGTH:
        raise IssuerSignInError(
            "issuer_error",
            "Your identity provider could not sign you in.",
            hint="Sign in again. If it stays so, an admin can look at the settings of this Server there.",
        )
    return code


def _use_up(tx: WriteTx, pending: Pending, *, now: datetime) -> None:
    """Let a sign-in be finished only once. Replay: the same response of the issuer, in the same browser or another one."""
    spent_assertions.prune(tx, now)
    if not spent_assertions.spend_all(tx, {pending.digest: pending.expires_at}):
        raise IssuerSignInError("sign_in_used", "This sign-in was finished before.", hint="Sign in again.")
