"""Reads the API token for the command line's requests from LYFTDATA_API_TOKEN or LYFTDATA_API_TOKEN_FILE, if one is set."""

from collections.abc import Callable, Mapping
from pathlib import Path

from lyftdata.core.api_tokens import find_token_flaw
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.secret import Secret
from lyftdata.core.secret_text import parse_secret
from lyftdata.core.settings import Setting, read_settings


def _parse(text: str) -> Secret:
    token = parse_secret(text)
    flaw = find_token_flaw(token)
    if flaw is not None:
        # Checked here, so that another secret, such as a token for another service, is not disclosed to the Server by mistake.
        raise InvalidInputError("api_token", f"must be an API token ({flaw})")
    return token


TABLE = (
    Setting(
        name="LYFTDATA_API_TOKEN",
        field="api_token",
        parse=_parse,
        default_doc="the session of `lyftdata login`",
        doc="API token that commands use instead of the session of a signed-in operator.",
        secret=True,
    ),
)


def find_given_token(
    environ: Mapping[str, str],
    *,
    read_file: Callable[[str], str] = lambda path: Path(path).read_text(encoding="utf-8"),
) -> Secret | None:
    """
    Return the API token in the environment, or None: then the session of `lyftdata login` is used.

    Raises:
        SettingsError: It is not an API token, is given twice, or its file cannot be read.
    """
    values, _ = read_settings(TABLE, environ=environ, flags={}, read_file=read_file)
    token: Secret | None = values["api_token"]
    return token
