"""
Provides the COMMAND with the current token, and with tokens for other audiences on request.

    provider = TokenProvider(client, directory=path)
    provider.identify(credential)
    provider.publish(token)              # the file is complete at every moment, with the old token or the new one
    await provider.token(request)        # what the token socket answers
    await provider.keep_file()           # concurrently: writes the file later if it could not be written
    provider.withdraw()                  # the Worker is not let in: there is nothing to hand out
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import msgspec

from lyftdata.client.credentials import Credential
from lyftdata.client.held_token import HeldToken
from lyftdata.core.command_tokens import TOKEN_FILE_VARIABLE, TOKEN_SOCKET_VARIABLE, token_digest
from lyftdata.core.errors import LyftdataError
from lyftdata.core.log_events.worker import TOKEN_FILE_RECOVERED, TOKEN_FILE_WRITE_FAILED
from lyftdata.log import emit, get_logger
from lyftdata.private_files import write_private_atomic
from lyftdata.worker.client import ServerClient
from lyftdata.worker.tokens.runtime_dir import TOKEN_FILE, TOKEN_SOCKET

_log = get_logger(__name__)

MAX_AUDIENCES = 16
# A token this new was not rejected for its age, so the next one would be rejected too.
_NEW_FOR_S = 5.0
_WRITE_AGAIN_S = 2.0
# Renewed at two thirds of its lifetime, without jitter: the audiences of one program cause no load peak.
_NO_JITTER = 0.5


class NoTokenError(LyftdataError):
    """The Worker has no valid token now: the Server cannot be reached, or has not admitted the Worker yet."""

    code = "no_token"


class TokenRequest(msgspec.Struct, frozen=True):
    """
    A COMMAND's request for a token.

    Attributes:
        audience: The audience of the token; None for the Server and all services that ask it (`/auth/verify`).
        scope: The requested scopes, space-separated; None for all that are granted to the Worker.
        rejected: SHA-256 in hex of a token that a service has rejected and that is to be replaced.
    """

    audience: str | None = None
    scope: str | None = None
    rejected: str | None = None


class _Audience:
    """A token for one audience and scope, and the lock of the request that fetches it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.token: HeldToken | None = None
        self.got_by = ""


class TokenProvider:
    """
    Hands out tokens, never the credential.

    Args:
        client: The Server.
        directory: Where the token file is kept; None for a Worker without a COMMAND.
        monotonic: Returns seconds on a clock that does not jump.
    """

    def __init__(
        self,
        client: ServerClient,
        *,
        directory: Path | None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._directory = directory
        self._monotonic = monotonic
        self._credential: Credential | None = None
        self._current: HeldToken | None = None
        self._audiences: OrderedDict[tuple[str | None, str | None], _Audience] = OrderedDict()
        self._renewing = asyncio.Lock()
        self._withdrawals = 0
        self._is_unwritten = asyncio.Event()

    def environ(self) -> dict[str, str]:
        """Return the variables that name the token file and the token socket to the COMMAND."""
        if self._directory is None:
            return {}
        return {
            TOKEN_FILE_VARIABLE: str(self._directory / TOKEN_FILE),
            TOKEN_SOCKET_VARIABLE: str(self._directory / TOKEN_SOCKET),
        }

    def identify(self, credential: Credential) -> None:
        """Set the credential for tokens for other audiences."""
        self._credential = credential

    def publish(self, token: HeldToken) -> None:
        """Hand out this token from now on."""
        self._current = token
        self._write()

    async def keep_file(self) -> None:
        """Retry writing the token file until that succeeds: a full disk may soon have room."""
        while True:
            await self._is_unwritten.wait()
            await asyncio.sleep(_WRITE_AGAIN_S)
            if self._is_unwritten.is_set():
                self._write()

    def _write(self) -> None:
        if self._directory is None or self._current is None:
            return
        try:
            # Without a newline. Not synced: after a power cut the file is not needed.
            write_private_atomic(
                self._directory / TOKEN_FILE, self._current.text.encode("ascii"), durable=False
            )
        except OSError as error:
            # The work goes on with the old file, which is complete, and the socket hands out the new token.
            if not self._is_unwritten.is_set():
                emit(_log, TOKEN_FILE_WRITE_FAILED, reason=error.strerror)
            self._is_unwritten.set()
            return
        if self._is_unwritten.is_set():
            emit(_log, TOKEN_FILE_RECOVERED)
        self._is_unwritten.clear()

    def withdraw(self) -> None:
        """Stop handing out tokens; those for other audiences are forgotten too."""
        self._current = None
        self._is_unwritten.clear()
        self._audiences.clear()
        self._withdrawals += 1
        if self._directory is not None:
            with contextlib.suppress(OSError):
                (self._directory / TOKEN_FILE).unlink()

    async def token(self, wanted: TokenRequest) -> tuple[str, int]:
        """
        Return a token and the seconds until it expires.

        Raises:
            NoTokenError: There is none to hand out.
            AudienceRefusedError, ServerUnreachableError, RefusedByServerError: As for `ServerClient.token`.
        """
        is_own = wanted.audience is None and wanted.scope is None
        token = await (self._own(wanted) if is_own else self._for_audience(wanted))
        left_s = token.expires_in_s(self._monotonic()) if token is not None else 0
        if token is None or left_s <= 0:
            raise NoTokenError("The Worker has no valid token at this moment; ask again later.")
        return token.text, left_s

    async def _own(self, wanted: TokenRequest) -> HeldToken | None:
        """Return the agent's own token; the agent renews it, but a rejected one is replaced here."""
        if not self._is_rejected(self._current, wanted):
            return self._current
        withdrawals = self._withdrawals
        async with self._renewing:
            if self._is_rejected(self._current, wanted):  # another request may have replaced it meanwhile
                token = await self._fetch(wanted)
                if token is not None and withdrawals == self._withdrawals:
                    self.publish(token)
        return self._current

    async def _for_audience(self, wanted: TokenRequest) -> HeldToken | None:
        if self._credential is None or self._current is None:
            return None
        key = (wanted.audience, wanted.scope)
        entry = self._audiences.setdefault(key, _Audience())
        self._audiences.move_to_end(key)
        if len(self._audiences) > MAX_AUDIENCES:
            self._audiences.popitem(last=False)
        withdrawals = self._withdrawals
        # One request for each audience and scope, however many ask at once.
        async with entry.lock:
            version = self._credential.version()
            is_needed = (
                entry.token is None
                or entry.got_by != version  # an old key's tokens end with it
                or entry.token.is_due(self._monotonic())
                or self._is_rejected(entry.token, wanted)
            )
            if withdrawals == self._withdrawals and is_needed:
                entry.token, entry.got_by = await self._fetch(wanted), version
        # Withdrawn meanwhile: the Server may have issued this token just before it refused the Worker.
        return entry.token if withdrawals == self._withdrawals else None

    def _is_rejected(self, token: HeldToken | None, wanted: TokenRequest) -> bool:
        """Return whether this is the rejected token, and old enough that a new one may be accepted."""
        if token is None or wanted.rejected is None or wanted.rejected != token_digest(token.text):
            return False
        return self._monotonic() >= token.got_at_s + _NEW_FOR_S

    async def _fetch(self, wanted: TokenRequest) -> HeldToken | None:
        if self._credential is None:
            return None
        reply = await self._client.token(self._credential, resource=wanted.audience, scope=wanted.scope)
        return HeldToken(reply, monotonic_s=self._monotonic(), jitter=_NO_JITTER)
