"""
Every cause for which an authentication or authorization attempt is refused.

RefusedError
├── UnprovenError                   the caller has proved nothing: it always gets the same answer
│   ├── ApiKeyRefusedError          the API key that was presented is the problem
│   └── EnrollmentKeyRefusedError   the enrollment key that was presented was issued, and does not allow this
└── ProvedError                     the caller has proved its key and is still refused: it learns the useful part

Each class is a cause. `code` is stable. `meaning` tells the operator what happened, `remedy` what to do; a caller reads them only
after it has proved its key. The reference page `docs/reference/refusals.md` is generated from this file.

The file is long because it is a table: one class for each cause, ordered by authentication method, read from top to bottom by anyone
who adds a cause and by the generator. If it were split, one would have to know the file before the cause, and no file could show
that the codes are unique.
"""

import functools
from collections.abc import Callable, Iterator
from enum import StrEnum, auto
from typing import ClassVar, Final, NamedTuple

from lyftdata.core.errors import LyftdataError


class RemedyAction(StrEnum):
    """A remedy that is one button on the refusal's page; `web.pages.refusals` has the button for each."""

    ADD_WORKER = auto()
    ENABLE_WORKER = auto()
    ALLOW_API_KEY = auto()
    ISSUE_API_KEY = auto()
    OPEN_ENROLLMENT = auto()


class RefusedError(LyftdataError):
    """
    A refused attempt.

    Args:
        detail: The exact facts, for the operator: key names, how far a clock was off. No secrets. A function is called only when
            an operator reads the refusal, not before the caller is answered: formatting takes a different time for each cause, and
            the response time must not reveal the cause.
        claimed_worker: The ID or name that the caller claimed, as received; "" if none.
        api_key: Name of the presented API key, if it is known; never the key.
        other_worker: ID of the other Worker concerned: the holder of the name, or the one that took it over.
        enrollment_key: Fingerprint of the enrollment key that was proved, if its rules are the cause; never the key.
    """

    meaning: ClassVar[str]
    remedy: ClassVar[str]
    proved: ClassVar[bool]
    final: bool = True
    """Whether retrying with the same credential is pointless; the agent then exits with 3."""
    remedy_action: ClassVar[RemedyAction | None] = None
    """The button on the refusal's page; None if no single button is a remedy."""
    is_misconfiguration: ClassVar[bool] = False
    """Whether a wrong setting on a host keeps causing it, so that operators get an alert. False for causes that an unproven caller's guesses produce."""

    def __init__(
        self,
        detail: str | Callable[[], str] = "",
        *,
        claimed_worker: str = "",
        api_key: str = "",
        other_worker: str = "",
        enrollment_key: str = "",
    ) -> None:
        super().__init__(self.meaning, hint=self.remedy)
        self.unformatted_detail: Final = detail
        self.claimed_worker: Final = claimed_worker
        self.api_key: Final = api_key
        self.other_worker: Final = other_worker
        self.enrollment_key: Final = enrollment_key

    @property
    def explanation(self) -> str:
        """Return the explanation for a caller that has proved its key."""
        return self.meaning

    @property
    def detail(self) -> str:
        """Return the exact facts as text."""
        return format_detail(self.unformatted_detail)


def format_detail(unformatted: str | Callable[[], str]) -> str:
    """Return the detail as text, calling it if it is a function."""
    return unformatted if isinstance(unformatted, str) else unformatted()


class UnprovenError(RefusedError):
    """The caller has proved nothing: it gets one merged refusal, whatever the cause."""

    proved = False


class ApiKeyRefusedError(UnprovenError):
    """The presented API key is the problem: the Worker needs another key, or the key must be allowed for this Worker."""

    remedy_action = RemedyAction.ISSUE_API_KEY
    is_misconfiguration = True


class ProvedError(RefusedError):
    """The caller has proved its key: it learns the cause, so that it can react."""

    proved = True


# --- unproven: any credential -----------------------------------------------------------------------------


