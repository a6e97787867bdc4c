"""
Gets tokens from the agent's token socket or token file, for a program that `lyftdata run worker -- COMMAND` runs.

The agent does not share the Worker's credential. Only the variables that it has set in the environment are needed here.
"""

import asyncio
import urllib.parse
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

import httpx2
import msgspec

from lyftdata.bounded_http import Answer, Request, UnreachableError, asend, send
from lyftdata.client.errors import TokenRefusedError, TokenUnavailableError
from lyftdata.client.server_source import TokenSource
from lyftdata.client.token_endpoint import AUDIENCE_ERRORS, TokenReply, read_token
from lyftdata.core.command_tokens import TOKEN_FILE_VARIABLE, TOKEN_SOCKET_VARIABLE, token_digest
from lyftdata.core.errors import SettingsError
from lyftdata.core.secret_text import trim
from lyftdata.core.text import clean_text, parse_reference

_REMEDY = (
    "Start this program with `lyftdata run worker -- COMMAND`, as the user that the agent runs as; "
    "outside of an agent, unset {variable}."
)
_MAX_TOKEN_BYTES = 16_384
# The agent replaces the file when a third of the token's lifetime is left; reading it this often finds the new one in time.
_FILE_LIFE_S = 5.0


def source_from_agent(
    environ: Mapping[str, str], *, wanted: dict[str, str], timeout_s: float
) -> TokenSource | None:
    """
    Return the agent that runs this program as a token source, or None if there is none.

    Args:
        environ: The socket takes precedence over the file: it reports the lifetime of a token, and has tokens for other audiences.
        wanted: `resource` and `scope`, if given.
        timeout_s: Bounds one request for a token as a whole.

    Raises:
        SettingsError: There is only a token file, and its token is not for `wanted`.
    """
    socket, file = (trim(environ.get(name, "")) for name in (TOKEN_SOCKET_VARIABLE, TOKEN_FILE_VARIABLE))
    if socket:
        return AgentSocket(socket, wanted=wanted, timeout_s=timeout_s)
    if not file:
        return None
    if wanted:
        asked_for = " and ".join(f"{name}=" for name in wanted)
        problem = (
            f"{TOKEN_FILE_VARIABLE} names a file that holds the token for the Server alone, and {asked_for} needs another: "
            f"set {TOKEN_SOCKET_VARIABLE} too, as `lyftdata run worker -- COMMAND` does."
        )
        raise SettingsError([problem])
    return AgentFile(file)


class AgentSocket:
    """
    Asks the agent's token socket.

    Args:
        path: The Unix socket.
        wanted: `resource` and `scope`, if given.
        timeout_s: Bounds one request as a whole.
    """

    new_for_s = 5.0
    # The agent is on this machine, and limits itself how often it asks the Server.
    max_retry_s = 5.0

    def __init__(self, path: str, *, wanted: dict[str, str], timeout_s: float) -> None:
        self._path = path
        names = {"resource": "audience"}
        self._wanted = {names.get(name, name): value for name, value in wanted.items()}
        self._timeout_s = timeout_s

    def fetch(self, *, rejected: str | None = None) -> TokenReply:
        """Get a token; raises as `TokenSource.fetch`."""
        self._check_socket()
        try:
            transport = httpx2.HTTPTransport(uds=self._path)
            with httpx2.Client(transport=transport, timeout=self._timeout_s, trust_env=False) as http:
                answer = send(http, self._request(rejected), within_s=self._timeout_s)
        except UnreachableError as error:
            raise self._unreachable(str(error).partition(": ")[2]) from error
        return _read_answer(answer, self._path)

    async def afetch(self, *, rejected: str | None = None) -> TokenReply:
        """Get a token; raises as `TokenSource.fetch`."""
        self._check_socket()
        try:
            transport = httpx2.AsyncHTTPTransport(uds=self._path)
            async with httpx2.AsyncClient(
                transport=transport, timeout=self._timeout_s, trust_env=False
            ) as http:
                answer = await asend(http, self._request(rejected), within_s=self._timeout_s)
        except UnreachableError as error:
            raise self._unreachable(str(error).partition(": ")[2]) from error
        return _read_answer(answer, self._path)

    def _request(self, rejected: str | None) -> Request:
        wanted = self._wanted if rejected is None else self._wanted | {"rejected": token_digest(rejected)}
        query = urllib.parse.urlencode(wanted)
        return Request("GET", "http://localhost/token" + (f"?{query}" if query else ""))

    def _check_socket(self) -> None:
        """Check the socket's file before connecting: connection errors are less specific."""
        try:
            if Path(self._path).is_socket():
                return
        except OSError as error:
            raise self._unreachable(error.strerror or type(error).__name__) from error
        raise self._unreachable("there is no socket")

    def _unreachable(self, reason: str) -> TokenUnavailableError:
        return TokenUnavailableError(
            f"{TOKEN_SOCKET_VARIABLE}: the agent cannot be asked at {self._path}: {reason}.",
            hint=_REMEDY.format(variable=TOKEN_SOCKET_VARIABLE),
        )


