"""
Decides for message brokers which Workers may log in, what they may do, and which connections must be closed.

A broker authenticates as a resource. At login it sends a Worker's token; afterwards it knows and sends only the user name, so
the Server remembers with which credentials each Worker has logged in.

  1. `check_login`: the token is valid now, is for this resource, and belongs to the named Worker.
  2. `check_worker`: the entry is in good standing, the resource is still granted, and a credential of its logins is still valid. The
     token's `exp` does not matter here: like a session, a connection is valid for as long as its credential is.
  3. `check_connection`: a broker checks nothing for a consumer that only receives, so a revocation would not reach it. The
     program that may close the broker's connections asks about each of them repeatedly. The answer depends only on the current state, so a
     lost request, or a close that failed, is corrected by the next one.
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
from lyftdata.server.admission.signing_keys import SigningKeys
from lyftdata.server.admission.token_issuer import find_problem
from lyftdata.server.admission.token_verifier import TokenVerifier, VerifiedWorker
from lyftdata.server.clock import Clock

# Cache exhaustion, per Worker and broker. Only operators create credentials, so that 32 are never reached in practice. A Worker can
# get any number of tokens, so these are limited separately: otherwise it could evict the record of a credential that was since revoked.
_MAX_CREDENTIALS = 32
_MAX_TOKENS = 64
# How long a request may be in transit, which makes a connection seem younger than it is.
_IN_TRANSIT = timedelta(seconds=5)
# Older than any connection; bounded, so that datetime arithmetic cannot overflow on a broker's input.
_MAX_AGE_S = 1_000_000_000


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A connection at the broker: its user name, its virtual host, and its age in seconds."""

    username: str
    vhost: str = ""
    age_s: Annotated[float, msgspec.Meta(ge=0, le=_MAX_AGE_S)]


class _Logins(msgspec.Struct):
    """When a Worker last logged in with each credential (`cred`) and each token (`jti`)."""

    credentials: dict[str, datetime] = {}
    tokens: dict[str, datetime] = {}


class Login(msgspec.Struct, frozen=True):
    """One login of a Worker at a resource: the credential behind its token (`cred`), and the token (`jti`)."""

    resource: str
    worker_id: str
    credential: str
    token: str