class MissingCredentialsError(UnprovenError):
    """No credential at all."""

    code = "missing_credentials"
    meaning = "The request carried no credential."
    remedy = (
        "Give the Worker LYFTDATA_WORKER_ID and LYFTDATA_WORKER_API_KEY, "
        "or LYFTDATA_WORKER_NAME and LYFTDATA_AUTO_ENROLLMENT_KEY."
    )


class UnknownWorkerError(UnprovenError):
    """No Worker entry has this ID."""

    code = "unknown_worker"
    meaning = "No Worker has this ID."
    remedy = (
        "Check LYFTDATA_WORKER_ID on the host against `lyftdata workers list`, or add the Worker. One that had enrolled and is "
        "unknown since it was deleted or a backup was restored enrolls again once its directory on the host is removed."
    )
    remedy_action = RemedyAction.ADD_WORKER
    is_misconfiguration = True


class WrongStrategyError(UnprovenError):
    """The Worker entry exists, but uses the other strategy."""

    code = "wrong_strategy"
    meaning = "The Worker entry belongs to the other strategy: a Worker uses exactly one."
    remedy = "Start the Worker with the settings of its own strategy (`lyftdata workers show ID`), or add a new Worker."
    is_misconfiguration = True


class RateLimitedError(UnprovenError):
    """Too many failures from this address; a valid credential is still accepted."""

    code = "rate_limited"
    meaning = "Too many failed attempts came from this address. A right credential from there still passes."
    remedy = (
        "Find the misconfigured Worker among the other refusals from this address (`lyftdata refusals list`)."
    )
    final = False


class EnrollmentLimitedError(UnprovenError):
    """Too many wrong enrollment keys: this credential was not checked."""

    code = "enrollment_rate_limited"
    meaning = (
        "Too many wrong enrollment keys came from this network, or from everywhere. The credential was not looked at: "
        "a right one waits too, until the wrong ones stop."
    )
    remedy = (
        "Find who sends wrong keys in `lyftdata refusals list` (`wrong_enrollment_key`) and stop it: correct the key on "
        "those hosts, or block the address. Until then enroll from another network, or use an API key."
    )
    final = False


# --- unproven: API keys ---------------------------------------------------------------------------------


class MalformedApiKeyError(ApiKeyRefusedError):
    """The presented text is not an API key: wrong form or wrong checksum."""

    code = "malformed_api_key"
    meaning = "What was presented is not a complete API key: its form or its checksum is wrong."
    remedy = "Copy the key again, whole: it reads `lyftdata_…` and is 58 characters long."


class WrongApiKeyError(ApiKeyRefusedError):
    """A well-formed key that this Server did not issue."""

    code = "wrong_api_key"
    meaning = "This Server has not issued this API key."
    remedy = "Issue a key (`lyftdata api-key issue NAME`) and set LYFTDATA_WORKER_API_KEY on the host."


class ApiKeyRevokedError(ApiKeyRefusedError):
    """The key was revoked."""

    code = "api_key_revoked"
    meaning = "The API key was revoked."
    remedy = (
        "If the Worker should still get in, issue a new key, replace the old one on its host (LYFTDATA_WORKER_API_KEY, or "
        "the file) and start the Worker again."
    )


class ApiKeyRotatedError(ApiKeyRefusedError):
    """A newer generation has replaced the key, and the grace period is over."""

    code = "api_key_rotated"
    meaning = (
        "An operator has rotated this API key, and the older generation that was presented no longer works."
    )
    remedy = "Give the Worker the key's newest generation (LYFTDATA_WORKER_API_KEY), or rotate again if it was lost."


class ApiKeyExpiredError(ApiKeyRefusedError):
    """The key has expired."""

    code = "api_key_expired"
    meaning = "The API key has expired."
    remedy = "Issue or rotate the key (`lyftdata api-key rotate NAME`) and set LYFTDATA_WORKER_API_KEY on the host."


