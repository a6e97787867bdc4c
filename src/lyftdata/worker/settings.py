"""
The Worker's start-up settings, read once into a frozen object.

`docs/reference/settings.md` is generated from the table below.
"""

import os
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from lyftdata.core.api_keys import find_malformation
from lyftdata.core.durations import parse_duration
from lyftdata.core.enrollment_secrets import find_flaw
from lyftdata.core.errors import InvalidInputError, SettingsError
from lyftdata.core.names import format_labels, parse_label_text, parse_worker_id, parse_worker_name
from lyftdata.core.origins import is_loopback, origin_of
from lyftdata.core.records import Labels
from lyftdata.core.secret import Secret
from lyftdata.core.secret_text import parse_secret, trim
from lyftdata.core.settings import (
    LOG_SETTINGS,
    SECRET_VARIABLES,
    Setting,
    one_of,
    parse_switch,
    read_settings,
)
from lyftdata.user_paths import default_jobs_dir, parse_path
from lyftdata.worker.process.command import GRACE_S
from lyftdata.worker.process.restart import NEVER, POLICIES

_MAX_GRACE_S = 3600

_ENROLLMENT_KEY = "LYFTDATA_AUTO_ENROLLMENT_KEY"
# Shorter ones are not keys, and may be part of an honest name.
_MIN_SECRET_LENGTH = 16


DEFAULT_TERMINATION_LOG = "/dev/termination-log"


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The Worker's settings; see `TABLE` for the meaning of each."""

    url: str
    public_url: str | None
    allow_http: bool
    worker_id: str | None
    api_key: Secret | None
    worker_name: str | None
    enrollment_key: Secret | None
    jobs_dir: Path | None
    labels: Labels
    tls_ca: Path | None
    tls_insecure: bool
    restart: str
    stop_grace_s: int
    termination_log: str
    log_format: str | None
    log_level: str
    warnings: tuple[str, ...] = ()
    api_key_file: Path | None = None
    """The file that the API key was read from, which is read again when the key is rotated; None if it came from a variable."""
    enrollment_key_file: Path | None = None
    """The file that the enrollment key was read from; likewise."""


def parse_server_url(text: str) -> str:
    """Read the Server's address: http(s), a host, no path."""
    try:
        parts = urllib.parse.urlsplit(text.strip())
        fine = parts.scheme in {"http", "https"} and parts.hostname and parts.path in {"", "/"}
        if not fine or parts.query or parts.fragment or parts.username or parts.password:
            raise InvalidInputError(
                "url", "must be like https://lyftdata.example.com (no user, no path, no query)"
            )
        return origin_of(text.strip())
    except ValueError as error:
        raise InvalidInputError("url", "must be like https://lyftdata.example.com:3000") from error


def _unread_secret(text: str) -> Secret:
    """
    Accept the enrollment key unchecked: it is checked when it is used (`credentials.choose_credential`).

    An enrolled Worker does not need it, and starts whatever the variable holds.
    """
    return Secret(text)


def parse_stop_grace(text: str) -> int:
    """Read the grace period of the COMMAND, at most an hour; returns seconds."""
    seconds = int(parse_duration(text).total_seconds())
    if seconds > _MAX_GRACE_S:
        raise InvalidInputError("stop_grace", "must be from 0s to 1h")
    return seconds


def parse_tls_ca(text: str) -> Path:
    """Read the path of a file of certificates, and check that it holds certificates."""
    import ssl

    path = parse_path(text)
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise InvalidInputError(
            "tls_ca", f"must be a file of certificates (PEM); {path} holds none"
        ) from error
    except OSError as error:
        raise InvalidInputError(
            "tls_ca",
            f"must be a file of certificates (PEM); {path} cannot be read: {(error.strerror or str(error)).lower()}",
        ) from error
    return path


