"""Finds the token of a request, matches public paths, and builds refusals: shared by the framework modules."""

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.log_events.verifier import WORKER_REFUSED
from lyftdata.library_log import emit
from lyftdata.verify.errors import MissingTokenError, VerificationError
from lyftdata.verify.identity import WorkerIdentity

_log = logging.getLogger("lyftdata.verify")

# RFC 6749, section 3.3.
_SCOPE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")
_METHOD = re.compile(r"/[^/*\s]+/[^/*\s]+")
_STEPS = frozenset({"", ".", ".."})
# A dot, slash or backslash that was percent-encoded twice or more: what is behind the application may decode it again.
_ENCODED_STEP = re.compile(r"%(?:25)*(?:2e|2f|5c)", re.IGNORECASE)
_POLICY_VIOLATION, _INTERNAL_ERROR = 1008, 1011


def bearer_token(authorization: Sequence[str]) -> str:
    """
    Return the token of a request (RFC 6750, section 2.1: the header, never the URL or the body).

    Args:
        authorization: Every `Authorization` header, as received.

    Raises:
        MissingTokenError: None, more than one, or another scheme.
    """
    # Request smuggling: of two headers a proxy in front may have checked the other one, so both are refused (RFC 9110, section
    # 5.3, allows only one `Authorization`). A token in the query or the body is never read: URLs end up in logs and
    # referrers (RFC 6750, sections 2.3 and 5.3).
    scheme, _, token = authorization[0].partition(" ") if len(authorization) == 1 else ("", "", "")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or not token:
        raise MissingTokenError
    return token


def checked_scopes(scopes: Iterable[str]) -> frozenset[str]:
    """
    Return the scopes that a service requires.

    Raises:
        InvalidInputError: A scope that no token can hold; or a plain string, which would be read as single letters.
    """
    message = "scopes must be a list of names without spaces and quotes."
    return _checked("scopes", scopes, _SCOPE.fullmatch, message)


def checked_methods(methods: Iterable[str]) -> frozenset[str]:
    """
    Return the gRPC methods that need no token.

    Raises:
        InvalidInputError: Not a method's full name; or a plain string, which would be read as single letters.
    """
    message = "public_methods must be like ['/grpc.health.v1.Health/Check']."
    return _checked("public_methods", methods, _METHOD.fullmatch, message)


def _checked(
    field: str, values: Iterable[str], is_valid: Callable[[str], object], message: str
) -> frozenset[str]:
    # Missing authorization: read once, since the check would exhaust an iterator, and an empty set of scopes admits every
    # Worker.
    names = frozenset(() if isinstance(values, str) else values)
    if isinstance(values, str) or not all(map(is_valid, names)):
        raise InvalidInputError(field, message)
    return names


class PublicPaths:
    """
    Paths that need no token: `/healthz` is exactly that path, `/static/*` everything below it.

    Raises:
        InvalidInputError: A path that does not start with a slash, or has a star anywhere but at its end.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        message = "public_paths must be like ['/healthz', '/static/*']."
        names = _checked("public_paths", paths, _is_public_path, message)
        self._exact = frozenset(path for path in names if not path.endswith("/*"))
        self._under = tuple(path[:-1] for path in names if path.endswith("/*"))

    def __contains__(self, path: str) -> bool:
        if path in self._exact:
            return True
        # Path traversal: `/static/../admin` is below `/static/` here, and may be `/admin` to the application. Backslashes count
        # too: some servers treat them as slashes.
        steps = path.replace("\\", "/").split("/")[1:-1]
        if not path.startswith(self._under) or _ENCODED_STEP.search(path):
            return False
        return not _STEPS & {*steps, path.rpartition("/")[2] or "-"}


def _is_public_path(path: str) -> bool:
    return path.startswith("/") and "*" not in path.removesuffix("/*")


def worker_in(request: Mapping[str, Any], key: str) -> WorkerIdentity:
    """
    Return the Worker that the middleware stored in a request.

    Raises:
        LookupError: There is none.
    """
    worker: object = request.get(key)
    if isinstance(worker, WorkerIdentity):
        return worker
    raise LookupError(
        "no Worker makes this request: its path is public, or WorkerAuthMiddleware is not in front of it"
    )


def websocket_close_code(error: VerificationError) -> int:
    """Return the close code for a refused websocket (RFC 6455, section 7.4.1)."""
    return _INTERNAL_ERROR if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else _POLICY_VIOLATION


def refusal_answer(error: VerificationError, realm: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return status, headers and body of the answer to a refused request."""
    # Information leak: `public` only. The exact reason (which claim, which `kid`) goes to the log, where a forger cannot read it.
    body = json.dumps({"error": error.oauth_error or error.code, "error_description": error.public}).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        *refusal_headers(error, realm).items(),
    ]
    return error.status, headers, body


def refusal_headers(error: VerificationError, realm: str) -> dict[str, str]:
    """Log why a request is refused, and return the headers of the refusal."""
    emit(_log, WORKER_REFUSED, code=error.code, reason=error.message)
    challenge = error.www_authenticate(realm)
    headers = {"WWW-Authenticate": challenge} if challenge else {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return headers
