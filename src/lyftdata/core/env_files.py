"""
An environment file for one Worker: its Server, its ID and its API key.

A shell can read it (`set -a; . FILE`). No value needs quotes, so that programs that read such files without a shell see the same values.
"""

import re

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.names import parse_worker_id
from lyftdata.core.secret import Secret

# A shell would run what follows a blank or a semicolon, and expand `$`. Letters of any script are safe: a host's name may have them.
_NEEDS_NO_QUOTES = re.compile(r"[\w.:/\[\]-]+")


def env_file(*, url: str, worker_id: str, api_key: Secret) -> str:
    """
    Return the content of a Worker's environment file.

    Args:
        url: The Server's origin.
        worker_id: The Worker's ID.
        api_key: The Worker's key; the returned text contains it.

    Raises:
        InvalidInputError: A value would need quotes, which these readers treat differently.
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
    """Raise InvalidInputError if an environment file cannot hold this URL; called before a key is issued that is shown only once."""
    _check("LYFTDATA_URL", url)


def _check(name: str, value: str) -> None:
    if not _NEEDS_NO_QUOTES.fullmatch(value):
        raise InvalidInputError(name, "holds a character that an environment file cannot hold")


def env_file_name(name: str, worker_id: str) -> str:
    """
    Return the name of a Worker's file: after its name if that is safe in every file system, otherwise after its ID.

    Raises:
        InvalidInputError: The ID breaks its rule.
    """
    # Path traversal: a name may hold slashes. An ID from an honest Server holds none, and is checked below.
    try:
        return f"{parse_worker_id(name)}.env"
    except InvalidInputError:
        return f"{parse_worker_id(worker_id)}.env"
