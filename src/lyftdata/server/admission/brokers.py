"""
Workers at a message broker: who may log in, what it may do there, and whose connections must go.

A broker asks in the name of a resource. At login it shows a Worker's token; afterwards it knows a name and nothing
else, and asks by it: so the Server remembers with what each Worker has logged in.

  1. `check_login`: the token is good now, for this very resource, and is the named Worker's.
  2. `check_worker`: the entry stands, the resource is still for it, and something it has logged in with is still good.
     The token's end does not matter here: a connection is like a session, good for as long as what it came from is.
  3. `why_close`: a broker checks nothing of a consumer that merely receives. Anyone who may close its connections asks
     about each of them, again and again; the answer depends on nothing but what is true now, so a question that
     was lost, or an order that was not carried out, is made good by the next.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from lyftdata.core.records import ApiKeyRecord, ResourceRecord, WorkerRecord
from lyftdata.core.refusals import (
    OperationNotGrantedError,
    ResourceNotGrantedError,
    TokenRevokedError,
    UnknownWorkerError,
    WrongTokenError,
)
from lyftdata.core.resources import is_granted
from lyftdata.core.standing import Problem, entry_problem, is_for
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.token_issuer import find_problem
from lyftdata.server.admission.token_verifier import TokenVerifier, VerifiedWorker
from lyftdata.server.clock import Clock

# Of one Worker at one broker. Operators make credentials, so that 32 are never reached in practice; a Worker makes as many
# tokens as it likes, and they are kept apart so that they push no credential out.
_MAX_CREDENTIALS = 32
_MAX_TOKENS = 64
# How long a question may be under way, which makes a connection seem younger than it is.
_UNDER_WAY = timedelta(seconds=5)
# Older than any connection, and young enough to reckon with.
_MAX_AGE_S = 1_000_000_000


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A connection as the broker has it: under which user name, to which virtual host, and for how many seconds."""

    username: str
    vhost: str = ""
    age_s: Annotated[float, msgspec.Meta(ge=0, le=_MAX_AGE_S)]


class _Logins(msgspec.Struct):
    """When a Worker last logged in with each credential (`cred`) and each token (`jti`)."""

    credentials: dict[str, datetime] = {}
    tokens: dict[str, datetime] = {}


class Login(msgspec.Struct, frozen=True):
    """What a Worker has logged in with at a resource: the credential behind its token (`cred`), and the token (`jti`)."""

    resource: str
    worker_id: str
    credential: str
    token: str