class Brokers:
    """
    Decides for brokers.

    Args:
        started_at: The time since which logins have been recorded; they are kept in memory.
        publish: Called with each login at this Server, if there may be peers: brokers ask them about its connection too.
    """

    def __init__(
        self,
        *,
        directory: Directory,
        verifier: TokenVerifier,
        signing_keys: SigningKeys,
        clock: Clock,
        started_at: datetime,
        publish: Callable[[Login], None] | None,
    ) -> None:
        self._directory = directory
        self._verifier = verifier
        self._signing_keys = signing_keys
        self._clock = clock
        self._started_at = started_at
        self._logins: dict[tuple[str, str], _Logins] = {}
        self._publish = publish

    def check_login(self, resource: ResourceRecord, username: str, unverified_token: str) -> VerifiedWorker:
        """
        Check a user name and the token sent as its password, and remember the login.

        Raises:
            RefusedError: The token is not valid, not for this resource, not this Worker's, or bound to a key whose possession
             cannot be proved through a password.
        """
        verified = self._verifier.verify_any_audience(unverified_token, claimed_worker=username)
        claims = verified.claims
        # Relay: the operator of one broker, or of any service that a Worker calls, must not be able to use the token received there to log
        # in at another broker. So `aud` must be this resource, compared exactly (RFC 8725, section 3.9).
        if claims.aud != resource.audience:
            raise WrongTokenError("It is for another service than this broker.", claimed_worker=claims.sub)
        # Downgrade: a token bound to a key (RFC 9449) needs a proof, which a password login cannot carry. If it were accepted here, a stolen
        # one would work as a bearer token.
        if claims.bound_to is not None:
            raise WrongTokenError("It is bound to a key that was not proved.", claimed_worker=claims.sub)
        # Impersonation: from now on the broker sends only the user name, so that must be the token's Worker.
        if verified.worker.id != username:
            raise WrongTokenError(
                f"It belongs to {claims.sub}, not to the named user.", claimed_worker=username
            )
        # Late revocation of a grant: the token may be up to 15 minutes old, and the grant may have been withdrawn since.
        if not is_granted(resource, verified.worker):
            raise ResourceNotGrantedError(f"Resource '{resource.name}'.", claimed_worker=claims.sub)
        login = Login(resource.name, claims.sub, claims.cred, claims.jti)
        self.remember(login)
        if self._publish is not None:
            self._publish(login)
        return verified

    def check_worker(self, resource: ResourceRecord, username: str) -> WorkerRecord:
        """
        Check a Worker that has logged in before, given only its user name.

        Raises:
            RefusedError: There is no such Worker, its entry is not in good standing, the resource is not granted to it, or none of the
             credentials of its logins is valid any more.
        """
        worker = self._directory.find_worker(username)
        if worker is None:
            raise UnknownWorkerError(claimed_worker=username)
        # Information leak: the caller has given a name, not a credential, and must not get the causes that an authenticated Worker reads.
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

    def check_connection(
        self, resource: ResourceRecord, connection: Connection, ended: Sequence[ApiKeyRecord]
    ) -> None:
        """
        Check whether a connection may stay open.

        The broker does not know the credential of a connection. It cannot be one whose last login was before the connection was
        accepted; it may be one that logged in later, and if that one is no longer valid, the connection is closed. Fail closed: a
        Worker with another valid credential reconnects at once.

        Args:
            resource: The broker's resource.
            connection: As reported by the broker.
            ended: From `ended_keys`.

        Raises:
            RefusedError: It must be closed.
        """
        worker = self.check_worker(resource, connection.username)
        now = self._clock()
        accepted_at = now - timedelta(seconds=connection.age_s)
        withdrawn_at = self._signing_keys.withdrawn_at
        if withdrawn_at is not None and accepted_at - _IN_TRANSIT <= withdrawn_at:
            raise TokenRevokedError(
                "A signing key was withdrawn since; its token may be a forged one.", claimed_worker=worker.id
            )
        logins = self._logins.get((resource.name, worker.id), _Logins())
        for seen_at, problem in self._credentials(worker, logins):
            if problem is not None and seen_at >= accepted_at - _IN_TRANSIT:
                raise TokenRevokedError(problem.sentence, claimed_worker=worker.id)
        for jti, seen_at in logins.tokens.items():
            if seen_at >= accepted_at - _IN_TRANSIT and self._directory.is_token_revoked(jti):
                raise TokenRevokedError("The Worker revoked this token.", claimed_worker=worker.id)
        if self._is_unknown(logins, accepted_at) and any(
            _may_have_opened(key, worker, accepted_at) for key in ended
        ):
            raise TokenRevokedError(
                "A key that it may have used has since expired or been revoked.", claimed_worker=worker.id
            )

    def _is_unknown(self, logins: _Logins, accepted_at: datetime) -> bool:
        """Return whether a connection may come from a login that is not recorded here."""
        if accepted_at < self._started_at:
            return True
        # A peer accepted the login, and stopped before publishing it.
        last = max(logins.credentials.values(), default=None)
        return self._publish is not None and (last is None or last < accepted_at - _IN_TRANSIT)

    def note_lost_logins(self) -> None:
        """Treat connections older than now as from unrecorded logins: logins at peers may have been missed."""
        self._started_at = self._clock()

    def ended_keys(self) -> list[ApiKeyRecord]:
        """Return the API keys that are no longer valid; called once for many connections."""
        now = self._clock()
        ends = ((key, _ended_at(key)) for key in self._directory.api_keys())
        return [key for key, ended_at in ends if ended_at is not None and ended_at <= now]

    def forget_deleted(self) -> None:
        """Drop the logins of deleted Workers."""
        for name, worker_id in list(self._logins):
            if self._directory.find_worker(worker_id) is None:
                del self._logins[name, worker_id]

    def _credentials(
        self, worker: WorkerRecord, logins: _Logins | None
    ) -> list[tuple[datetime, Problem | None]]:
        """Return the last login with each credential of a Worker, and why the credential is not valid now, or None."""
        now = self._clock()
        used = {} if logins is None else logins.credentials
        return [
            (seen_at, find_problem(self._directory, worker.id, credential, now=now))
            for credential, seen_at in used.items()
        ]

    def remember(self, login: Login) -> None:
        """Record a login, at this Server or a peer."""
        logins = self._logins.setdefault((login.resource, login.worker_id), _Logins({}, {}))
        now = self._clock()
        _record_last(logins.credentials, login.credential, now, max_entries=_MAX_CREDENTIALS)
        _record_last(logins.tokens, login.token, now, max_entries=_MAX_TOKENS)


def _record_last(seen: dict[str, datetime], key: str, at: datetime, *, max_entries: int) -> None:
    seen.pop(key, None)
    seen[key] = at
    if len(seen) > max_entries:
        del seen[next(iter(seen))]


def _ended_at(key: ApiKeyRecord) -> datetime | None:
    ends = [at for at in (key.revoked_at, key.expires_at) if at is not None]
    return min(ends, default=None)


def _may_have_opened(key: ApiKeyRecord, worker: WorkerRecord, accepted_at: datetime) -> bool:
    ended_at = _ended_at(key)
    return is_for(key, worker.id) and ended_at is not None and ended_at >= accepted_at - _IN_TRANSIT
