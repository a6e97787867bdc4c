"""How a Worker gets its tokens: by API key, or by signing with its identity key."""

import base64
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec

from lyftdata.core.assertions import make_assertion
from lyftdata.core.enrollment import MIN_ENROLLMENT_KEY_LENGTH, EnrollmentKey, make_proof
from lyftdata.core.errors import InvalidInputError, SettingsError
from lyftdata.core.identity_keys import IdentityKey
from lyftdata.core.nonces import unsafe_nonce_time
from lyftdata.core.origins import same_origin
from lyftdata.core.records import Strategy
from lyftdata.core.secret import Secret
from lyftdata.core.secret_text import parse_secret
from lyftdata.core.strategy import (
    NAME,
    SECRET,
    Enroll,
    MoveStoredIdentity,
    RenameStoredIdentity,
    StoredIdentity,
    UseApiKey,
    UseStoredIdentity,
    WorkerInputs,
    another_name,
    another_server,
    choose_strategy,
)
from lyftdata.core.text import clean_text
from lyftdata.core.tokens import unsafe_worker_name
from lyftdata.log import get_logger
from lyftdata.watched_file import CurrentApiKey
from lyftdata.worker.client import Issuers, RefusedByServerError, ServerClient, TokenReply
from lyftdata.worker.identity.state import StateDirectory, StateError
from lyftdata.worker.server_clock import ServerClock
from lyftdata.worker.settings import WorkerSettings

_log = get_logger(__name__)

T = TypeVar("T")

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Credential(Protocol):
    """Whatever a Worker proves itself with."""

    worker_id: str
    strategy: Strategy

    def version(self) -> str:
        """Return what changes when the next token would be got by another secret; it gives nothing away."""
        ...

    async def fetch_token(
        self, client: ServerClient, *, resource: str | None = None, scope: str | None = None
    ) -> TokenReply:
        """
        Ask for a token; raises as `ServerClient.token`.

        Args:
            client: The Server.
            resource: Whom the token is for (RFC 8707); None for the Server.
            scope: What it is to allow (RFC 6749, section 3.3); None for all that the Worker may.
        """
        ...


class ApiKeyCredential:
    """A Worker ID and an API key (`client_secret_post`), which may be rotated while the Worker runs."""

    strategy = Strategy.API_KEY

    def __init__(self, worker_id: str, api_key: CurrentApiKey) -> None:
        self.worker_id = worker_id
        self._api_key = api_key

    def version(self) -> str:
        """Return the version of the key that its file holds now."""
        return self._api_key.version()

    async def fetch_token(
        self, client: ServerClient, *, resource: str | None = None, scope: str | None = None
    ) -> TokenReply:
        """Ask for a token."""
        form = {
            "grant_type": "client_credentials",
            "client_id": self.worker_id,
            "client_secret": self._api_key.read().reveal(),
        }
        return await client.token(form | _for(resource, scope))


class IdentityCredential:
    """An identity key of the Worker's own (`private_key_jwt`, RFC 7523)."""

    strategy = Strategy.AUTO_ENROLLMENT

    def __init__(self, identity: StoredIdentity, key: IdentityKey) -> None:
        self.worker_id = identity.worker_id
        self._issuer = identity.issuer
        self._key = key

    def version(self) -> str:
        """Return what never changes: an identity stays what it is."""
        return self.worker_id

    async def fetch_token(
        self, client: ServerClient, *, resource: str | None = None, scope: str | None = None
    ) -> TokenReply:
        """Ask for a token with an assertion made for this one request."""

        async def ask(signing: Signing) -> TokenReply:
            assertion = make_assertion(
                self._key,
                worker_id=self.worker_id,
                audience=self._issuer,
                now=signing.now,
                jti=new_jti(),
                nonce=signing.nonce,
            )
            form = {
                "grant_type": "client_credentials",
                "client_assertion_type": _ASSERTION_TYPE,
                "client_assertion": assertion,
            }
            return await client.token(form | _for(resource, scope))

        return await signed_for_now(
            client.server_clock, ask, fetch_nonce=lambda: client.nonce(self.worker_id)
        )


def _for(resource: str | None, scope: str | None) -> dict[str, str]:
    wanted = {"resource": resource, "scope": scope}
    return {name: value for name, value in wanted.items() if value is not None}