class ApiKeyNotForWorkerError(ApiKeyRefusedError):
    """The key is valid, but was issued for other Workers."""

    code = "api_key_not_for_worker"
    meaning = "The API key was issued for other Workers than this one."
    remedy = (
        "Let this Worker use the key too (`lyftdata api-key allow NAME --worker ID`), issue one for it "
        "(`lyftdata api-key issue NAME --worker ID`), or correct LYFTDATA_WORKER_ID on the host."
    )
    remedy_action = RemedyAction.ALLOW_API_KEY


# --- unproven: enrollment -------------------------------------------------------------------------------


class EnrollmentDisabledError(UnprovenError):
    """Auto-Enrollment is off."""

    code = "enrollment_disabled"
    meaning = "Auto-Enrollment is off: the Server has no enrollment key, or none that is in force."
    remedy = (
        "Start the Server with LYFTDATA_AUTO_ENROLLMENT_KEY, issue a key with `lyftdata enrollment issue`, or add the Worker and "
        "give it an API key."
    )
    remedy_action = RemedyAction.OPEN_ENROLLMENT
    is_misconfiguration = True


class WrongEnrollmentKeyError(UnprovenError):
    """The key is neither the current nor the previous enrollment key, nor an issued one."""

    code = "wrong_enrollment_key"
    meaning = "The Worker's enrollment key is neither the Server's current nor its previous one, nor one that was issued."
    remedy = "Set LYFTDATA_AUTO_ENROLLMENT_KEY on the host to the Server's value, or to a key of `lyftdata enrollment issue`."
    remedy_action = RemedyAction.OPEN_ENROLLMENT
    is_misconfiguration = True


class EnrollmentKeyRefusedError(UnprovenError):
    """
    The enrollment key was issued, but does not allow this.

    The caller has the key, but still learns nothing: otherwise anyone who has found the key would learn from where and for which
    names it works.
    """

    remedy_action = RemedyAction.OPEN_ENROLLMENT
    is_misconfiguration = True


class EnrollmentKeyRevokedError(EnrollmentKeyRefusedError):
    """The enrollment key was revoked."""

    code = "enrollment_key_revoked"
    meaning = "The enrollment key was revoked."
    remedy = "If the host should be admitted, issue a new key with `lyftdata enrollment issue`; else find out how it got the old one."


class EnrollmentKeyExpiredError(EnrollmentKeyRefusedError):
    """The enrollment key has expired, or was rotated and its grace is over."""

    code = "enrollment_key_expired"
    meaning = "The enrollment key has expired, or was rotated and its grace is over."
    remedy = "Give the host the new key, or issue one with `lyftdata enrollment issue`."


class EnrollmentKeyUsedUpError(EnrollmentKeyRefusedError):
    """The enrollment key has enrolled as many Workers as it may."""

    code = "enrollment_key_used_up"
    meaning = "The enrollment key has enrolled as many Workers as it may."
    remedy = (
        "Issue a new key with `lyftdata enrollment issue`. If no other host should have had the key, look for the Workers that "
        "it has enrolled: `lyftdata enrollment show NAME` gives the fingerprint that their entries name."
    )


class EnrollmentNetworkNotAllowedError(EnrollmentKeyRefusedError):
    """The enrollment key is restricted to other networks."""

    code = "enrollment_network_not_allowed"
    meaning = "The enrollment key is for other networks than the one that the request came from."
    remedy = (
        "If the host should be admitted, issue a key for its network. If the address is that of a proxy, name the proxy in "
        "LYFTDATA_TRUSTED_PROXIES. Else the key may have leaked: revoke it."
    )


class EnrollmentNameNotAllowedError(EnrollmentKeyRefusedError):
    """The enrollment key is restricted to Workers with other names."""

    code = "enrollment_name_not_allowed"
    meaning = "The enrollment key is for Workers of other names."
    remedy = "Set LYFTDATA_WORKER_NAME on the host to a name that fits the pattern of the key, or issue another key."


class MalformedProofError(UnprovenError):
    """Signed with one of this Server's enrollment keys, but not a proof of enrollment for this Server."""

    code = "malformed_proof"
    meaning = "The enrollment proof is made with a right key, but is not for this Server or lacks what it must hold."
    remedy = (
        "Check LYFTDATA_URL on the host and LYFTDATA_PUBLIC_URL on the Server; update the Worker program."
    )
    remedy_action = RemedyAction.OPEN_ENROLLMENT