class Brokers:
    """
    Decides for brokers.

    Args:
        started_at: Since when logins are remembered: they are held in memory.
        publish: Called with each login here, if there may be other Servers: they are asked about its connection too.
    """

    def __init__(
        self,
        *,
        directory: Directory,
        verifier: TokenVerifier,
        clock: Clock,
        started_at: datetime,
        publish: Callable[[Login], None] | None,
    ) -> None:
        self._directory = directory
        self._verifier = verifier
        self._clock = clock
        self._started_at = started_at
        self._logins: dict[tuple[str, str], _Logins] = {}
        self._publish = publish

    def check_login(self, resource: ResourceRecord, username: str, unverified_token: str) -> VerifiedWorker:
        """
        Check a user name and the token that came as its password, and remember the login.

        Raises:
            RefusedError: Not a good token, not for this resource, not this Worker's, or bound to a key that no caller can
                prove through a password.
        """
        verified = self._verifier.verify_any_audience(unverified_token, claimed_worker=username)
        claims = verified.claims
        if claims.aud != resource.audience:
            raise WrongTokenError("It is for another service than this broker.", claimed_worker=claims.sub)
        if claims.bound_to is not None:
            raise WrongTokenError("It is bound to a key that was not proved.", claimed_worker=claims.sub)
        if verified.worker.id != username:
            raise WrongTokenError(f"It is {claims.sub}'s, not of the user named.", claimed_worker=username)
        if not is_granted(resource, verified.worker):
            raise ResourceNotGrantedError(f"Resource '{resource.name}'.", claimed_worker=claims.sub)
        login = Login(resource.name, claims.sub, claims.cred, claims.jti)
        self.remember(login)
        if self._publish is not None:
            self._publish(login)
        return verified

    def check_worker(self, resource: ResourceRecord, username: str) -> WorkerRecord:
        """
        Check a Worker that has logged in before, by its name alone.

        Raises:
            RefusedError: There is none, it may not come in, the resource is not for it, or nothing that it has
                logged in with is good any more.
        """
        worker = self._directory.find_worker(username)
        if worker is None:
            raise UnknownWorkerError(claimed_worker=username)
        # Not the causes for a Worker that has proved its key: here a broker has passed on a name.
        if entry_problem(worker) is not None:
            raise TokenRevokedError("The Worker is disabled or superseded.", claimed_worker=username)
        if not is_granted(resource, worker):
            raise OperationNotGrantedError(
                f"Resource '{resource.name}' is not for it.", claimed_worker=username
            )
        logins = self._logins.get((resource.name, username))
        problems = [problem for _, problem in self._credentials(worker, logins)]
        found = [problem for problem in problems if problem is not None]
        if found and len(found) == len(problems):
            raise TokenRevokedError(found[-1].sentence, claimed_worker=username)
        return worker

    def why_close(
        self, resource: ResourceRecord, connection: Connection, ended: Sequence[ApiKeyRecord]
    ) -> None:
        """
        Ask whether a connection may stay.

        Which of its credentials a Worker has used for which connection the broker cannot say. What logged in last before
        a connection was accepted cannot be behind it; what logged in later may be, and if that is no longer good the
        connection goes. A Worker that holds another one is back at once.

        Args:
            resource: The broker.
            connection: As the broker has it.
            ended: Keys as `ended_keys` gives them.

        Raises:
            RefusedError: It must be closed.
        """
        worker = self.check_worker(resource, connection.username)
        now = self._clock()
        accepted_at = now - timedelta(seconds=connection.age_s)
        logins = self._logins.get((resource.name, worker.id), _Logins())
        for seen_at, problem in self._credentials(worker, logins):
            if problem is not None and seen_at >= accepted_at - _UNDER_WAY:
                raise TokenRevokedError(problem.sentence, claimed_worker=worker.id)
        for jti, seen_at in logins.tokens.items():
            if seen_at >= accepted_at - _UNDER_WAY and self._directory.is_token_revoked(jti):
                raise TokenRevokedError("The Worker took this token back.", claimed_worker=worker.id)
        if self._is_unknown(logins, accepted_at) and any(
            _may_be_behind(key, worker, accepted_at) for key in ended
        ):
            raise TokenRevokedError("A key that it may have used has ended since.", claimed_worker=worker.id)

    def _is_unknown(self, logins: _Logins, accepted_at: datetime) -> bool:
        """Return whether a connection may be of a login that is not remembered here."""
        if accepted_at < self._started_at:
            return True
        # Another Server accepted it, and stopped before it had published it.
        last = max(logins.credentials.values(), default=None)
        return self._publish is not None and (last is None or last < accepted_at - _UNDER_WAY)

    def has_missed_some(self) -> None:
        """Go by the keys that may be behind a connection from before now: not all logins at other Servers are known."""
        self._started_at = self._clock()

    def ended_keys(self) -> list[ApiKeyRecord]:
        """Return the API keys that are good no more, to be asked for once for many connections."""
        now = self._clock()
        ends = ((key, _ended_at(key)) for key in self._directory.api_keys())
        return [key for key, ended_at in ends if ended_at is not None and ended_at <= now]

    def forget_deleted(self) -> None:
        """Drop what is remembered of Workers that are no more."""
        for name, worker_id in list(self._logins):
            if self._directory.find_worker(worker_id) is None:
                del self._logins[name, worker_id]

    def _credentials(
        self, worker: WorkerRecord, logins: _Logins | None
    ) -> list[tuple[datetime, Problem | None]]:
        """Return for each credential that a Worker has used when it did so last, and why it is not good, if it is not."""
        now = self._clock()
        used = {} if logins is None else logins.credentials
        return [
            (seen_at, find_problem(self._directory, worker.id, credential, now=now))
            for credential, seen_at in used.items()
        ]

    def remember(self, login: Login) -> None:
        """Note that a Worker has just logged in, here or at another Server."""
        logins = self._logins.setdefault((login.resource, login.worker_id), _Logins({}, {}))
        now = self._clock()
        _put_last(logins.credentials, login.credential, now, most=_MAX_CREDENTIALS)
        _put_last(logins.tokens, login.token, now, most=_MAX_TOKENS)


def _put_last(seen: dict[str, datetime], key: str, at: datetime, *, most: int) -> None:
    seen.pop(key, None)
    seen[key] = at
    if len(seen) > most:
        del seen[next(iter(seen))]


def _ended_at(key: ApiKeyRecord) -> datetime | None:
    ends = [at for at in (key.revoked_at, key.expires_at) if at is not None]
    return min(ends, default=None)


def _may_be_behind(key: ApiKeyRecord, worker: WorkerRecord, accepted_at: datetime) -> bool:
    ended_at = _ended_at(key)
    return is_for(key, worker.id) and ended_at is not None and ended_at >= accepted_at - _UNDER_WAY