TABLE: tuple[Setting, ...] = (
    Setting(
        name="LYFTDATA_URL",
        field="url",
        parse=parse_server_url,
        default="http://localhost:3000",
        default_doc="`http://localhost:3000`",
        flag="--url",
        doc="The Server. Plain http to another machine is refused unless `LYFTDATA_ALLOW_HTTP=yes`.",
    ),
    Setting(
        name="LYFTDATA_PUBLIC_URL",
        field="public_url",
        parse=parse_server_url,
        default=None,
        default_doc="none",
        flag="--public-url",
        doc="The Server's issuer (its own LYFTDATA_PUBLIC_URL), if that differs from `LYFTDATA_URL`; checked when the Worker enrolls.",
    ),
    Setting(
        name="LYFTDATA_ALLOW_HTTP",
        field="allow_http",
        parse=parse_switch,
        default=False,
        default_doc="`no`",
        doc="Allows plain http to another machine: anyone who listens on the network can then impersonate the Worker.",
    ),
    Setting(
        name="LYFTDATA_WORKER_ID",
        field="worker_id",
        parse=parse_worker_id,
        default=None,
        default_doc="none",
        flag="--worker-id",
        doc="The Worker's ID on the Server (strategy API key).",
    ),
    Setting(
        name="LYFTDATA_WORKER_API_KEY",
        field="api_key",
        parse=parse_secret,
        default=None,
        default_doc="none",
        secret=True,
        doc="The Worker's API key (strategy API key). A file is read again: a key that is rotated there is used without a restart.",
    ),
    Setting(
        name="LYFTDATA_WORKER_NAME",
        field="worker_name",
        parse=parse_worker_name,
        default=None,
        default_doc="none",
        flag="--worker-name",
        doc="The name to enroll under (strategy Auto-Enrollment). Once enrolled, the Worker starts with this name or with the one "
        "that an operator has given it since. Allowed with an API key, where it has no effect: an operator names the Worker.",
    ),
    Setting(
        name="LYFTDATA_AUTO_ENROLLMENT_KEY",
        field="enrollment_key",
        parse=_unread_secret,
        default=None,
        default_doc="none",
        secret=True,
        doc="The enrollment key (strategy Auto-Enrollment); no longer needed once the Worker is enrolled. "
        "Until then a file is read again at each attempt.",
    ),
    Setting(
        name="LYFTDATA_JOBS_DIR",
        field="jobs_dir",
        parse=parse_path,
        make_default=default_jobs_dir,
        default_doc="`lyftdata/worker` in the user's state directory",
        flag="--jobs-dir",
        doc="The Worker's own directory, mode 0700: its identity key and identity. No two Workers share one.",
    ),
    Setting(
        name="LYFTDATA_WORKER_LABELS",
        field="labels",
        parse=parse_label_text,
        default={},
        default_doc="none",
        flag="--labels",
        doc="Labels, for example `zone=eu-1,gpu`. An operator sets those of an API-key Worker; the ones that it reports are shown next to them.",
    ),
    Setting(
        name="LYFTDATA_TLS_CA",
        field="tls_ca",
        parse=parse_tls_ca,
        default=None,
        default_doc="the system's store",
        flag="--tls-ca",
        doc="Certificates (PEM) to trust instead of the system's. Read again for new connections when the file has changed.",
    ),
    Setting(
        name="LYFTDATA_TLS_INSECURE",
        field="tls_insecure",
        parse=parse_switch,
        default=False,
        default_doc="`no`",
        doc="Does not check the Server's certificate: anyone on the network path can then impersonate the Server. Only for tests.",
    ),
    Setting(
        name="LYFTDATA_RESTART",
        field="restart",
        parse=one_of(*POLICIES),
        default=NEVER,
        default_doc=f"`{NEVER}`",
        flag="--restart",
        doc="Whether a COMMAND that has exited is restarted: `never` (the Worker ends with it), `on-failure` "
        "(unless it ended with 0) or `always`; after a delay that grows from 1 to 60 seconds, and never while the Server does not admit the Worker.",
    ),
    Setting(
        name="LYFTDATA_STOP_GRACE",
        field="stop_grace_s",
        parse=parse_stop_grace,
        default=int(GRACE_S),
        default_doc=f"`{GRACE_S:.0f}s`",
        flag="--stop-grace",
        doc="How long the COMMAND and all its processes have from SIGTERM to SIGKILL, 0s to 1h.",
    ),
    Setting(
        name="LYFTDATA_TERMINATION_LOG",
        field="termination_log",
        parse=str,
        default=DEFAULT_TERMINATION_LOG,
        default_doc=f"`{DEFAULT_TERMINATION_LOG}`",
        doc="A container's termination message (Kubernetes: `terminationMessagePath`): the reason for an unrequested end is written there, "
        "if the file exists.",
    ),
    *LOG_SETTINGS,
)


