"""Enrolls a Worker, for the first time or to replace a copied identity, or has the Server confirm that the stored one was moved or renamed."""

import asyncio
import secrets

import msgspec

from lyftdata.client.credentials import IdentityCredential, new_jti
from lyftdata.client.signing import Signing
from lyftdata.core.enrollment import make_proof
from lyftdata.core.errors import SettingsError
from lyftdata.core.identity_keys import IdentityKey
from lyftdata.core.log_events.worker import (
    ENROLLED,
    ENROLLED_AS_NEW,
    IDENTITY_NOT_SAVED,
    MOVED,
    RENAMED,
)
from lyftdata.core.origins import same_origin
from lyftdata.core.refusals import NameInUseError
from lyftdata.core.strategy import COUNTER_FILE, NAME, StoredIdentity, server_mismatch, worker_name_mismatch
from lyftdata.core.text import clean_text
from lyftdata.core.tokens import unsafe_worker_name
from lyftdata.current_secrets import CurrentEnrollmentKey
from lyftdata.log import emit, get_logger
from lyftdata.worker.client import Issuers, RefusedByServerError, ServerClient
from lyftdata.worker.host_facts import host_facts
from lyftdata.worker.identity.credentials import is_same_server
from lyftdata.worker.identity.state import NextIdentity, StateDirectory, StateError
from lyftdata.worker.settings import WorkerSettings

_log = get_logger(__name__)

# A name has 64 characters at most.
_MAX_NAME_BEFORE_END = 55


async def obtain_identity(
    settings: WorkerSettings,
    directory: StateDirectory,
    client: ServerClient,
    enrollment_key: CurrentEnrollmentKey,
) -> IdentityCredential:
    """
    Move the stored identity to the Server's new address, or to its new name; enroll if there is no identity.

    Raises:
        SettingsError: The identity belongs to another Server or another Worker; or as for `enroll`.
        StateError, ServerUnreachableError, RefusedByServerError: As for `enroll`.
    """
    stored = directory.load_identity()
    if stored is None:
        enrolled = await enroll(settings, directory, client, enrollment_key)
        emit(_log, ENROLLED, worker_id=enrolled.worker_id, name=settings.worker_name)
        return enrolled
    moved = stored if is_same_server(settings, stored) else await _moved(stored, settings, client)
    credential = _credential(moved, directory)
    _save_confirmed(await _renamed(moved, settings, credential, client), stored, directory)
    return credential


def _credential(identity: StoredIdentity, directory: StateDirectory) -> IdentityCredential:
    return IdentityCredential(
        identity.worker_id,
        directory.load_key(),
        issuer=identity.issuer,
        counter=directory.counter(identity.counter_file),
    )


def _save_confirmed(confirmed: StoredIdentity, stored: StoredIdentity, directory: StateDirectory) -> None:
    """Store the confirmed identity; if that fails, the Server is asked again at each start."""
    try:
        directory.save_identity(confirmed)
    except StateError as error:
        emit(_log, IDENTITY_NOT_SAVED, problem=error.message)
    if confirmed.issuer != stored.issuer:
        emit(_log, MOVED, worker_id=stored.worker_id, issuer=confirmed.issuer, previous_issuer=stored.issuer)
    if confirmed.worker_name != stored.worker_name:
        emit(
            _log,
            RENAMED,
            worker_id=stored.worker_id,
            name=confirmed.worker_name,
            previous_name=stored.worker_name,
        )


async def confirmed_identity(
    settings: WorkerSettings, directory: StateDirectory, client: ServerClient
) -> IdentityCredential:
    """
    Return the stored identity if the Server knows it by the configured name. Writes nothing.

    Raises:
        SettingsError: There is none, or it belongs to another Server or another Worker.
        ServerUnreachableError, RefusedByServerError: As in `client`.
    """
    stored = directory.load_identity()
    if stored is None:
        problem = (
            "This Worker is not enrolled yet: start it once with `lyftdata run worker`, then ask for a token."
        )
        raise SettingsError([problem])
    if not is_same_server(settings, stored):
        raise server_mismatch(settings.url, stored)
    credential = _credential(stored, directory)
    await _renamed(stored, settings, credential, client)
    return credential