class ProofExpiredError(UnprovenError):
    """The proof is outside its validity period."""

    code = "proof_expired"
    meaning = "The enrollment proof is too old or from the future: the clocks of Worker and Server disagree, or it was captured."
    remedy = "Set the host's clock (NTP); the detail says how far it is off."
    # Not final: once the clock is corrected, the same Worker is accepted.
    final = False
    remedy_action = RemedyAction.OPEN_ENROLLMENT
    is_misconfiguration = True


class ProofReplayedError(UnprovenError):
    """This proof was used before."""

    code = "proof_replayed"
    meaning = "This very enrollment proof was used before."
    remedy = "A Worker makes a new proof for each attempt: look for someone replaying captured traffic."
    remedy_action = RemedyAction.OPEN_ENROLLMENT


class ProofNotForKeyError(UnprovenError):
    """The proof is for another identity key or name than the request carries."""

    code = "proof_not_for_key"
    meaning = "The enrollment proof was made for another identity key or name than the request carries."
    remedy = (
        "Someone may be using a captured proof: check the address, and rotate the enrollment key if in doubt."
    )
    remedy_action = RemedyAction.OPEN_ENROLLMENT


# --- unproven: identity keys ----------------------------------------------------------------------------


class WrongAssertionError(UnprovenError):
    """The signed assertion is not by this Worker's identity key, or not for this Server."""

    code = "wrong_assertion"
    meaning = "The signed assertion is not by this Worker's identity key, or not for this Server."
    remedy = "Check that the Worker's directory is its own; to start over, remove it and let the Worker enroll again."
    is_misconfiguration = True


class AssertionExpiredError(UnprovenError):
    """The assertion is outside its validity period."""

    code = "assertion_expired"
    meaning = "The assertion is too old or from the future: the clocks of Worker and Server disagree."
    remedy = "Set the host's clock (NTP); the detail says how far it is off."
    final = False
    is_misconfiguration = True


class StaleAssertionError(UnprovenError):
    """The assertion may have been signed before the Worker was disabled or enabled, or used before the Server crashed."""

    code = "stale_assertion"
    meaning = (
        "The assertion may be from before the Worker was last disabled or enabled, or before the Server crashed: it "
        "could have been captured then."
    )
    remedy = (
        "None for the Worker program, which signs again with the nonce of the answer. A client that knows no nonces is "
        "let in half a minute after that moment; if it is refused for longer, its clock is behind, or somebody replays "
        "captured traffic."
    )
    final = False


class AssertionReplayedError(UnprovenError):
    """This assertion was used before."""

    code = "assertion_replayed"
    meaning = "This very assertion was used before."
    remedy = "A Worker signs a new assertion for each token: look for someone replaying captured traffic."
    final = False


# --- unproven: worker tokens ----------------------------------------------------------------------------


class WrongTokenError(UnprovenError):
    """Not a worker token of this Server, or not for this audience."""

    code = "wrong_token"
    meaning = "The worker token is malformed, not signed by this Server, or not meant for it."
    remedy = "Request a new token at /oauth2/token."
    final = False


class TokenExpiredError(UnprovenError):
    """Past its `exp`."""

    code = "token_expired"
    meaning = "The worker token has expired."
    remedy = "Request a new token at /oauth2/token."
    final = False


class TokenRevokedError(UnprovenError):
    """The Worker or the credential behind the token is no longer good."""

    code = "token_revoked"
    meaning = (
        "The Worker, or the credential with which it got this token, was disabled, revoked or removed since."
    )
    remedy = "See the Worker's entry and the audit log (`lyftdata workers show ID`)."
    final = False


