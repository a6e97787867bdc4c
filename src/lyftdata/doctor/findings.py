"""
The checks of `lyftdata doctor`; `docs/reference/doctor.md` is generated from this table.

A finding never holds a secret: it is printed, and people paste it into tickets.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec

from lyftdata.core.errors import SettingsError
from lyftdata.core.text import clean_line


class Severity(StrEnum):
    """The severity of a finding."""

    PROBLEM = "problem"
    """It cannot work, or will not after its next start."""
    WARNING = "warning"
    """It works, but less safely than it could, or not for much longer."""
    NOTE = "note"
    """Nothing is wrong, but this could not be checked."""


class Check(msgspec.Struct, frozen=True):
    """One thing that can be wrong: a stable code, its severity, and why it matters."""

    code: str
    severity: Severity
    why: str


class Finding(msgspec.Struct, frozen=True):
    """Something that is wrong here: `what` was found, and `fix`, the command or the change that corrects it."""

    check: Check
    what: str
    fix: str

    def as_dict(self) -> dict[str, str]:
        """Return the finding for JSON output."""
        return {
            "code": self.check.code,
            "severity": self.check.severity.value,
            "what": clean_line(self.what),
            "why": self.check.why,
            "fix": clean_line(self.fix),
        }


def each_problem(check: Check, error: SettingsError, fix: str) -> Iterator[Finding]:
    """Yield a finding for each fault that an error names."""
    for problem in error.problems:
        yield Finding(check, problem, fix)


def is_stopped_by(found: Sequence[Finding]) -> bool:
    """Return whether the next check could only find the consequences of what was found."""
    return any(finding.check.severity is Severity.PROBLEM for finding in found)


def _problem(code: str, why: str) -> Check:
    return Check(code, Severity.PROBLEM, why)


def _warning(code: str, why: str) -> Check:
    return Check(code, Severity.WARNING, why)


# --- this host ------------------------------------------------------------------------------------------
SETTING_INVALID = _problem("setting_invalid", "The program does not start with it (exit code 2).")
SETTING_SUSPICIOUS = _warning(
    "setting_suspicious", "The program starts, but probably not as intended, or less safely than it could."
)
SECRET_FILE_EXPOSED = _warning(
    "secret_file_exposed", "Every user of this host who reads the secret can use it."
)
DIRECTORY_UNUSABLE = _problem(
    "directory_unusable", "The Worker keeps its identity key there, and does not start without it."
)
DIRECTORY_READ_ONLY = _problem("directory_read_only", "A Worker that enrolls must store its identity.")
NO_CREDENTIAL = _problem("no_credential", "A Worker proves who it is by one of the two strategies.")
TLS_NOT_CHECKED = _warning(
    "tls_not_checked", "Anyone between this host and the Server can act as the Server."
)
PLAIN_HTTP = _warning(
    "plain_http", "Anyone between this host and the Server can read credentials and tokens."
)
# --- the path to the Server -----------------------------------------------------------------------------
PROXY_UNUSABLE = _problem("proxy_unusable", "Every request to the Server would go through that proxy.")
NAME_NOT_RESOLVED = _problem("name_not_resolved", "Without an address there is no connection.")
CONNECTION_FAILED = _problem("connection_failed", "No request reaches the Server.")
ADDRESS_UNREACHABLE = _warning(
    "address_unreachable", "Connections try this address too: they are slow, or fail when the others do."
)
NOT_HTTPS = _problem("not_https", "The Worker speaks https, and what answers does not.")
CERTIFICATE_EXPIRED = _problem("certificate_expired", "An expired certificate is not trusted.")
CERTIFICATE_NOT_YET_VALID = _problem(
    "certificate_not_yet_valid", "A certificate is trusted from the time that it names."
)
CERTIFICATE_FOR_ANOTHER_NAME = _problem(
    "certificate_for_another_name", "The certificate does not prove that this is the Server that you named."
)
CERTIFICATE_SELF_SIGNED = _problem(
    "certificate_self_signed", "No CA that this host trusts has signed the Server's certificate."
)
CERTIFICATE_ISSUER_UNKNOWN = _problem(
    "certificate_issuer_unknown", "No CA that this host trusts has signed the Server's certificate."
)
CERTIFICATE_INCOMPLETE = _problem(
    "certificate_incomplete", "Python 3.13 and newer reject certificates that break RFC 5280."
)
CERTIFICATE_REJECTED = _problem(
    "certificate_rejected", "The Worker connects only to a Server that it can verify."
)
CERTIFICATE_EXPIRES_SOON = _warning("certificate_expires_soon", "When it has expired, no Worker can connect.")
# --- what answers ---------------------------------------------------------------------------------------
NO_ANSWER = _problem(
    "no_answer",
    "Something accepts connections there and sends no answer: a proxy, a firewall or a Server that hangs.",
)
PROXY_WITHOUT_SERVER = _problem(
    "proxy_without_server", "A proxy answers in place of the Server, which it does not reach."
)
NOT_THE_SERVER = _problem(
    "not_the_server", "Requests reach something that is not a lyftdata Server, or one that is not working."
)
ISSUER_DIFFERS = _problem(
    "issuer_differs",
    "A Worker signs only for the address that it was given, never for one that an answer names.",
)
CLOCK_OFF = _warning(
    "clock_off",
    "What this host signs looks expired or from the future; the Worker then needs one more request for each token, and "
    "other clients are refused.",
)
REFUSED = _problem("refused", "The Server does not accept this Worker.")
TOKEN_LOST = _problem(
    "token_lost",
    "Between this host and the Server the token is removed or goes to another Server: no session opens.",
)
SESSIONS_BLOCKED = _problem("sessions_blocked", "A Worker stays connected by requests to that path.")

POLLS_CUT = _warning(
    "polls_cut",
    "The Worker is offline each time until it has learned to ask for shorter polls, and asks more often from then on.",
)
ANSWERS_BUFFERED = _warning(
    "answers_buffered",
    "What the Server sends bit by bit arrives late: live pages and `lyftdata workers watch` stand still.",
)
VERSION_SKEW = _warning(
    "version_skew",
    "Versions that differ are tested only as far as an upgrade needs it: a newer Server with older Workers.",
)
NOT_ENROLLED = Check(
    "not_enrolled",
    Severity.NOTE,
    "The enrollment key was not tried, since a key for one use would then be used up: the first start shows whether the Server accepts it.",
)
# --- the Server's host ----------------------------------------------------------------------------------
DATABASE_UNUSABLE = _problem("database_unusable", "The Server keeps its state there.")
DATABASE_RIGHTS_MISSING = _problem(
    "database_rights_missing", "What needs that right fails: starts, or single changes."
)
DATABASE_LOCKED = _problem(
    "database_locked", "Nothing can be changed while it is held: no enrollments, no revocations."
)
DATABASE_EXPOSED = _warning(
    "database_exposed", "Others who use that PostgreSQL server could read or stop the state."
)
DATABASE_CONNECTIONS_TOO_FEW = _warning(
    "database_connections_too_few",
    "A Server that gets no connection does not start, or answers 503 until it gets one.",
)
DATABASE_CONNECTIONS_NOT_CHECKED = Check(
    "database_connections_not_checked",
    Severity.NOTE,
    "A pooler answers in front of PostgreSQL, and its limits cannot be read through it.",
)
AUDIT_LOG_CUT = _problem(
    "audit_log_cut",
    "Events were removed or the database was put back: what was decided since is not in the log.",
)
SIGNING_KEYS_UNREADABLE = _problem(
    "signing_keys_unreadable", "Without a key to sign with, the Server does not start and issues no tokens."
)
EVENTS_NOT_DELIVERED = _warning(
    "events_not_delivered",
    "They wait in the audit log: what watches over the Workers elsewhere does not see what happens here.",
)
EVENTS_PAUSED = _warning(
    "events_paused",
    "They wait in the audit log until the destination is resumed, and could be removed as too old before.",
)
EVENTS_LOST = _warning(
    "events_lost", "They were removed from the audit log as too old before they were delivered."
)
DISK_NEARLY_FULL = _warning(
    "disk_nearly_full", "A Server that cannot write adds no Workers, keys or audit events."
)
SECRET_WEAK = _warning("secret_weak", "Anyone who guesses it can add Workers.")
PROXY_NOT_NAMED = _warning(
    "proxy_not_named",
    "All clients behind it have its address: wrong passwords by one delay all operators, and limits count all Workers as one.",
)
SIGNING_KEY_NOT_PUBLISHED = _problem(
    "signing_key_not_published", "Services that check tokens offline reject every token that this key signed."
)
ANOTHER_SERVER = _problem("another_server", "Workers that are sent to that address do not reach this Server.")

# --- the issuer that operators sign in at ---------------------------------------------------------------
ISSUER_UNUSABLE = _problem(
    "issuer_unusable", "No operator can sign in at an issuer whose metadata or keys cannot be read."
)
ISSUER_REFUSES_SERVER = _problem(
    "issuer_refuses_server", "An issuer signs operators in only for clients and redirect URIs that it knows."
)
ISSUER_CLOCK_OFF = _warning(
    "issuer_clock_off", "An ID token that seems to be expired, or from the future, is refused."
)

# --- the Server's view of a Worker ----------------------------------------------------------------------
WORKER_UNKNOWN = _problem("worker_unknown", "The Server lets in only the Workers that it knows.")
WORKER_DISABLED = _problem("worker_disabled", "A disabled Worker gets no tokens; its program is stopped.")
WORKER_SUPERSEDED = _problem("worker_superseded", "A superseded Worker gets no tokens.")
WORKER_NOT_APPROVED = _problem(
    "worker_not_approved",
    "A Worker whose enrollment key has mode approve gets no token until an operator approves it.",
)
NO_USABLE_KEY = _problem("no_usable_key", "Without a key that is in force it cannot log in.")
NEVER_SEEN = _problem(
    "never_seen",
    "It does not run, or does not reach the Server: nothing that the Server could have refused has arrived.",
)
WORKER_ABSENT = _problem(
    "worker_absent",
    "It has ended, or does not reach the Server: nothing that the Server could have refused has arrived.",
)
REFUSED_WHILE_ONLINE = _warning(
    "refused_while_online", "Something else uses its name or ID: a second start, a copy, or a guess."
)
IDENTITY_COPIED = _problem(
    "identity_copied",
    "Two directories have one identity; the Server accepts the one that was used first since the copy was made.",
)
TOKEN_FROM_ELSEWHERE = _warning(
    "token_from_elsewhere", "A credential that is used from two networks at once may have been copied."
)

ALL_CHECKS: tuple[Check, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Check))
"""Every check, in the order in which they are made."""
