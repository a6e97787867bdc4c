"""The command line's client of the admin API."""

import functools
import os
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn, Self
from urllib.parse import quote, urlencode

import click
import httpx2

import lyftdata
from lyftdata.bounded_http import proxy_for, tls_context
from lyftdata.cli.credentials import Credentials
from lyftdata.cli.given_token import find_given_token
from lyftdata.cli.output import echo_err
from lyftdata.cli.typed_password import CODE_PROMPT, read_code, read_password
from lyftdata.core.errors import LyftdataError, SecondOperatorRequiredError
from lyftdata.core.secret import Secret
from lyftdata.core.text import clean_text
from lyftdata.unreachable import describe_answer, describe_failure, remedy_for_answer, remedy_for_failure
from lyftdata.watched_file import WatchedFile
from lyftdata.worker.settings import WorkerSettings, read_worker_settings

# The meaning of a proxy's own answers (RFC 9110, sections 15.6.3 to 15.6.5).
_GATEWAY_ANSWERS = {
    502: "a proxy in front of the Server got no valid answer from it",
    503: "a proxy in front has no Server that is ready",
    504: "a proxy in front got no answer from the Server in time",
}
_MAX_WAITS = 20
_MAX_WAIT_S = 5.0
# Python decodes invalid UTF-8 on the command line to surrogates, which no request can carry.
_NOT_TEXT = "An argument is not valid UTF-8 text."


