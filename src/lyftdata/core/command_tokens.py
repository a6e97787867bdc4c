"""Where a client in a COMMAND finds tokens, and how it reports a rejected one to the agent."""

import hashlib

TOKEN_FILE_VARIABLE = "LYFTDATA_WORKER_TOKEN_FILE"  # noqa: S105 - names of variables
TOKEN_SOCKET_VARIABLE = "LYFTDATA_WORKER_TOKEN_SOCKET"  # noqa: S105

GIVEN_TO_COMMAND = frozenset({TOKEN_FILE_VARIABLE, TOKEN_SOCKET_VARIABLE})
"""Not settings: a COMMAND may be another lyftdata program, which must not report them as unknown."""


def token_digest(token: str) -> str:
    """Return the name by which a client reports a rejected token: its SHA-256 in lower-case hex, so that no log holds the token."""
    return hashlib.sha256(token.encode()).hexdigest()