def choose_credential(settings: WorkerSettings, directory: StateDirectory) -> Credential | None:
    """
    Return the credential that settings and directory agree on; None means that the Server must be asked first (`obtain_identity`).

    Raises:
        SettingsError: They do not agree (see `core.strategy`), or the enrollment key that would be used cannot be one.
    """
    has_api_key = settings.worker_id is not None and settings.api_key is not None
    # A Worker with an API key needs no directory: one that it cannot see holds no identity that contradicts the key.
    stored = None if has_api_key and not directory.is_visible() else directory.load_identity()
    is_same_server = stored is not None and _is_same_server(settings, stored)
    inputs = WorkerInputs(
        worker_id=settings.worker_id,
        has_api_key=settings.api_key is not None,
        worker_name=settings.worker_name,
        has_enrollment_key=settings.enrollment_key is not None,
        server_url=stored.server_url if stored is not None and is_same_server else settings.url,
    )
    match choose_strategy(inputs, stored):
        case UseApiKey(worker_id=worker_id):
            key = CurrentApiKey(settings.api_key or Secret(""), settings.api_key_file)
            return ApiKeyCredential(worker_id, key)
        case UseStoredIdentity(identity=identity):
            return IdentityCredential(identity, directory.load_key())
        case MoveStoredIdentity() | RenameStoredIdentity():
            return None
        case Enroll():
            _check_enrollment_key(settings.enrollment_key or Secret(""))
            return None


def list_unconfirmed(settings: WorkerSettings, directory: StateDirectory) -> list[str]:
    """Return what the Server must confirm at the start before the stored identity is used, one sentence each."""
    stored = None if settings.api_key is not None else directory.load_identity()
    if stored is None:
        return []
    found = []
    if not _is_same_server(settings, stored):
        found.append(
            f"LYFTDATA_URL: the stored identity is of {stored.issuer}. The Worker starts only if the Server at {settings.url} "
            "lists that address in LYFTDATA_PREVIOUS_PUBLIC_URLS."
        )
    if settings.worker_name not in {None, stored.worker_name}:
        found.append(
            f"{NAME}: the stored identity is of Worker '{stored.worker_name}' ({stored.worker_id}). The Worker starts only if "
            f"the Server has renamed it to '{settings.worker_name}'."
        )
    return found


def _is_same_server(settings: WorkerSettings, stored: StoredIdentity) -> bool:
    """Another spelling of the same Server (localhost, 127.0.0.1, its public name) is not another Server."""
    return any(same_origin(settings.url, known) for known in (stored.server_url, stored.issuer))


def _check_enrollment_key(secret: Secret) -> None:
    """No Server takes such a secret for its own: this one was cut, or is something else, and can never be right."""
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


async def obtain_identity(
    settings: WorkerSettings, directory: StateDirectory, client: ServerClient
) -> IdentityCredential:
    """
    Move the stored identity to the Server's new address, or to its new name; enroll where there is none.

    Raises:
        SettingsError: It is another Server's, or another Worker's; or as `enroll`.
        StateError, ServerUnreachableError, RefusedByServerError: As `enroll`.
    """
    stored = directory.load_identity()
    if stored is None:
        enrolled = await enroll(settings, directory, client)
        _log.info("enrolled", worker_id=enrolled.worker_id, name=settings.worker_name)
        return enrolled
    moved = stored if _is_same_server(settings, stored) else await _moved(stored, settings, client)
    credential = IdentityCredential(moved, directory.load_key())
    _save_confirmed(await _renamed(moved, settings, credential, client), stored, directory)
    return credential


def _save_confirmed(confirmed: StoredIdentity, stored: StoredIdentity, directory: StateDirectory) -> None:
    """Keep what the Server has confirmed; where that fails, it is asked again at each start."""
    try:
        directory.save_identity(confirmed)
    except StateError as error:
        _log.warning("identity_not_saved", problem=error.message)
    if confirmed.issuer != stored.issuer:
        _log.info("moved", worker_id=stored.worker_id, issuer=confirmed.issuer, previous_issuer=stored.issuer)
    if confirmed.worker_name != stored.worker_name:
        _log.info(
            "renamed",
            worker_id=stored.worker_id,
            name=confirmed.worker_name,
            previous_name=stored.worker_name,
        )


async def confirmed_identity(
    settings: WorkerSettings, directory: StateDirectory, client: ServerClient
) -> IdentityCredential:
    """
    Return the stored identity if the Server has it under the name that the Worker was given. Writes nothing.

    Raises:
        SettingsError: There is none, or it is another Server's or another Worker's.
        ServerUnreachableError, RefusedByServerError: As in `client`.
    """
    stored = directory.load_identity()
    if stored is None:
        problem = (
            "This Worker is not enrolled yet: start it once with `lyftdata run worker`, then ask for a token."
        )
        raise SettingsError([problem])
    if not _is_same_server(settings, stored):
        raise another_server(settings.url, stored)
    credential = IdentityCredential(stored, directory.load_key())
    await _renamed(stored, settings, credential, client)
    return credential


