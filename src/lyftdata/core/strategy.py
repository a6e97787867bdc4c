"""
Chooses a Worker's strategy from its settings and the content of its directory; a pure function.

| the Worker has                                                  | it uses                  |
|-----------------------------------------------------------------|--------------------------|
| an ID and an API key                                            | the API key              |
| a stored identity for this Server (and nothing that contradicts)| that identity            |
| a stored identity for the address that this Server had before   | that identity            |
| a stored identity, and the name that the Server gives it now    | that identity            |
| a name and an enrollment key                                    | Auto-Enrollment          |
| anything else                                                   | nothing: it does not start |

A stored identity takes precedence over an enrollment key, which may have been removed or rotated since.

Attack stopped: a Worker that guesses which credential was meant could present the credential of one Server to another. So
contradicting settings are an error, never resolved by a guess.
"""

import msgspec

from lyftdata.core.errors import SettingsError
from lyftdata.core.structs import prepare_structs

ID = "LYFTDATA_WORKER_ID"
KEY = "LYFTDATA_WORKER_API_KEY"
NAME = "LYFTDATA_WORKER_NAME"
SECRET = "LYFTDATA_AUTO_ENROLLMENT_KEY"  # noqa: S105 - a variable's name
DIRECTORY = "LYFTDATA_JOBS_DIR"
COUNTER_FILE = "signature-counter"


class WorkerInputs(msgspec.Struct, frozen=True, kw_only=True):
    """A Worker's settings; for secrets only whether they are set."""

    worker_id: str | None
    has_api_key: bool
    worker_name: str | None
    has_enrollment_key: bool
    server_url: str


class StoredIdentity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    The identity stored in a Worker's directory: an auto-enrolled Worker of one Server.

    `server_url` is the LYFTDATA_URL at which it enrolled, `issuer` the issuer of that Server; `worker_name` is the name with
    which it enrolled, or another LYFTDATA_WORKER_NAME that the Server has confirmed since. The entry of an `ephemeral` Worker is
    removed when it leaves, and it may enroll again. A copy that enrolled as a new Worker has another name than the LYFTDATA_WORKER_NAME
    of that time, which is kept as `given_name`. `counter_file` is the file that counts its signatures.
    """

    issuer: str
    server_url: str
    worker_id: str
    worker_name: str
    ephemeral: bool = False
    given_name: str = ""
    counter_file: str = COUNTER_FILE

    def may_be_called(self, name: str | None) -> bool:
        """Return whether LYFTDATA_WORKER_NAME matches, without asking the Server; None matches always."""
        return name in {None, self.worker_name} or (bool(self.given_name) and name == self.given_name)


prepare_structs(StoredIdentity)


class UseApiKey(msgspec.Struct, frozen=True):
    """Authenticate with an API key."""

    worker_id: str


class UseStoredIdentity(msgspec.Struct, frozen=True):
    """Authenticate with the identity key in the Worker's directory."""

    identity: StoredIdentity


class MoveStoredIdentity(msgspec.Struct, frozen=True):
    """
    Authenticate with the identity key, at the new address of the same Server.

    The caller must still verify that it is the same Server: the one at the new address must list the old address as a previous
    issuer. Otherwise a Worker would sign for any Server that its settings name (docs/decisions/0021).
    """

    identity: StoredIdentity


class RenameStoredIdentity(msgspec.Struct, frozen=True):
    """
    Authenticate with the identity key, with another name than the stored one.

    The caller must still verify that it is the same Worker: the Server must confirm this name.
    """

    identity: StoredIdentity


class Enroll(msgspec.Struct, frozen=True):
    """Enroll with this name."""

    worker_name: str


Choice = UseApiKey | UseStoredIdentity | MoveStoredIdentity | RenameStoredIdentity | Enroll


