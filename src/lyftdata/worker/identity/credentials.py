"""Chooses the credential with which a Worker gets its tokens: an API key, or its stored identity."""

from lyftdata.client.credentials import ApiKeyCredential, Credential, IdentityCredential
from lyftdata.core.enrollment_secrets import MIN_ENROLLMENT_KEY_LENGTH
from lyftdata.core.errors import InvalidInputError, SettingsError
from lyftdata.core.origins import same_origin
from lyftdata.core.secret import Secret
from lyftdata.core.secret_text import parse_secret
from lyftdata.core.strategy import (
    SECRET,
    Enroll,
    MoveStoredIdentity,
    RenameStoredIdentity,
    StoredIdentity,
    UseApiKey,
    UseStoredIdentity,
    WorkerInputs,
    choose_strategy,
)
from lyftdata.current_secrets import CurrentApiKey
from lyftdata.worker.identity.state import StateDirectory
from lyftdata.worker.settings import WorkerSettings


def choose_credential(settings: WorkerSettings, directory: StateDirectory) -> Credential | None:
    """
    Return the credential that settings and directory agree on; None if the Server must be asked first (`obtain_identity`).

    Raises:
        SettingsError: They contradict each other (see `core.strategy`), or the enrollment key to use is not a possible one.
    """
    has_api_key = settings.worker_id is not None and settings.api_key is not None
    # A Worker with an API key needs no directory: a directory that it cannot see cannot contradict the key.
    stored = None if has_api_key and not directory.is_visible() else directory.load_identity()
    is_same = stored is not None and is_same_server(settings, stored)
    inputs = WorkerInputs(
        worker_id=settings.worker_id,
        has_api_key=settings.api_key is not None,
        worker_name=settings.worker_name,
        has_enrollment_key=settings.enrollment_key is not None,
        server_url=stored.server_url if stored is not None and is_same else settings.url,
    )
    match choose_strategy(inputs, stored):
        case UseApiKey(worker_id=worker_id):
            key = CurrentApiKey(settings.api_key or Secret(""), settings.api_key_file)
            return ApiKeyCredential(worker_id, key)
        case UseStoredIdentity(identity=identity):
            return IdentityCredential(
                identity.worker_id,
                directory.load_key(),
                issuer=identity.issuer,
                counter=directory.counter(identity.counter_file),
            )
        case MoveStoredIdentity() | RenameStoredIdentity():
            return None
        case Enroll():
            _check_enrollment_key(settings.enrollment_key or Secret(""))
            return None


def is_same_server(settings: WorkerSettings, stored: StoredIdentity) -> bool:
    """Return whether an identity belongs to the configured Server: its address or its issuer has the same origin."""
    return any(same_origin(settings.url, known) for known in (stored.server_url, stored.issuer))


def _check_enrollment_key(secret: Secret) -> None:
    """Raise SettingsError for a secret that no Server accepts as an enrollment key, such as a truncated one."""
    try:
        parse_secret(secret.reveal())
    except InvalidInputError as error:
        raise SettingsError([f"{SECRET}: {error.message}."]) from error
    if len(secret) < MIN_ENROLLMENT_KEY_LENGTH:
        problem = (
            f"{SECRET} has fewer than {MIN_ENROLLMENT_KEY_LENGTH} characters, which no Server accepts: "
            "copy the Server's secret again, whole."
        )
        raise SettingsError([problem])