async def _renamed(
    stored: StoredIdentity, settings: WorkerSettings, credential: IdentityCredential, client: ServerClient
) -> StoredIdentity:
    """
    Return the identity under the name that the Worker was given, if that is its name on the Server.

    A token by the identity key shows that name. No enrollment key is used and no other Worker is enrolled for a name.

    Raises:
        SettingsError: The Server has it under another name.
        ServerUnreachableError, RefusedByServerError: As in `client`.
    """
    name = settings.worker_name
    if name is None or name == stored.worker_name:
        return stored
    reply = await credential.fetch_token(client)
    current = unsafe_worker_name(reply.access_token)
    if current != name:
        raise another_name(name, clean_text(current, 64) or stored.worker_name, stored)
    return msgspec.structs.replace(stored, worker_name=name)


async def _moved(stored: StoredIdentity, settings: WorkerSettings, client: ServerClient) -> StoredIdentity:
    """
    Return the identity at the address that the Worker was given, if the Server there says that it had the old one.

    An address that only an answer names is never signed for: the holder of the old one could name the new Server's, and
    use there what the Worker signs.

    Raises:
        SettingsError: It is another Server, or calls itself by another address than the one this Worker was given.
        ServerUnreachableError: As in `client`.
    """
    issuers = await client.issuers()
    if stored.issuer not in issuers.previous:
        raise another_server(settings.url, stored)
    issuer = _choose_audience(issuers, settings)
    return msgspec.structs.replace(stored, issuer=issuer, server_url=settings.url)


async def enroll(
    settings: WorkerSettings, directory: StateDirectory, client: ServerClient
) -> IdentityCredential:
    """
    Exchange the enrollment key for an identity of the Worker's own, and store it.

    The key pair is on the disk before anything is sent; asking again after any failure gives the same ID.

    Raises:
        SettingsError: The Server calls itself by another address than the one this Worker was given.
        StateError: The directory cannot be written.
        ServerUnreachableError, RefusedByServerError: As in `client`.
    """
    name, secret = settings.worker_name or "", settings.enrollment_key or Secret("")
    key = directory.load_or_make_key()
    issuer = _choose_audience(await client.issuers(), settings)
    metadata = {
        "client_name": name,
        "jwks": {"keys": [key.public.as_dict()]},
        "token_endpoint_auth_method": "private_key_jwt",
        "labels": settings.labels,
    }

    async def ask(signing: Signing) -> str:
        proof = make_proof(
            EnrollmentKey(secret),
            audience=issuer,
            worker_name=name,
            thumbprint=key.public.thumbprint,
            now=signing.now,
            jti=new_jti(),
            nonce=signing.nonce,
        )
        return await client.register(credential=proof, metadata=metadata)

    worker_id = await signed_for_now(client.server_clock, ask)
    identity = StoredIdentity(issuer=issuer, server_url=settings.url, worker_id=worker_id, worker_name=name)
    directory.save_identity(identity)
    return IdentityCredential(identity, key)


class Signing(msgspec.Struct, frozen=True):
    """For which time something is signed, and with which nonce, if any."""

    now: datetime
    nonce: str | None = None


async def signed_for_now(
    clock: ServerClock,
    ask: Callable[[Signing], Awaitable[T]],
    *,
    fetch_nonce: Callable[[], Awaitable[str]] | None = None,
) -> T:
    """
    Ask with what is signed for the host's time; where that is refused, once more with the nonce of the answer.

    The nonce shows that it is signed now: where the host's clock is off, and where the Server cannot know that a plain
    assertion is not from before the Worker was disabled, or from before a crash. An unproven caller is not told which.

    Args:
        clock: The host's.
        ask: Signs and asks.
        fetch_nonce: Gets a nonce beforehand, once it is known that without one the Server refuses.

    Raises:
        RefusedByServerError: Not for good where the answer brings no nonce and the clock is off: a clock that is being set
            right lets this very Worker in.
    """
    first = Signing(clock.now())
    if clock.needs_nonce and fetch_nonce is not None:
        first = _signing_with(await fetch_nonce()) or first
    try:
        return await ask(first)
    except RefusedByServerError as refused:
        second = None if refused.cause_code else _signing_with(refused.nonce)
        if second is None:
            if not refused.cause_code and clock.is_skewed():
                refused.final, refused.clock_off = False, clock.describe_skew()
            raise
    answer = await ask(second)
    clock.note_accepted(second.now)
    return answer


def _signing_with(nonce: str | None) -> Signing | None:
    """Return a signing for the time that a nonce names; None if it is not a nonce."""
    issued_at = unsafe_nonce_time(nonce or "")
    return None if issued_at is None else Signing(issued_at, nonce)


def new_jti() -> str:
    """Return an identifier that nobody can guess and that never repeats (128 bits)."""
    return base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()


def _choose_audience(issuers: Issuers, settings: WorkerSettings) -> str:
    """
    Return which of the Server's addresses to sign for: the one that the Worker was sent to, never one that only an answer names.

    Raises:
        SettingsError: The Server has not got that address.
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
