"""
Reads start-up settings from flags, environment variables and files, as described by a table, and reports all faults at once.

A setting comes from its flag, otherwise from its environment variable, otherwise, if it is a secret, from the file that
`X_FILE` names. Messages name variables and never repeat the value of a secret. Each program has its own table.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from lyftdata.core.command_tokens import GIVEN_TO_COMMAND
from lyftdata.core.errors import InvalidInputError, SettingsError
from lyftdata.core.secret_text import trim
from lyftdata.core.service_links import is_service_link

PREFIX = "LYFTDATA_"

SECRET_VARIABLES = (
    "LYFTDATA_API_TOKEN",
    "LYFTDATA_WORKER_API_KEY",
    "LYFTDATA_AUTO_ENROLLMENT_KEY",
    "LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS",
    "LYFTDATA_ADMIN_INIT_PASSWORD",
    "LYFTDATA_SECRET_KEY",
    "LYFTDATA_SECRET_KEY_NEXT",
    "LYFTDATA_DATABASE_URL",
    "LYFTDATA_OIDC_CLIENT_SECRET",
)
"""Every secret setting of Server, Worker and command line: one environment file may serve all of them."""

PLAIN_VARIABLES = (
    "LYFTDATA_APPROVAL_EXPIRES_AFTER",
    "LYFTDATA_ARCHIVE_AFTER",
    "LYFTDATA_ALLOW_HTTP",
    "LYFTDATA_ALLOW_UNVERIFIED_DATABASE",
    "LYFTDATA_AUDIT_RETENTION",
    "LYFTDATA_BIND_ADDRESS",
    "LYFTDATA_CONFIG_DIR",
    "LYFTDATA_DISABLE_TLS",
    "LYFTDATA_EPHEMERAL_LEAVE_AFTER",
    "LYFTDATA_EVENTS_ALLOWED_NETWORKS",
    "LYFTDATA_EVENTS_DIR",
    "LYFTDATA_IDENTITY_COPY_POLICY",
    "LYFTDATA_JOBS_DIR",
    "LYFTDATA_LOG_DECISIONS",
    "LYFTDATA_LOG_FORMAT",
    "LYFTDATA_LOG_LEVEL",
    "LYFTDATA_OIDC_CLIENT_ID",
    "LYFTDATA_OIDC_ISSUER",
    "LYFTDATA_OIDC_NAME_CLAIM",
    "LYFTDATA_OIDC_ROLES",
    "LYFTDATA_OIDC_SCOPES",
    "LYFTDATA_OIDC_TLS_CA",
    "LYFTDATA_OPERATOR_IDLE_LIMIT",
    "LYFTDATA_OWN_NETWORKS",
    "LYFTDATA_PASSWORD_SIGN_IN",
    "LYFTDATA_PREVIOUS_PUBLIC_URLS",
    "LYFTDATA_PROCESSES",
    "LYFTDATA_PUBLIC_URL",
    "LYFTDATA_REAUTHENTICATE_AFTER",
    "LYFTDATA_REPLACED_REGISTRATIONS_KEPT_FOR",
    "LYFTDATA_RESTART",
    "LYFTDATA_SECOND_FACTOR",
    "LYFTDATA_SHUTDOWN_DELAY",
    "LYFTDATA_SIGNING_ALGORITHM",
    "LYFTDATA_STAGING_DIR",
    "LYFTDATA_STOP_GRACE",
    "LYFTDATA_TERMINATION_LOG",
    "LYFTDATA_TLS_CA",
    "LYFTDATA_TLS_CERT",
    "LYFTDATA_TLS_INSECURE",
    "LYFTDATA_TLS_KEY",
    "LYFTDATA_TRACING",
    "LYFTDATA_TRUSTED_PROXIES",
    "LYFTDATA_URL",
    "LYFTDATA_WORKER_ID",
    "LYFTDATA_WORKER_LABELS",
    "LYFTDATA_WORKER_NAME",
    "LYFTDATA_WORKER_NAME_POLICY",
    "LYFTDATA_WORKER_TLS_CA",
    "LYFTDATA_WORKER_TOKEN_TTL",
)
"""Every other setting of any lyftdata program: none of them reports another's setting as unknown."""

_KNOWN = frozenset(
    {*PLAIN_VARIABLES, *SECRET_VARIABLES, *(f"{name}_FILE" for name in SECRET_VARIABLES), *GIVEN_TO_COMMAND}
)


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """
    One row of a table of settings.

    `parse` raises InvalidInputError; its message follows the variable's name, so it begins with "must". Secret disclosure: a
    secret has no flag, since any user can read the command line in `ps`. The flag of a switch takes no value. `make_default` computes
    a default, which may fail, and is called only if nothing is given; its InvalidInputError names the variable.
    """

    name: str
    field: str
    parse: Callable[[str], Any]
    default: Any = None
    make_default: Callable[[], Any] | None = None
    default_doc: str
    doc: str
    flag: str | None = None
    secret: bool = False
    is_switch: bool = False


