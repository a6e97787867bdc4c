"""Tokens from the Server, got with this Worker's own credential."""

from typing import Any

import httpx2

from lyftdata.verify._http import UnreachableError, arequest, client_options, request
from lyftdata.verify._server import Answer, Place
from lyftdata.verify._tokens import (
    Credential,
    TokenReply,
    TokenUnavailableError,
    offered_nonce,
    read_token_answer,
)


class ServerSource:
    """
    Asks the Server's token endpoint (RFC 6749, section 4.4).

    Args:
        place: The Server.
        credential: What the Worker proves itself with.
        wanted: `resource` and `scope`, where the token is to be for something.
        transport: Put in the place of the network by tests.
    """

    new_for_s = 5.0
    longest_retry_s = 30.0

    def __init__(
        self, place: Place, credential: Credential, *, wanted: dict[str, str], transport: Any
    ) -> None:
        self._place = place
        self._credential = credential
        self._wanted = wanted
        self._transport = transport

    def fetch(self, *, rejected: str | None = None) -> TokenReply:  # noqa: ARG002 - each is another one
        """Get a token; raises as `TokenSource.fetch`."""
        url, within_s = self._url, self._place.timeout_s
        try:
            with httpx2.Client(**client_options(self._place, self._transport)) as http:
                answer = request(http, "POST", url, within_s=within_s, data=self._form())
                nonce = self._offered_nonce(answer)
                if nonce is not None:
                    answer = request(http, "POST", url, within_s=within_s, data=self._form(nonce))
        except (UnreachableError, OSError) as error:
            raise _unreachable(error) from error
        return read_token_answer(answer)

    async def afetch(self, *, rejected: str | None = None) -> TokenReply:  # noqa: ARG002 - each is another one
        """Get a token; raises as `TokenSource.fetch`."""
        url, within_s = self._url, self._place.timeout_s
        try:
            async with httpx2.AsyncClient(**client_options(self._place, self._transport)) as http:
                answer = await arequest(http, "POST", url, within_s=within_s, data=self._form())
                nonce = self._offered_nonce(answer)
                if nonce is not None:
                    answer = await arequest(http, "POST", url, within_s=within_s, data=self._form(nonce))
        except (UnreachableError, OSError) as error:
            raise _unreachable(error) from error
        return read_token_answer(answer)

    @property
    def _url(self) -> str:
        return f"{self._place.server_url}/oauth2/token"

    def _form(self, nonce: str | None = None) -> dict[str, str]:
        return {"grant_type": "client_credentials"} | self._credential.form(nonce=nonce) | self._wanted

    def _offered_nonce(self, answer: Answer) -> str | None:
        return offered_nonce(answer) if self._credential.signs else None


def _unreachable(error: Exception) -> TokenUnavailableError:
    return TokenUnavailableError(f"The Server cannot be reached: {error}")