class UnnamedServiceError(UnprovenError):
    """A proxy asked about a request to a service that no operator has registered."""

    code = "unnamed_service"
    meaning = (
        "A proxy asked about a request to a service that no operator has named: its question names no resource, "
        "or the request is not below that resource's audience."
    )
    remedy = (
        "Add the service as a resource whose audience is its public URL (`lyftdata resources add NAME --audience "
        "https://service.example.com`), and have its proxy ask /auth/verify/NAME."
    )
    final = False


# --- unproven: questions of a broker, which sends only the Worker's name ---------------------------------


class OperationNotGrantedError(UnprovenError):
    """A broker asked whether a Worker may do something that no scope of the resource allows."""

    code = "operation_not_granted"
    meaning = "At a message broker the Worker has tried what no scope of the broker's resource allows."
    remedy = (
        "Add a scope for what the detail names (`lyftdata resources set NAME --scope SCOPE`; scopes that are not "
        "named again are gone), or correct what the Worker does."
    )
    final = False


# --- proved ---------------------------------------------------------------------------------------------


class WorkerDisabledError(ProvedError):
    """An operator has disabled the Worker."""

    code = "worker_disabled"
    meaning = "An operator has disabled this Worker."
    remedy = "Enable it (`lyftdata workers enable ID`): the Worker reconnects."
    final = False
    remedy_action = RemedyAction.ENABLE_WORKER


class AwaitingApprovalError(ProvedError):
    """The Worker enrolled with a key of mode `approve`, and no operator has decided yet."""

    code = "awaiting_approval"
    meaning = "This Worker waits for the approval of an operator."
    remedy = (
        "Compare its fingerprint with the one that the host logs, then approve or deny it: `lyftdata enrollment pending`, "
        "`lyftdata enrollment approve ID`. The Worker keeps asking and connects by itself."
    )
    final = False


class ApprovalDeniedError(ProvedError):
    """An operator has denied the Worker."""

    code = "approval_denied"
    meaning = "An operator has decided not to let this Worker in."
    remedy = "If that was a mistake, approve it all the same (`lyftdata enrollment approve ID`) and start the Worker again."


class ApprovalExpiredError(ProvedError):
    """No operator has decided about the Worker in time."""

    code = "approval_expired"
    meaning = "No operator has approved this Worker in time."
    remedy = "Approve it (`lyftdata enrollment approve ID`) and start the Worker again."


class ApprovalQueueFullError(ProvedError):
    """The enrollment key is right, but too many Workers wait for approval."""

    code = "approval_queue_full"
    meaning = "Too many Workers wait for approval: no more are added until operators have decided about some of them."
    remedy = (
        "Approve or deny the Workers that wait (`lyftdata enrollment pending`). If these are not your hosts, the enrollment key "
        "has leaked: revoke it."
    )
    # Not final: a retry succeeds once there is room.
    final = False


class SupersededError(ProvedError):
    """Another Worker has taken the name since."""

    code = "superseded"
    meaning = "Another Worker enrolled under the same name while this one was offline, and took its place."
    remedy = (
        "If this host is the right one, remove its directory and let it enroll again, under another name."
    )
    is_misconfiguration = True


class NameInUseError(ProvedError):
    """A connected Worker, or an entry made by an operator, holds the name."""

    code = "name_in_use"
    meaning = (
        "Another Worker holds this name, and a name is never taken over while its holder may still use it."
    )
    remedy = "Give this Worker another LYFTDATA_WORKER_NAME, or stop or delete the holder."
    # Not final: once the holder is gone, the new Worker is accepted without an operator.
    final = False
    is_misconfiguration = True


class DuplicateInstanceError(ProvedError):
    """Another process is connected under the same identity."""

    code = "duplicate_instance"
    meaning = "Another process is connected as this Worker; the first one stays connected."
    remedy = (
        "`lyftdata refusals show REFERENCE` names both hosts: the credentials were copied, or the Worker was started twice. "
        "Stop one of them, or give it its own identity."
    )
    final = False