class ApiError(LyftdataError):
    """
    The Server answered with a problem (RFC 9457).

    Args:
        message: Its `detail`.
        problem_code: Its stable `code`.
        hint: What to do.
    """

    code = "api_error"

    def __init__(self, message: str, *, problem_code: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.problem_code: Final = problem_code


def _connections(settings: WorkerSettings) -> httpx2.Client:
    proxy = proxy_for(settings.url)
    return httpx2.Client(
        base_url=settings.url,
        timeout=httpx2.Timeout(30.0, connect=10.0),
        follow_redirects=False,
        headers={"User-Agent": f"lyftdata-cli/{lyftdata.__version__}"},
        verify=tls_context(settings.url, tls_ca=settings.tls_ca, insecure=settings.tls_insecure),
        proxy=None if proxy is None else proxy.url,
        trust_env=False,
    )


class Api:
    """
    Requests to one Server as the operator who is signed in, or by LYFTDATA_API_TOKEN; close it, or use it with `with`.

    Args:
        url: `--url`, or None for LYFTDATA_URL and its default.
        session_only: Whether to ignore LYFTDATA_API_TOKEN, for commands about the session of `lyftdata login`.

    Raises:
        SettingsError: LYFTDATA_API_TOKEN or a setting of the connection is invalid.
    """

    def __init__(self, url: str | None = None, *, session_only: bool = False) -> None:
        self._settings = _connection_settings(url)
        self.url = self._settings.url
        self._proxy = proxy_for(self._settings.url)
        self._given_token = None if session_only else find_given_token(os.environ)
        self.tls_ca = self._settings.tls_ca if self.url.startswith("https:") else None
        self._watched_ca = WatchedFile(self.tls_ca)
        self._http = _connections(self._settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    @functools.cached_property
    def credentials(self) -> Credentials:
        """Return the stored sessions; opened only when needed, since automation has none and may have no home directory."""
        return Credentials.default()

    def get(self, path: str, **query: Any) -> Any:
        """Get JSON; parameters that are None are left out."""
        return self._send(
            "GET", path, params={key: value for key, value in query.items() if value is not None}
        )

    def post(self, path: str, body: Any = None, *, signed_in: bool = True) -> Any:
        """Post JSON and return JSON, or None for an empty answer."""
        return self._send("POST", path, json=body, signed_in=signed_in)

    def post_for_header(self, path: str, body: Any, *, header: str) -> str:
        """Post JSON and return a header of the answer."""
        return str(self._request("POST", path, json=body).headers.get(header, ""))

    def put(self, path: str, body: Any) -> Any:
        """Put JSON and return JSON."""
        return self._send("PUT", path, json=body)

    def patch(self, path: str, body: Any) -> Any:
        """Patch with JSON and return JSON."""
        return self._send("PATCH", path, json=body)

    def delete(self, path: str) -> None:
        """Delete."""
        self._send("DELETE", path)

    def every(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Iterate over the items of all pages."""
        after = None
        while True:
            page = self.get(path, after=after, limit=1000, **query)
            yield from page["items"]
            after = page.get("next")
            if after is None:
                return

    def lines(self, path: str, *, timeout: float | None = 30.0) -> Iterator[str]:
        """Iterate over the lines of an answer as they arrive."""
        # A command may follow lines for weeks: it reconnects with the certificates that are current then.
        self._renew_connections()
        try:
            limits = httpx2.Timeout(30.0, read=timeout)
            with self._http.stream(
                "GET", f"/api{path}", headers=self._authorization(), timeout=limits
            ) as response:
                if response.status_code >= httpx2.codes.BAD_REQUEST:
                    response.read()
                    self._fail(response)
                yield from _lines(response.iter_text())
        except (httpx2.TransportError, ssl.SSLError) as error:
            self._unreachable(error)

    def _renew_connections(self) -> None:
        """Reconnect if the certificates of LYFTDATA_TLS_CA were replaced."""
        if not self._watched_ca.has_changed():
            return
        try:
            new = _connections(self._settings)
        except OSError:  # ssl.SSLError is one; a file that is half written changes nothing
            self._watched_ca.forget()
            return
        self._http.close()
        self._http = new

    def _request(
        self, method: str, path: str, *, signed_in: bool = True, is_asked_again: bool = True, **options: Any
    ) -> httpx2.Response:
        headers = self._authorization() if signed_in else {}
        try:
            response = self._http.request(method, f"/api{path}", headers=headers, **options)
            for _ in range(_MAX_WAITS):
                if not _is_rate_limited(response):
                    break
                # A long list takes many requests: the Server slows them down so that Workers are not kept waiting.
                time.sleep(min(_MAX_WAIT_S, float(response.headers["Retry-After"])))
                response = self._http.request(method, f"/api{path}", headers=headers, **options)
        except UnicodeEncodeError:
            raise click.UsageError(_NOT_TEXT) from None
        except (httpx2.TransportError, ssl.SSLError) as error:
            self._unreachable(error)
        if is_asked_again and signed_in and self._reauthenticated(response):
            return self._request(method, path, signed_in=signed_in, is_asked_again=False, **options)
        if response.status_code == httpx2.codes.CONFLICT and sys.stdin.isatty():
            self._explain(response)
        if response.status_code >= httpx2.codes.MULTIPLE_CHOICES:
            self._fail(response)
        return response

    def _explain(self, response: httpx2.Response) -> None:
        """Ask for the reason of a new request to a second operator, and store it in the request."""
        if _problem_code(response) != SecondOperatorRequiredError.code:
            return
        problem = response.json()
        echo_err(clean_text(str(problem.get("detail", "")), 500))
        reason = click.prompt(
            "Reason, for the one who confirms it (Enter for none)", default="", show_default=False, err=True
        )
        request_id = problem.get("request_id")
        if not reason.strip() or not isinstance(request_id, str):
            return
        try:
            self._request("POST", f"/change-requests/{path_part(request_id)}/reason", json={"reason": reason})
        except ApiError as error:
            # The request exists; a missing or already given reason is not a failure of the command.
            echo_err(error.message)

    def _reauthenticated(self, response: httpx2.Response) -> bool:
        """Ask for the password if the Server requires it, and store the session's new token; return whether there is one."""
        is_wanted = (
            response.status_code == httpx2.codes.UNAUTHORIZED
            and _problem_code(response) == "reauthentication_required"
        )
        if not is_wanted or not sys.stdin.isatty():
            return False
        echo_err("This cannot be undone: confirm that it is you.")
        body = {"password": read_password("Password", from_stdin=False).reveal()}
        try:
            answer = self._request("POST", "/me/reauthenticate", json=body)
        except ApiError as error:
            if error.problem_code != "second_factor_required":
                raise
            body["code"] = read_code(CODE_PROMPT, from_stdin=False).reveal()
            answer = self._request("POST", "/me/reauthenticate", json=body)
        self.credentials.store(self.url, Secret(answer.json()["token"]))
        return True

    def _send(self, method: str, path: str, **options: Any) -> Any:
        response = self._request(method, path, **options)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise self._not_a_server(response) from None

    def _authorization(self) -> dict[str, str]:
        token = self._given_token or self.credentials.find(self.url)
        if token is None:
            raise ApiError(
                f"You are not signed in to {self.url}.",
                hint=f"lyftdata login --url {self.url}, or set LYFTDATA_API_TOKEN_FILE in automation.",
            )
        return {"Authorization": f"Bearer {token.reveal()}"}

    def _unreachable(self, error: Exception) -> NoReturn:
        hint = (
            remedy_for_failure(error, url=self.url, proxy=self._proxy)
            or "Is the Server running there? Set --url or LYFTDATA_URL to its address; `lyftdata run server` starts one here."
        )
        raise ApiError(describe_failure(error, url=self.url, proxy=self._proxy), hint=hint) from error

    def _not_a_server(self, response: httpx2.Response) -> ApiError:
        status, location = response.status_code, response.headers.get("location")
        return ApiError(
            describe_answer(status, url=self.url, location=location, proxy=self._proxy),
            hint=remedy_for_answer(status, location=location, proxy=self._proxy),
        )

    def _unknown_answer(self, response: httpx2.Response, body: object) -> ApiError:
        """Return the error for an answer that is not from the API, but from a proxy or another program."""
        status = response.status_code
        description = body.get("error_description") if isinstance(body, dict) else None
        if status == httpx2.codes.SERVICE_UNAVAILABLE and isinstance(description, str):
            return ApiError(
                f"{self.url} answered 503: {clean_text(description, 300)}",
                hint="Try again in a moment. The Server's log and /readyz say more.",
            )
        if status in _GATEWAY_ANSWERS:
            return ApiError(
                f"{self.url} answered {status}: {_GATEWAY_ANSWERS[status]}.",
                hint="Is the Server running, and its database up? Its log and /readyz say more.",
            )
        return self._not_a_server(response)

    def _fail(self, response: httpx2.Response) -> NoReturn:
        try:
            problem = response.json()
        except ValueError:
            problem = {}
        if not isinstance(problem, dict) or "code" not in problem:
            raise self._unknown_answer(response, problem)
        hint = str(problem.get("hint") or "")
        field = clean_text(str(problem.get("field") or ""))
        detail = clean_text(str(problem.get("detail", "")), 500)
        # A rule continues the name of its field; a message that begins with a capital letter is a complete sentence.
        if field and not detail.startswith(field) and not detail[:1].isupper():
            detail = f"{field} {detail}"
        raise ApiError(detail, problem_code=str(problem["code"]), hint=clean_text(hint, 300))


def _is_rate_limited(response: httpx2.Response) -> bool:
    """Return whether the Server's rate limit for this operator rejected a request; not for a 429 after failed sign-ins."""
    return (
        response.status_code == httpx2.codes.TOO_MANY_REQUESTS
        and _problem_code(response) == "too_many_requests"
    )


def _problem_code(response: httpx2.Response) -> str:
    """Return the stable code of a problem (RFC 9457), or ""."""
    try:
        return str(response.json()["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def _lines(pieces: Iterator[str]) -> Iterator[str]:
    """Yield the lines of a text that arrives in pieces; unlike `iter_lines`, does not split at U+2028 and similar characters."""
    unfinished = ""
    for piece in pieces:
        *lines, unfinished = (unfinished + piece).split("\n")
        for line in lines:
            yield line.removesuffix("\r")
    if unfinished:
        yield unfinished


def query_string(asked: Mapping[str, str]) -> str:
    """
    Encode parameters as the query of a URL.

    Raises:
        click.UsageError: A value is not text in UTF-8.
    """
    try:
        return urlencode(asked)
    except UnicodeEncodeError:
        raise click.UsageError(_NOT_TEXT) from None


def path_part(text: str) -> str:
    """
    Encode an ID or a name as one segment of a path.

    Raises:
        click.BadParameter: Empty, `.`, `..`, or with a slash: the request would be about something else.
    """
    if text.strip() in {"", ".", ".."} or "/" in text:
        raise click.BadParameter(f"'{clean_text(text)}' is not an ID or a name.")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise click.UsageError(_NOT_TEXT) from None


def _connection_settings(url: str | None) -> WorkerSettings:
    """Read the Server's address like a Worker; a Worker's other settings must not prevent an operator's command."""
    names = ("LYFTDATA_URL", "LYFTDATA_ALLOW_HTTP", "LYFTDATA_TLS_CA", "LYFTDATA_TLS_INSECURE")
    environ = {name: os.environ[name] for name in names if name in os.environ}
    return read_worker_settings(environ, {"--url": url})
