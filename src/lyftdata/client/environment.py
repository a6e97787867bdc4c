"""Reads the client's settings on a Worker host, from the same variables as `lyftdata run worker`."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import msgspec

from lyftdata.bounded_http import checked_url
from lyftdata.client.confirmed_name import UnconfirmedName
from lyftdata.client.counter_file import CounterFile
from lyftdata.client.credentials import ApiKeyCredential, Credential, IdentityCredential
from lyftdata.core.errors import InvalidInputError, SettingsError
from lyftdata.core.identity_keys import IdentityKey
from lyftdata.core.log_events.client import COUNTER_NOT_SAVED
from lyftdata.core.names import parse_worker_id, parse_worker_name
from lyftdata.core.origins import same_origin
from lyftdata.core.secret import Secret
from lyftdata.core.secret_text import parse_secret, trim
from lyftdata.core.settings import Setting, parse_switch, read_settings
from lyftdata.core.strategy import (
    COUNTER_FILE,
    Choice,
    MoveStoredIdentity,
    RenameStoredIdentity,
    StoredIdentity,
    UseStoredIdentity,
    WorkerInputs,
    choose_strategy,
    server_mismatch,
)
from lyftdata.current_secrets import CurrentApiKey
from lyftdata.library_log import emit
from lyftdata.private_files import PrivateDirectory
from lyftdata.user_paths import NO_HOME, default_jobs_dir, is_visible, parse_path

_log = logging.getLogger("lyftdata.client")


def _url(text: str) -> str:
    return checked_url("LYFTDATA_URL", text, allow_http=True)


def _row(
    name: str, field: str, parse: Callable[[str], object], default: object = None, *, secret: bool = False
) -> Setting:
    return Setting(
        name=name, field=field, parse=parse, default=default, default_doc="", doc="", secret=secret
    )


# The Worker's own table, docs/reference/settings.md, describes each.
_TABLE = (
    _row("LYFTDATA_URL", "url", _url, "http://localhost:3000"),
    _row("LYFTDATA_ALLOW_HTTP", "allow_http", parse_switch, default=False),
    _row("LYFTDATA_WORKER_ID", "worker_id", parse_worker_id),
    _row("LYFTDATA_WORKER_API_KEY", "api_key", parse_secret, secret=True),
    _row("LYFTDATA_WORKER_NAME", "worker_name", parse_worker_name),
    _row("LYFTDATA_JOBS_DIR", "jobs_dir", parse_path),
    _row("LYFTDATA_TLS_CA", "tls_ca", parse_path),
)


class WorkerHost(msgspec.Struct, frozen=True, kw_only=True):
    """The Server's address, and the credential of this host's Worker."""

    url: str
    allow_http: bool
    tls_ca: Path | None
    credential: Credential
    unconfirmed: UnconfirmedName | None
    """The name for the Server to confirm, if it is not the one in the Worker's directory."""


def read_worker_host(
    environ: Mapping[str, str],
    *,
    read_file: Callable[[str], str] = lambda path: Path(path).read_text(encoding="utf-8"),
) -> WorkerHost:
    """
    Read this host's Worker from the environment: an API key, or the identity in its directory.

    Raises:
        SettingsError: There is neither, or the two contradict each other.
    """
    values, _ = read_settings(_TABLE, environ=environ, flags={}, read_file=read_file)
    directory: Path | None = values["jobs_dir"] or default_jobs_dir()
    has_api_key = values["worker_id"] is not None and values["api_key"] is not None
    # Like the agent: with an API key, a directory that this user cannot see is not needed.
    if directory is None or (has_api_key and not is_visible(directory)):
        stored = None
    else:
        stored = _load_identity(directory)
    url = values["url"]
    if stored is not None and any(same_origin(url, known) for known in (stored.server_url, stored.issuer)):
        url = stored.server_url  # another spelling of the same Server
    inputs = WorkerInputs(
        worker_id=values["worker_id"],
        has_api_key=values["api_key"] is not None,
        worker_name=values["worker_name"],
        has_enrollment_key=False,
        server_url=url,
    )
    # The agent passes its ID, but not its key, to the program that it runs: that ID does not contradict a stored identity.
    if stored is not None and stored.worker_id == inputs.worker_id and not inputs.has_api_key:
        inputs = msgspec.structs.replace(inputs, worker_id=None)
    choice, credential = _choose(inputs, stored, _current_key(values["api_key"], environ), directory)
    return WorkerHost(
        url=values["url"],
        allow_http=values["allow_http"],
        tls_ca=values["tls_ca"],
        credential=credential,
        unconfirmed=UnconfirmedName(inputs.worker_name or "", choice.identity)
        if isinstance(choice, RenameStoredIdentity)
        else None,
    )