class AgentTooOldError(ProvedError):
    """The Worker's agent reports a version that the fleet policy refuses."""

    code = "agent_too_old"
    meaning = "This Worker's agent is of a version that the Server's fleet policy does not accept any more."
    remedy = (
        "Update lyftdata on the Worker's host and start the Worker again: `lyftdata fleet policy` shows from which version on agents are "
        "accepted. To let it in as it is, set a lower `--refuse-below`, or clear the policy (`lyftdata fleet policy --clear`): it "
        "connects by itself then."
    )
    # Not final: a mistaken policy must not require someone to visit each host.
    final = False


class HostPlace(NamedTuple):
    """A signing host: the name that it reports, and the address of its request."""

    host: str = ""
    address: str = ""

    def __str__(self) -> str:
        return f"{self.host or '?'} ({self.address or '?'})"


_UNKNOWN_PLACE = HostPlace()


class IdentityClonedError(ProvedError):
    """
    Two directories use one identity, as the counter in the assertions shows.

    Args:
        detail: The exact facts; names both hosts unless given.
        claimed_worker: The Worker.
        refused: The host that is refused.
        accepted: The host whose signature was accepted last.
        refused_as: The reference of its first refusal, which the refused directory reports if it was refused before.
    """

    code = "identity_cloned"
    meaning = (
        "This identity is also used from another directory: one is a copy of the other, or this host was restored from a "
        "snapshot or a backup. The one that was used first since then keeps the identity; this one is refused."
    )
    remedy = (
        "`lyftdata workers show ID` names both hosts and the REFERENCE of the copy. If this host was restored, or is the right one, let it "
        "continue: `lyftdata workers continue-copy ID REFERENCE`. If it is to be another Worker, let it enroll as a new one: `lyftdata workers "
        "reenroll-copy ID REFERENCE`."
    )
    # Not final: an operator may let it continue.
    final = False

    def __init__(
        self,
        detail: str = "",
        *,
        claimed_worker: str = "",
        refused: HostPlace = _UNKNOWN_PLACE,
        accepted: HostPlace = _UNKNOWN_PLACE,
        refused_as: str = "",
    ) -> None:
        # A copy keeps the reference of its first refusal; each further refusal has another one.
        known_as = f", which is copy {refused_as}" if refused_as else ""
        super().__init__(
            detail or f"Accepted last: {accepted}. Refused: {refused}{known_as}.",
            claimed_worker=claimed_worker,
        )
        self.refused: Final = refused
        self.accepted: Final = accepted
        self.refused_as: Final = refused_as


class EnrollAsNewError(ProvedError):
    """A copy of an identity, which may enroll as a new Worker but gets nothing with the copied identity."""

    code = "enroll_as_new"
    meaning = "This directory is a copy of another Worker's identity. It may enroll as a new Worker, by an enrollment key."
    remedy = (
        "The Worker program does so by itself if it has an enrollment key: set LYFTDATA_AUTO_ENROLLMENT_KEY, or "
        "LYFTDATA_AUTO_ENROLLMENT_KEY_FILE, on this host and start it again."
    )
    # Not final: an operator may let it continue instead.
    final = False


class CounterMissingError(ProvedError):
    """An assertion without a counter, by an identity whose earlier signatures were counted."""

    code = "counter_missing"
    meaning = (
        "This Worker's signatures are counted, and this one has no number: the identity key was copied out of its directory, or "
        "is used by another program than the Worker's own."
    )
    remedy = (
        "Use the agent's token, or give the Python client the Worker's directory (LYFTDATA_JOBS_DIR). A program of its own needs "
        "an identity of its own: let it register its own key."
    )
    final = False
    is_misconfiguration = True


class InvalidRegistrationError(ProvedError):
    """
    The enrollment key is right, but a member of the client metadata breaks a rule.

    Args:
        explanation: The member and the rule, in ASCII without quotes and backslashes; sent to the caller.
        error: The error code of RFC 7591, section 3.2.2.
        claimed_worker: The name that the caller claimed.
    """

    code = "invalid_registration"
    meaning = "The enrollment key is right, but a member of the client metadata breaks a rule."
    remedy = "Correct the member that is named."
    remedy_action = RemedyAction.OPEN_ENROLLMENT
    is_misconfiguration = True

    def __init__(
        self, explanation: str, *, error: str = "invalid_client_metadata", claimed_worker: str = ""
    ) -> None:
        super().__init__(explanation, claimed_worker=claimed_worker)
        self.error: Final = error

    @property
    def explanation(self) -> str:
        """Return the member and the rule."""
        return self.detail


