"""Gets tokens from the Server with this Worker's own credential."""

import logging
from collections.abc import Generator
from typing import Any, Protocol

import httpx2

import lyftdata
from lyftdata.bounded_http import (
    Answer,
    Request,
    ServerEndpoint,
    UnreachableError,
    arun,
    asend,
    connection_options,
    run,
    send,
)
from lyftdata.client.credentials import Credential
from lyftdata.client.errors import TokenRefusedError, TokenUnavailableError
from lyftdata.client.server_clock import ServerClock
from lyftdata.client.token_endpoint import TokenReply, read_refusal, read_token, token_exchange
from lyftdata.core.log_events.client import CLOCK_SKEWED
from lyftdata.core.text import clean_text
from lyftdata.library_log import emit

_log = logging.getLogger("lyftdata.client")
_USER_AGENT = f"lyftdata-client/{lyftdata.__version__}"


class TokenSource(Protocol):
    """
    A source of tokens: the Server, or the agent that runs this program.

    Attributes:
        new_for_s: A token younger than this is not replaced after a 401: the next one would be rejected too.
        max_retry_s: The longest pause after failures, unless the Server asks for a longer one.
    """

    new_for_s: float
    max_retry_s: float

    def fetch(self, *, rejected: str | None = None) -> TokenReply:
        """
        Get a token.

        Args:
            rejected: A token that a service has rejected and that is to be replaced.

        Raises:
            WorkerAuthError: There is none.
        """
        ...

    async def afetch(self, *, rejected: str | None = None) -> TokenReply:
        """Get a token; like `fetch`."""
        ...


class ServerSource:
    """
    Asks the Server's token endpoint (RFC 6749, section 4.4).

    Args:
        endpoint: The Server.
        credential: The credential that the Worker authenticates with.
        resource: The audience of the tokens (RFC 8707); None for the Server.
        scope: The requested scopes; None for all that are granted to the Worker.
        transport: For tests: used instead of the network.
        clock: Decides which time is signed.
    """

    new_for_s = 5.0
    max_retry_s = 30.0

    def __init__(
        self,
        endpoint: ServerEndpoint,
        credential: Credential,
        *,
        resource: str | None,
        scope: str | None,
        transport: Any,
        clock: ServerClock | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._credential = credential
        self._resource = resource
        self._scope = scope
        self._transport = transport
        self._clock = clock or ServerClock(on_skew=_warn_of_skew)

    def fetch(self, *, rejected: str | None = None) -> TokenReply:  # noqa: ARG002 - each is another one
        """Get a token; raises as `TokenSource.fetch`."""
        try:
            with httpx2.Client(**self._connection_options()) as http:

                def ask(request: Request) -> Answer:
                    answer = send(http, request, within_s=self._endpoint.timeout_s)
                    self._clock.note(answer.headers)
                    return answer

                return self._read(run(self._exchange(), ask))
        except (UnreachableError, OSError) as error:
            raise _unreachable(error) from error

    async def afetch(self, *, rejected: str | None = None) -> TokenReply:  # noqa: ARG002 - each is another one
        """Get a token; raises as `TokenSource.fetch`."""
        try:
            async with httpx2.AsyncClient(**self._connection_options()) as http:

                async def ask(request: Request) -> Answer:
                    answer = await asend(http, request, within_s=self._endpoint.timeout_s)
                    self._clock.note(answer.headers)
                    return answer

                return self._read(await arun(self._exchange(), ask))
        except (UnreachableError, OSError) as error:
            raise _unreachable(error) from error

    def _exchange(self) -> Generator[Request, Answer, Answer]:
        return token_exchange(
            self._endpoint.server_url,
            self._credential,
            self._clock,
            resource=self._resource,
            scope=self._scope,
        )

    def _connection_options(self) -> dict[str, Any]:
        return connection_options(self._endpoint, user_agent=_USER_AGENT, transport=self._transport)

    def _read(self, answer: Answer) -> TokenReply:
        token = read_token(answer)
        if token is not None:
            self._credential.note_accepted()
            return token
        refusal = read_refusal(answer, signed_by=self._clock if self._credential.signs else None)
        if refusal is None:
            raise TokenUnavailableError(
                f"The Server answered {answer.status}, and gave no token.",
                retry_after_s=answer.retry_after_s(),
            )
        self._credential.note_refused(cause_code=refusal.cause_code, reference=refusal.reference)
        skew = (
            f" This host's clock is {refusal.clock_skew}, which may be the cause."
            if refusal.clock_skew
            else ""
        )
        raise TokenRefusedError(
            clean_text(refusal.reason or refusal.error, 300) + skew,
            reference=clean_text(refusal.reference),
            final=refusal.final,
            hint=clean_text(refusal.remedy, 300),
            cause_code=clean_text(refusal.cause_code),
            retry_after_s=refusal.retry_after_s,
        )


def _unreachable(error: Exception) -> TokenUnavailableError:
    return TokenUnavailableError(f"The Server cannot be reached: {error}")


def _warn_of_skew(skew: str) -> None:
    emit(_log, CLOCK_SKEWED, off=skew)
