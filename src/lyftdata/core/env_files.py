"""
An environment file for one Worker: its Server, its ID and its API key.

A shell reads it (`set -a; . FILE`). No value needs quotes, so that what reads such files without a shell reads the same.
"""

import re

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.names import parse_worker_id
from lyftdata.core.secret import Secret

# A shell would run what is behind a blank or a semicolon, and expand `$`. Letters of every script are nothing special to it: a
# host's name may have them.
_NEEDS_NO_QUOTES = re.compile(r"[\w.:/\[\]-]+")


def env_file(*, url: str, worker_id: str, api_key: Secret) -> str:
    """
    Return the content of a Worker's environment file.

    Args:
        url: The Server's origin.
        worker_id: Its ID.
        api_key: Its key; the text that is returned holds it.

    Raises:
        InvalidInputError: A value would need quotes, which these readers do not read alike.
    """
    values = {
        "LYFTDATA_URL": url,
        "LYFTDATA_WORKER_ID": worker_id,
        "LYFTDATA_WORKER_API_KEY": api_key.reveal(),
    }
    for name, value in values.items():
        _check(name, value)
    return "".join(f"{name}={value}\n" for name, value in values.items())


def check_url(url: str) -> None:
    """Raise InvalidInputError if no environment file can hold a Server's URL: asked before a key is made that is shown once."""
    _check("LYFTDATA_URL", url)


def _check(name: str, value: str) -> None:
    if not _NEEDS_NO_QUOTES.fullmatch(value):
        raise InvalidInputError(name, "holds a character that an environment file cannot hold")


def env_file_name(name: str, worker_id: str) -> str:
    """
    Return what a Worker's file is called: after its name if that is safe in every file system, otherwise after its ID.

    Raises:
        InvalidInputError: The ID breaks its rule.
    """
    # Path traversal: a name may hold slashes. An ID holds none, if the Server that says it is honest.
    try:
        return f"{parse_worker_id(name)}.env"
    except InvalidInputError:
        return f"{parse_worker_id(worker_id)}.env"