class DpopProofMissingError(ProvedError):
    """The Worker registered for bound tokens only, but sent no proof (RFC 9449, section 5.2)."""

    code = "dpop_proof_missing"
    meaning = (
        "The Worker has registered for bound tokens only (dpop_bound_access_tokens) and sent no DPoP proof."
    )
    remedy = (
        "Let the client send a DPoP proof with each token request, or let it register without "
        "dpop_bound_access_tokens."
    )
    final = False


class ResourceNotGrantedError(ProvedError):
    """The Worker is authenticated, but may not have a token for this service."""

    code = "resource_not_granted"
    meaning = "The Worker asked for a token for a service that it may have none for."
    remedy = "Choose the Worker in the resource (`lyftdata resources set NAME --worker ID`), or correct what the Worker asks for."
    # Not final: the Worker itself is accepted.
    final = False


class ScopeNotGrantedError(ProvedError):
    """The Worker is authenticated, but asked for a scope that the named service does not have."""

    code = "scope_not_granted"
    meaning = "The Worker asked for a scope that the service it named does not have."
    remedy = "Add the scope to the resource (`lyftdata resources set NAME --scope SCOPE`), or correct what the Worker asks for."
    final = False


class ScopeUnknownError(ProvedError):
    """The Worker named no service, and no service that it may have tokens for has the requested scopes."""

    code = "scope_unknown"
    meaning = "The Worker named no service, and no resource for which it may have tokens has all the scopes it asked for."
    remedy = (
        "Add the scopes to a resource or choose the Worker in it (`lyftdata resources set NAME`), or correct what the "
        "Worker asks for: it can name the service by its audience, in `resource`."
    )
    final = False


class ScopeAmbiguousError(ProvedError):
    """The Worker named no service, and several services that it may have tokens for have the requested scopes."""

    code = "scope_ambiguous"
    meaning = (
        "The Worker named no service, and several resources for which it may have tokens have all the scopes it "
        "asked for."
    )
    remedy = (
        "Let the Worker name the service by its audience, in `resource`; for a client that can send only scopes, give "
        "the resource a scope that no other has (`lyftdata resources set NAME --scope SCOPE`)."
    )
    final = False


class TokenTooLongError(ProvedError):
    """The Worker may have a token, but with all its claims it would be longer than any check accepts."""

    code = "token_too_long"
    meaning = "A token with this Worker's name, labels and scopes would be longer than any check accepts."
    remedy = "Give the Worker fewer or shorter labels (`lyftdata workers label`), or the resource fewer scopes (`lyftdata resources set`)."
    # Not final: with fewer labels the Worker is accepted.
    final = False


# --- sent as a directive to a connected Worker -----------------------------------------------------------


class WorkerDeletedError(ProvedError):
    """An operator has deleted the Worker while it was connected."""

    code = "worker_deleted"
    meaning = "An operator has deleted this Worker."
    remedy = "Stop the program on its host, or add the Worker again."


def all_causes() -> list[type[RefusedError]]:
    """Return every cause, sorted by code."""
    return sorted(_causes_below(RefusedError), key=lambda cause: cause.code)


def _causes_below(family: type[RefusedError]) -> Iterator[type[RefusedError]]:
    """Yield the leaf classes: those are causes, the others are families."""
    for cause in family.__subclasses__():
        if cause.__subclasses__():
            yield from _causes_below(cause)
        else:
            yield cause


def cause_of(code: str) -> type[RefusedError] | None:
    """Return the cause with this stable code, or None."""
    return _causes_by_code().get(code)


# Called for each refusal on a page that may show thousands.
@functools.cache
def _causes_by_code() -> dict[str, type[RefusedError]]:
    return {cause.code: cause for cause in all_causes()}
