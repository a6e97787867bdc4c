"""Converts errors of the admin API to RFC 9457 problems."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from lyftdata.core.errors import (
    ConflictError,
    DeviceLoginError,
    ForbiddenError,
    InvalidInputError,
    IssuerSignInError,
    IssuerUnavailableError,
    LoginFailedError,
    LoginLockedError,
    LyftdataError,
    NotFoundError,
    NotSignedInError,
    PasswordSignInOffError,
    PreconditionFailedError,
    ReauthenticationRequiredError,
    SecondFactorFailedError,
    SecondFactorMissingError,
    SecondFactorRequiredError,
    SecondOperatorRequiredError,
    TooBusyError,
    TooManyRequestsError,
)
from lyftdata.server.http.oauth_errors import OAuthError
from lyftdata.server.http.responses import NO_STORE
from lyftdata.server.http.validation_messages import describe_invalid
from lyftdata.store import StoreError, UnstorableError

_STATUS: dict[type[LyftdataError], int] = {
    DeviceLoginError: 400,
    InvalidInputError: 422,
    NotFoundError: 404,
    PreconditionFailedError: 412,
    ConflictError: 409,
    SecondOperatorRequiredError: 409,
    ForbiddenError: 403,
    PasswordSignInOffError: 403,
    IssuerSignInError: 403,
    IssuerUnavailableError: 503,
    NotSignedInError: 401,
    ReauthenticationRequiredError: 401,
    SecondFactorRequiredError: 401,
    SecondFactorFailedError: 401,
    SecondFactorMissingError: 403,
    LoginFailedError: 401,
    LoginLockedError: 429,
    TooManyRequestsError: 429,
    TooBusyError: 503,
    UnstorableError: 422,
    StoreError: 503,
}


def problem(status: int, code: str, detail: str, **more: Any) -> Response:
    """Return `application/problem+json`; `code` is stable, `detail` is for people."""
    headers = dict(NO_STORE) | more.pop("headers", {})
    body = {
        "type": f"urn:lyftdata:problem:{code}",
        "title": code.replace("_", " "),
        "status": status,
        "detail": detail,
        "code": code,
        **{key: value for key, value in more.items() if value},
    }
    return JSONResponse(body, status, headers=headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Convert every LyftdataError, and the errors of FastAPI and Starlette, to a problem."""
    app.add_exception_handler(LyftdataError, _handle_lyftdata_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def status_of_error(error: LyftdataError) -> int:
    """Return the HTTP status of a LyftdataError."""
    if isinstance(error, OAuthError):
        return error.status
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)


def retry_headers(error: LyftdataError) -> dict[str, str]:
    """Return a `Retry-After` header (RFC 9110, section 10.2.3) if the error has one."""
    if isinstance(error, LoginLockedError | TooManyRequestsError):
        return {"Retry-After": str(error.wait_s)}
    return {"Retry-After": "5"} if status_of_error(error) == 503 else {}  # noqa: PLR2004


async def _handle_lyftdata_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, LyftdataError)  # noqa: S101 - narrows the type; installed for this class alone
    status = status_of_error(error)
    headers = retry_headers(error)
    if status == 401:  # noqa: PLR2004
        headers["WWW-Authenticate"] = 'Bearer realm="lyftdata"'
    if isinstance(error, ReauthenticationRequiredError):
        # RFC 9470, section 3.
        headers["WWW-Authenticate"] += (
            f', error="insufficient_user_authentication", max_age="{error.within_s}"'
        )
    field = error.field if isinstance(error, InvalidInputError) else None
    more = {}
    if isinstance(error, SecondOperatorRequiredError):
        headers["Location"] = f"/api/change-requests/{error.request_id}"
        more = {"request_id": error.request_id, "confirmers": error.confirmers}
    return problem(status, error.code, error.message, hint=error.hint, field=field, headers=headers, **more)


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - narrows the type
    field, rule = describe_invalid(error.errors()[0])
    return problem(422, "invalid_input", f"{field or 'body'}: {rule}", field=field)


async def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - narrows the type
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    return problem(error.status_code, code, str(error.detail), headers=dict(error.headers or {}))


async def _unexpected(_request: Request, _error: Exception) -> Response:
    return problem(500, "internal_error", "The Server failed; its log says why.")