def choose_strategy(inputs: WorkerInputs, stored: StoredIdentity | None) -> Choice:
    """
    Return the one strategy on which the settings and the directory agree.

    Raises:
        SettingsError: They contradict each other; one sentence names every variable at fault and what to set or unset.
    """
    wants_api_key = inputs.worker_id is not None or inputs.has_api_key
    if wants_api_key:
        return _api_key(inputs, stored)
    if stored is not None:
        return _stored(inputs, stored)
    return _enroll(inputs)


def _api_key(inputs: WorkerInputs, stored: StoredIdentity | None) -> UseApiKey:
    if inputs.has_enrollment_key:
        given = " and ".join(
            name for name, there in ((ID, inputs.worker_id), (KEY, inputs.has_api_key)) if there
        )
        raise _refuse(
            f"{given} and {SECRET} belong to two strategies, and a Worker uses exactly one: "
            f"unset {SECRET} to use an API key, or unset {given} to enroll."
        )
    if stored is not None:
        raise _refuse(
            f"The Worker's directory ({DIRECTORY}) holds the identity of the auto-enrolled Worker '{stored.worker_id}': "
            f"unset {ID} and {KEY} to be that Worker, or set {DIRECTORY} to a directory of this Worker's own."
        )
    if inputs.worker_id is None:
        raise _refuse(f"{KEY} is set without {ID}: set {ID} to the ID of the Worker on the Server.")
    if not inputs.has_api_key:
        raise _refuse(
            f"{ID} is set without {KEY}: set {KEY} to an API key, or, to enroll, unset {ID} and set {NAME} and {SECRET}."
        )
    return UseApiKey(inputs.worker_id)


def _stored(
    inputs: WorkerInputs, stored: StoredIdentity
) -> UseStoredIdentity | MoveStoredIdentity | RenameStoredIdentity:
    if inputs.server_url != stored.server_url:
        return MoveStoredIdentity(stored)
    if not stored.may_be_called(inputs.worker_name):
        return RenameStoredIdentity(stored)
    return UseStoredIdentity(stored)


def worker_name_mismatch(given: str, current: str, stored: StoredIdentity) -> SettingsError:
    """
    Return the error for a Worker whose LYFTDATA_WORKER_NAME is not its name on the Server.

    Args:
        given: The value of LYFTDATA_WORKER_NAME.
        current: The Worker's name on the Server.
        stored: Its identity.
    """
    return _refuse(
        f"{NAME} is '{given}', but the directory ({DIRECTORY}) holds the identity of Worker '{current}' ({stored.worker_id}): "
        f"unset {NAME}, or set {DIRECTORY} to a directory of this Worker's own. If it is this Worker under another name, "
        f"rename it on the Server first: lyftdata workers rename {stored.worker_id} '{given}'"
    )


def server_mismatch(url: str, stored: StoredIdentity) -> SettingsError:
    """Return the error for a Worker whose LYFTDATA_URL is a Server at which it has no identity."""
    return _refuse(
        f"LYFTDATA_URL is {url}, but the directory ({DIRECTORY}) holds an identity at the Server {stored.issuer}: set "
        f"LYFTDATA_URL to that Server, or set {DIRECTORY} to another directory to enroll there. If it is the same Server at a new "
        f"address, add {stored.issuer} to LYFTDATA_PREVIOUS_PUBLIC_URLS on the Server."
    )


def _enroll(inputs: WorkerInputs) -> Enroll:
    if inputs.worker_name is not None and inputs.has_enrollment_key:
        return Enroll(inputs.worker_name)
    if inputs.has_enrollment_key:
        raise _refuse(f"{SECRET} is set without {NAME}: set {NAME} to the name this Worker is to have.")
    if inputs.worker_name is not None:
        raise _refuse(
            f"{NAME} is set without a credential: set {SECRET} to enroll, or {ID} and {KEY} to use an API key."
        )
    raise _refuse(
        f"This Worker has no credential: set {ID} and {KEY} (API key), or {NAME} and {SECRET} (Auto-Enrollment)."
    )


def _refuse(problem: str) -> SettingsError:
    return SettingsError([problem])