def read_worker_settings(
    environ: Mapping[str, str],
    flags: Mapping[str, str | None] | None = None,
    *,
    read_file: Callable[[str], str] = lambda path: Path(path).read_text(encoding="utf-8"),
) -> WorkerSettings:
    """
    Read the Worker's settings from the environment and the flags that mirror it.

    Args:
        environ: Environment variables; a secret `X` may come as `X_FILE`.
        flags: By flag, for example `{"--worker-id": "press-01"}`; a flag wins over its variable.
        read_file: Returns the text of an `X_FILE`.

    Raises:
        SettingsError: Names every fault at once.
    """
    # The file of the enrollment key may be gone once the Worker is enrolled, and must not prevent the start then.
    usable = _without_missing_enrollment_file(environ)
    values, warnings = read_settings(
        TABLE,
        environ=usable,
        flags=flags or {},
        read_file=read_file,
    )
    if usable is not environ:
        path = trim(environ[f"{_ENROLLMENT_KEY}_FILE"])
        warnings.append(
            f"{_ENROLLMENT_KEY}_FILE: there is no file {path}; the Worker can start only if it is enrolled already."
        )
    key_file = trim(environ.get("LYFTDATA_WORKER_API_KEY_FILE", ""))
    enrollment_file = trim(usable.get(f"{_ENROLLMENT_KEY}_FILE", ""))
    settings = WorkerSettings(
        **values,
        warnings=(
            *warnings,
            *_malformed_key(values["api_key"]),
            *_malformed_enrollment_key(values["enrollment_key"]),
        ),
        api_key_file=Path(key_file) if key_file else None,
        enrollment_key_file=Path(enrollment_file) if enrollment_file else None,
    )
    _check_no_secret(settings)
    if settings.url.startswith("http:") and not is_loopback(settings.url) and not settings.allow_http:
        raise SettingsError(
            [
                f"LYFTDATA_URL: {settings.url} is plain http to another machine, where anyone who listens on the way can take "
                "the Worker's place. Use https, or set LYFTDATA_ALLOW_HTTP=yes if you accept that."
            ]
        )
    return settings


def _check_no_secret(settings: WorkerSettings) -> None:
    """
    Refuse a name or labels that contain one of the Worker's own secrets: the Server would store and show them.

    Raises:
        SettingsError: One of them does.
    """
    secrets = {"LYFTDATA_WORKER_API_KEY": settings.api_key, _ENROLLMENT_KEY: settings.enrollment_key}
    sent = {
        "LYFTDATA_WORKER_ID": settings.worker_id or "",
        "LYFTDATA_WORKER_NAME": settings.worker_name or "",
        "LYFTDATA_WORKER_LABELS": format_labels(settings.labels or {}),
    }
    problems = [
        f"{variable}: holds what {name} is set to; the Server would store and show it. Set it right, and replace that secret."
        for name, secret in secrets.items()
        for variable, text in sent.items()
        if secret is not None and len(secret) >= _MIN_SECRET_LENGTH and secret.reveal() in text
    ]
    if problems:
        raise SettingsError(problems)


def _malformed_key(api_key: Secret | None) -> list[str]:
    """Warn about a truncated or changed key: the Server rejects it, and gives an unproven caller no reason."""
    problem = None if api_key is None else find_malformation(api_key)
    if problem is None:
        return []
    return [
        f"LYFTDATA_WORKER_API_KEY: not a complete API key ({problem}), so the Server will reject it. "
        "Copy the key again, or ask an operator for a new one."
    ]


def _malformed_enrollment_key(secret: Secret | None) -> list[str]:
    problem = None if secret is None else find_flaw(secret)
    if problem is None:
        return []
    return [
        f"{_ENROLLMENT_KEY}: not a complete enrollment key ({problem}), so the Server will reject it unless its own key is the "
        "same. Copy the key again, or ask an operator for a new one."
    ]


def scrub_environment(environ: dict[str, str] | os._Environ[str]) -> None:
    """Remove every lyftdata secret from the environment, so that no child process inherits them."""
    for name in SECRET_VARIABLES:
        environ.pop(name, None)
        environ.pop(f"{name}_FILE", None)


def _without_missing_enrollment_file(environ: Mapping[str, str]) -> Mapping[str, Any]:
    name = f"{_ENROLLMENT_KEY}_FILE"
    path = trim(environ.get(name, ""))
    if not path or Path(path).exists():
        return environ
    return {key: value for key, value in environ.items() if key != name}