def parse_switch(text: str) -> bool:
    """Read yes/no, true/false, on/off, 1/0."""
    match text.strip().lower():
        case "yes" | "true" | "on" | "1":
            return True
        case "no" | "false" | "off" | "0":
            return False
        case _:
            raise InvalidInputError("switch", "must be yes or no")


def one_of(*allowed: str) -> Callable[[str], str]:
    """Return a parser that accepts one of a few words, in upper or lower case."""

    def parse(text: str) -> str:
        if text.strip().lower() not in allowed:
            raise InvalidInputError("choice", f"must be one of {', '.join(allowed)}")
        return text.strip().lower()

    return parse


def read_settings(
    table: Sequence[Setting],
    *,
    environ: Mapping[str, str],
    flags: Mapping[str, str | None],
    read_file: Callable[[str], str],
) -> tuple[dict[str, Any], list[str]]:
    """
    Read a table of settings.

    Args:
        table: The settings.
        environ: Environment variables. An empty value counts as unset.
        flags: By flag; None counts as not given.
        read_file: Returns the text of the file that an `X_FILE` names; raises OSError or UnicodeDecodeError.

    Returns:
        The values by field, and warnings, a sentence each.

    Raises:
        SettingsError: Something is wrong; it names every fault.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    for setting in table:
        try:
            values[setting.field] = _read(setting, environ, flags, read_file)
        except InvalidInputError as error:
            problems.append(f"{error.field}: {error.message}.")
    if problems:
        raise SettingsError(problems)
    return values, list(_unknown_names(table, environ))


def _read(
    setting: Setting,
    environ: Mapping[str, str],
    flags: Mapping[str, str | None],
    read_file: Callable[[str], str],
) -> Any:
    flag = flags.get(setting.flag) if setting.flag else None
    if flag is not None:
        return _parse(setting, trim(flag), source=str(setting.flag))
    # An environment file with Windows line endings leaves a carriage return at the end of every value.
    text = trim(environ.get(setting.name, ""))
    if setting.secret:
        file = trim(environ.get(f"{setting.name}_FILE", ""))
        if file and text:
            raise InvalidInputError(setting.name, f"is set, and so is {setting.name}_FILE; unset one of them")
        if file:
            return _parse(setting, _file_text(setting, file, read_file), source=f"{setting.name}_FILE")
    if text:
        return _parse(setting, text, source=setting.name)
    return setting.default if setting.make_default is None else setting.make_default()


def _parse(setting: Setting, text: str, *, source: str) -> Any:
    try:
        return setting.parse(text)
    except InvalidInputError as error:
        raise InvalidInputError(source, error.message) from error


def _file_text(setting: Setting, path: str, read_file: Callable[[str], str]) -> str:
    source = f"{setting.name}_FILE"
    try:
        text = read_file(path)
    except OSError as error:
        raise InvalidInputError(source, f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(source, f"{path} is not UTF-8 text") from error
    text = trim(text)
    if not text:
        raise InvalidInputError(source, f"{path} is empty")
    return text


def _unknown_names(table: Sequence[Setting], environ: Mapping[str, str]) -> Iterator[str]:
    own = set[str]()
    for setting in table:
        own |= {setting.name, f"{setting.name}_FILE"} if setting.secret else {setting.name}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in own or name in _KNOWN:
            continue
        if is_service_link(name, environ[name]):
            continue
        # Suggests only settings of this program, never one of the Server's to a Worker.
        near = difflib.get_close_matches(name, own, n=1)
        guess = f" Did you mean {near[0]}?" if near else ""
        yield f"{name} is not a setting and is ignored.{guess}"


LOG_SETTINGS: tuple[Setting, ...] = (
    Setting(
        name="LYFTDATA_LOG_FORMAT",
        field="log_format",
        parse=one_of("console", "json"),
        default=None,
        default_doc="`console` on a terminal, else `json`",
        flag="--log-format",
        doc="`console` or `json`; the log goes to standard error.",
    ),
    Setting(
        name="LYFTDATA_LOG_LEVEL",
        field="log_level",
        parse=one_of("debug", "info", "warning", "error"),
        default="info",
        default_doc="`info`",
        flag="--log-level",
        doc="The lowest level that is logged.",
    ),
)
"""The settings that Server and Worker have in common."""
