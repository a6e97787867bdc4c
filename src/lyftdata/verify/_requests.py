"""What every framework's module does alike: find the token, know the open paths, put a refusal into an answer."""

import json
import logging
import re
from collections.abc import Collection, Sequence

from lyftdata.core.errors import InvalidInputError
from lyftdata.verify.errors import MissingTokenError, VerificationError

_log = logging.getLogger("lyftdata.verify")

# RFC 6749, section 3.3.
_SCOPE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")
_STEPS = frozenset({"", ".", ".."})


def bearer_token(authorization: Sequence[str]) -> str:
    """
    Return the token of a request (RFC 6750, section 2.1: the header, never the URL or the body).

    Args:
        authorization: Every `Authorization` header, as received.

    Raises:
        MissingTokenError: None, more than one, or another scheme.
    """
    # Two are refused rather than chosen between: something in front may have looked at the other one.
    scheme, _, token = authorization[0].partition(" ") if len(authorization) == 1 else ("", "", "")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or not token:
        raise MissingTokenError
    return token


def checked_scopes(scopes: Collection[str]) -> frozenset[str]:
    """
    Return scopes that a service asks for.

    Raises:
        InvalidInputError: One that no token can hold; a plain string, which would be taken for its letters.
    """
    if isinstance(scopes, str) or not all(_SCOPE.fullmatch(scope) for scope in scopes):
        raise InvalidInputError("scopes", "scopes must be a list of names without spaces and quotes.")
    return frozenset(scopes)


class PublicPaths:
    """
    Paths that anybody may ask for: `/healthz` is that very path, `/static/*` all that is under it.

    Raises:
        InvalidInputError: A path that does not start with a slash, or a star elsewhere than at its end.
    """

    def __init__(self, paths: Collection[str]) -> None:
        if isinstance(paths, str) or not all(
            path.startswith("/") and "*" not in path.removesuffix("/*") for path in paths
        ):
            raise InvalidInputError("public_paths", "public_paths must be like ['/healthz', '/static/*'].")
        self._exact = frozenset(path for path in paths if not path.endswith("/*"))
        self._under = tuple(path[:-1] for path in paths if path.endswith("/*"))

    def __contains__(self, path: str) -> bool:
        if path in self._exact:
            return True
        # `/static/../admin` is under `/static/` here, and may be `/admin` to the application.
        steps = path.replace("\\", "/").split("/")[1:-1]
        return path.startswith(self._under) and not _STEPS & {*steps, path.rpartition("/")[2] or "-"}


def refusal_answer(error: VerificationError, realm: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return status, headers and body of an answer to a request that is not let through."""
    body = json.dumps({"error": error.oauth_error or error.code, "error_description": error.public}).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        *refusal_headers(error, realm).items(),
    ]
    return error.status, headers, body


def refusal_headers(error: VerificationError, realm: str) -> dict[str, str]:
    """Return the headers that a refusal adds to an answer, and tell the log why."""
    _log.info("worker refused: %s: %s", error.code, error.message)
    challenge = error.www_authenticate(realm)
    headers = {"WWW-Authenticate": challenge} if challenge else {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return headers