def _choose(
    inputs: WorkerInputs, stored: StoredIdentity | None, api_key: CurrentApiKey | None, directory: Path | None
) -> tuple[Choice, Credential]:
    if directory is None and not (inputs.worker_id and api_key):
        raise SettingsError(
            [f"LYFTDATA_JOBS_DIR: {NO_HOME}, or set LYFTDATA_WORKER_ID and LYFTDATA_WORKER_API_KEY."]
        )
    if stored is None and inputs.worker_id is None and api_key is None:
        raise SettingsError(
            [
                f"This host's Worker has no API key, and {directory} holds no identity. Set LYFTDATA_WORKER_ID and "
                "LYFTDATA_WORKER_API_KEY, or let it enroll first (`lyftdata run worker`) and set LYFTDATA_JOBS_DIR."
            ]
        )
    choice = choose_strategy(inputs, stored)
    if isinstance(choice, MoveStoredIdentity):
        # Only the agent moves the identity; this client does not write to the Worker's directory.
        raise server_mismatch(inputs.server_url, choice.identity)
    if isinstance(choice, UseStoredIdentity | RenameStoredIdentity) and directory is not None:
        identity = choice.identity
        return choice, IdentityCredential(
            identity.worker_id,
            _load_key(directory),
            issuer=identity.issuer,
            counter=_counter(directory, identity.counter_file),
            read_key=partial(read_current_key, directory.absolute(), identity.worker_id),
        )
    return choice, ApiKeyCredential(inputs.worker_id or "", api_key or CurrentApiKey(Secret("")))


def counter_in(directory: Path, worker_id: str) -> CounterFile:
    """
    Return the signature counter of a Worker's directory.

    Raises:
        SettingsError: The stored identity cannot be read.
    """
    stored = _load_identity(directory)
    is_its = stored is not None and stored.worker_id == worker_id
    return _counter(directory, stored.counter_file if stored is not None and is_its else COUNTER_FILE)


def _counter(directory: Path, name: str) -> CounterFile:
    return CounterFile(
        directory, name=name, on_problem=lambda problem: emit(_log, COUNTER_NOT_SAVED, problem=problem)
    )


def _current_key(api_key: Secret | None, environ: Mapping[str, str]) -> CurrentApiKey | None:
    file = trim(environ.get("LYFTDATA_WORKER_API_KEY_FILE", ""))
    return None if api_key is None else CurrentApiKey(api_key, Path(file) if file else None)


def _load_identity(directory: Path) -> StoredIdentity | None:
    raw = _read(directory, "identity.json")
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=StoredIdentity)
    except msgspec.DecodeError as error:
        raise SettingsError([f"{directory / 'identity.json'} is damaged."]) from error


def _load_key(directory: Path) -> IdentityKey:
    raw = _read(directory, "identity-key.pem")
    if raw is None:
        raise SettingsError([f"{directory} holds an identity without its key."])
    try:
        return IdentityKey.from_pem(raw)
    except InvalidInputError as error:
        raise SettingsError([f"{directory / 'identity-key.pem'} {error.message}."]) from error


def read_current_key(directory: Path, worker_id: str) -> IdentityKey | None:
    """Return a Worker's present identity key, which its agent may have rotated; None if the directory now belongs to another Worker, or cannot be read."""
    try:
        stored = _load_identity(directory)
        return None if stored is None or stored.worker_id != worker_id else _load_key(directory)
    except SettingsError:
        return None


def _read(directory: Path, name: str) -> bytes | None:
    """
    Return the content of a file in the Worker's directory, None if there is no such file or directory.

    Planted identity: a user who can write there could make this program act as another Worker. The agent checks the same.
    """
    files = PrivateDirectory(directory, named_by="LYFTDATA_JOBS_DIR", child="worker", for_root=True)
    try:
        return files.read(name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(
            [f"LYFTDATA_JOBS_DIR: {directory / name} cannot be read: {error.strerror}."]
        ) from error
