"""Reads the API token with which the command line calls the Server, if one is given: LYFTDATA_API_TOKEN, or the file that it names."""

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
        # Checked here: what is sent to a Server by mistake, such as another service's token, is known to that Server.
        raise InvalidInputError("api_token", f"must be an API token ({flaw})")
    return token


TABLE = (
    Setting(
        name="LYFTDATA_API_TOKEN",
        field="api_token",
        parse=_parse,
        default_doc="the session of `lyftdata login`",
        doc="API token with which commands call the Server in place of a signed-in operator.",
        secret=True,
    ),
)


def find_given_token(
    environ: Mapping[str, str],
    *,
    read_file: Callable[[str], str] = lambda path: Path(path).read_text(encoding="utf-8"),
) -> Secret | None:
    """
    Return the API token of the environment, or None: then the session of `lyftdata login` counts.

    Raises:
        SettingsError: It is not an API token, is given twice, or its file cannot be read.
    """
    values, _ = read_settings(TABLE, environ=environ, flags={}, read_file=read_file)
    token: Secret | None = values["api_token"]
    return token