def _read_answer(answer: Answer, path: str) -> TokenReply:
    """
    Read an answer of the token socket.

    Raises:
        TokenRefusedError: The Server issues this Worker no such token, or the agent does not serve this user.
        TokenUnavailableError: There is no token now, or another program listens there.
    """
    token = read_token(answer)
    if token is not None:
        return token
    body = answer.json_object()
    if answer.status == HTTPStatus.OK or not isinstance(body.get("error"), str):
        raise TokenUnavailableError(
            f"{TOKEN_SOCKET_VARIABLE}: what answers at {path} is not a Worker's agent.",
            hint=_REMEDY.format(variable=TOKEN_SOCKET_VARIABLE),
        )
    reason = clean_text(str(body.get("error_description") or body["error"]), 300)
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == HTTPStatus.REQUEST_TIMEOUT:
        # Its Retry-After is for scripts: the agent is on this machine, and may be asked as often as `max_retry_s` says.
        raise TokenUnavailableError(f"The agent has no token at the moment: {reason}")
    raise TokenRefusedError(
        reason,
        reference=parse_reference(body.get("reference")),
        # A final refusal ends the agent, and this program with it.
        final=body.get("error") in AUDIENCE_ERRORS,
        cause_code=clean_text(str(body.get("code", "")), 64),
        hint=clean_text(str(body.get("remedy", "")), 300),
    )


class AgentFile:
    """
    Reads the agent's token file, which the agent keeps replacing.

    Args:
        path: The file.
    """

    # Reading costs nothing: after a 401 the file is read again at once.
    new_for_s = 0.0
    max_retry_s = 1.0

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def fetch(self, *, rejected: str | None = None) -> TokenReply:  # noqa: ARG002 - there is one
        """Read the token; raises as `TokenSource.fetch`."""
        try:
            with self._path.open("rb") as stream:
                text = stream.read(_MAX_TOKEN_BYTES + 1).strip().decode("ascii")
            return msgspec.convert({"access_token": text, "expires_in": _FILE_LIFE_S}, TokenReply)
        except OSError as error:
            raise TokenUnavailableError(
                f"{TOKEN_FILE_VARIABLE}: {self._path} cannot be read: {error.strerror}. "
                "The agent removes it while the Worker is refused.",
                hint=_REMEDY.format(variable=TOKEN_FILE_VARIABLE),
            ) from error
        except (UnicodeDecodeError, msgspec.ValidationError):
            # Without the cause: its text may quote the content of the file.
            raise TokenUnavailableError(
                f"{TOKEN_FILE_VARIABLE}: {self._path} holds no token.",
                hint=_REMEDY.format(variable=TOKEN_FILE_VARIABLE),
            ) from None

    async def afetch(self, *, rejected: str | None = None) -> TokenReply:
        """Read the token; raises as `TokenSource.fetch`."""
        return await asyncio.to_thread(self.fetch, rejected=rejected)