async def _renamed(
    stored: StoredIdentity, settings: WorkerSettings, credential: IdentityCredential, client: ServerClient
) -> StoredIdentity:
    """
    Return the identity with the configured name, if that is its name on the Server.

    A token for the identity key shows its name on the Server. No enrollment key is used, so no new Worker enrolls because of a name.

    Raises:
        SettingsError: Its name on the Server is another one.
        ServerUnreachableError, RefusedByServerError: As in `client`.
    """
    name = settings.worker_name
    if name is None or stored.may_be_called(name):
        return stored
    reply = await client.token(credential)
    current = unsafe_worker_name(reply.access_token)
    if current != name:
        raise worker_name_mismatch(name, clean_text(current, 64) or stored.worker_name, stored)
    return msgspec.structs.replace(stored, worker_name=name)


async def _moved(stored: StoredIdentity, settings: WorkerSettings, client: ServerClient) -> StoredIdentity:
    """
    Return the identity at the configured address, if the Server there lists the old address as a previous one.

    The Worker never signs for an address that only an answer names: the holder of the old address could name the new Server's, and
    use there what the Worker signed.

    Raises:
        SettingsError: It is another Server, or its issuer is not the configured address.
        ServerUnreachableError: As in `client`.
    """
    issuers = await client.issuers()
    if stored.issuer not in issuers.previous:
        raise server_mismatch(settings.url, stored)
    issuer = _choose_audience(issuers, settings)
    return msgspec.structs.replace(stored, issuer=issuer, server_url=settings.url)


async def enroll(
    settings: WorkerSettings,
    directory: StateDirectory,
    client: ServerClient,
    enrollment_key: CurrentEnrollmentKey,
) -> IdentityCredential:
    """
    Exchange the enrollment key for an identity of the Worker's own, and store it.

    The key pair is on disk before anything is sent; a retry after any failure gets the same ID.

    Raises:
        SettingsError: The Server's issuer is not the configured address.
        StateError: The directory cannot be written.
        ServerUnreachableError, RefusedByServerError: As in `client`.
    """
    name = settings.worker_name or ""
    key = directory.load_or_make_key()
    identity = await _register(settings, client, enrollment_key, key=key, name=name)
    directory.save_identity(identity)
    return IdentityCredential(
        identity.worker_id, key, issuer=identity.issuer, counter=directory.counter(identity.counter_file)
    )


async def enroll_as_new(
    settings: WorkerSettings,
    directory: StateDirectory,
    client: ServerClient,
    enrollment_key: CurrentEnrollmentKey,
) -> IdentityCredential:
    """
    Exchange the enrollment key for a new identity, and replace the one in the directory, which is a copy of another Worker's.

    The name is LYFTDATA_WORKER_NAME if that is not the other Worker's, otherwise that name with a random suffix. If the enrollment
    fails, the directory remains the copy that it was. A retry after any failure gets the same ID.

    Raises:
        SettingsError, StateError, ServerUnreachableError, RefusedByServerError: As for `enroll`.
    """
    stored = directory.load_identity()
    if stored is None:
        return await enroll(settings, directory, client, enrollment_key)
    planned = directory.load_next()
    if planned is None or planned.replaces != stored.worker_id:
        given = settings.worker_name or stored.worker_name
        name = _name_of_copy(given) if stored.may_be_called(given) else given
        planned = NextIdentity(stored.worker_id, name)
        directory.save_next(planned)
    key = directory.load_or_make_next_key()
    try:
        identity = await _register(
            settings, client, enrollment_key, key=key, name=planned.worker_name, copy_of=stored.worker_id
        )
    except RefusedByServerError as refused:
        if refused.cause_code == NameInUseError.code:
            directory.save_next(NextIdentity(stored.worker_id, _name_of_copy(planned.worker_name)))
        raise
    identity = msgspec.structs.replace(
        identity,
        given_name=settings.worker_name or "",
        # A program that still uses the copied key goes on counting in the other file.
        counter_file=f"{COUNTER_FILE}-{identity.worker_id}",
    )
    directory.save_next(msgspec.structs.replace(planned, identity=identity))
    directory.finish_replacement()
    emit(
        _log,
        ENROLLED_AS_NEW,
        worker_id=identity.worker_id,
        name=identity.worker_name,
        copy_of=stored.worker_id,
    )
    return _credential(identity, directory)


def _name_of_copy(name: str) -> str:
    """Return a name that no other Worker has, within the maximum length of a name."""
    return f"{name[:_MAX_NAME_BEFORE_END]}-{secrets.token_hex(4)}"


async def _register(
    settings: WorkerSettings,
    client: ServerClient,
    enrollment_key: CurrentEnrollmentKey,
    *,
    key: IdentityKey,
    name: str,
    copy_of: str | None = None,
) -> StoredIdentity:
    """Enroll a key under a name; raises like `enroll`."""
    issuer = _choose_audience(await client.issuers(), settings)
    proof_key = await asyncio.to_thread(enrollment_key.proof_key, issuer)
    metadata = {
        "client_name": name,
        "jwks": {"keys": [key.public.as_dict()]},
        "token_endpoint_auth_method": "private_key_jwt",
        "labels": settings.labels,
        # Shown to the operator who approves this Worker, if it needs approval.
        "host": host_facts(),
    } | ({} if copy_of is None else {"copy_of": copy_of})

    def sign(signing: Signing) -> str:
        return make_proof(
            proof_key,
            worker_name=name,
            thumbprint=key.public.thumbprint,
            now=signing.now,
            jti=new_jti(),
            nonce=signing.nonce,
        )

    registered = await client.register(sign, metadata=metadata)
    return StoredIdentity(
        issuer=issuer,
        server_url=settings.url,
        worker_id=registered.worker_id,
        worker_name=name,
        ephemeral=registered.ephemeral,
    )


def _choose_audience(issuers: Issuers, settings: WorkerSettings) -> str:
    """
    Return the `aud` to sign for: the configured Server's address, never one that only an answer names.

    Raises:
        SettingsError: The Server does not have that address.
    """
    expected = settings.public_url or settings.url
    for issuer in (issuers.current, *issuers.previous):
        if same_origin(issuer, expected):
            return issuer
    raise SettingsError(
        [
            f"LYFTDATA_URL: the Server at {settings.url} calls itself {clean_text(issuers.current, 200)}. Set LYFTDATA_PUBLIC_URL={settings.url} "
            "on the Server, or, if that address is right, set LYFTDATA_URL or LYFTDATA_PUBLIC_URL to it on the Worker."
        ]
    )


def list_unconfirmed(settings: WorkerSettings, directory: StateDirectory) -> list[str]:
    """Return what the Server must confirm at the next start before the stored identity is used, one sentence each."""
    stored = None if settings.api_key is not None else directory.load_identity()
    if stored is None:
        return []
    found = []
    if not is_same_server(settings, stored):
        found.append(
            f"LYFTDATA_URL: the stored identity is of {stored.issuer}. The Worker starts only if the Server at {settings.url} "
            "lists that address in LYFTDATA_PREVIOUS_PUBLIC_URLS."
        )
    if not stored.may_be_called(settings.worker_name):
        found.append(
            f"{NAME}: the stored identity is of Worker '{stored.worker_name}' ({stored.worker_id}). The Worker starts only if "
            f"the Server has renamed it to '{settings.worker_name}'."
        )
    return found
