"""
A Worker's session at the Server: keeps a valid token, sends one long poll after the other, and signs off.

    session = ServerSession(client, labels=…, backoff=…, on_token=…)
    token = await session.valid_token(credential)
    reply = await session.poll(token, credential, awaits_slot=False)
    await session.sign_off()
"""

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from lyftdata.client.credentials import Credential
from lyftdata.client.held_token import HeldToken
from lyftdata.core.backoff import Backoff
from lyftdata.core.log_events.worker import API_KEY_CHANGED
from lyftdata.core.names import format_labels
from lyftdata.log import emit, get_logger
from lyftdata.worker.client import PollReply, ServerClient, ServerUnreachableError
from lyftdata.worker.hold_limit import HoldLimit
from lyftdata.worker.host_facts import host_facts

_log = get_logger(__name__)

_FIRST_HOLD_S = 25.0
_MIN_HOLD_S, _MAX_HOLD_S = 1.0, 600.0
_SIGN_OFF_WITHIN_S = 3.0
# How often a poll checks for a rotated API key while it is held.
_LOOK_EVERY_S = 5.0


class CredentialChangedError(Exception):
    """The API key was rotated: get a token with the new key, whatever the Server answers about the old one."""


class ServerSession:
    """
    The session of one run, from its first token to the sign-off; the Server identifies the run by its `boot_id`.

    Args:
        client: The Server.
        labels: The labels that the Worker reports.
        backoff: The waits between attempts; shared with the agent, so that every kind of failure counts.
        on_token: Called with each token before it is used.
        chance: Returns a random number from 0 to below 1.
        monotonic: Returns seconds on a clock that does not jump.
    """

    def __init__(
        self,
        client: ServerClient,
        *,
        labels: Mapping[str, str],
        backoff: Backoff,
        on_token: Callable[[HeldToken], None],
        chance: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._labels = format_labels(labels)
        self._backoff = backoff
        self._on_token = on_token
        self._chance = chance
        self._monotonic = monotonic
        self._boot_id = uuid.uuid4().hex
        self._facts = host_facts()
        self._token: HeldToken | None = None
        self._token_by = ""
        """The version of the credential with which the token was last requested."""
        self._hold_s = _FIRST_HOLD_S
        self._hold_limit = HoldLimit(monotonic)

    @property
    def agent_version(self) -> str:
        """Return the version of the agent, which each poll reports."""
        return self._facts["agent_version"]

    def was_asked_by(self, credential: Credential) -> bool:
        """Return whether the last token was requested with the present version of the credential, not with a key that was rotated since."""
        return self._token_by == credential.version()

    def discard_token(self) -> None:
        """Forget the token: another one is fetched before the next poll."""
        self._token = None

    async def valid_token(self, credential: Credential) -> HeldToken:
        """
        Return the token, renewing it first if that is due or the API key was rotated, which a short poll does not notice.

        Raises:
            ServerUnreachableError, RefusedByServerError: As for `ServerClient.token`.
        """
        if self._token is None or self._token.is_due(self._monotonic()) or not self.was_asked_by(credential):
            return await self._renew(credential)
        return self._token

    async def poll(self, token: HeldToken, credential: Credential, *, awaits_slot: bool) -> PollReply:
        """
        Send one long poll; the token is renewed meanwhile, since a poll may be held for longer than a token lives.

        Args:
            token: A valid token.
            credential: The credential to renew it with.
            awaits_slot: Whether the Server is to hold the poll until another process of this Worker is gone.

        Raises:
            CredentialChangedError: The API key was rotated.
            TokenRejectedError, ServerUnreachableError, RefusedByServerError: As for `ServerClient.poll` and `token`.
        """
        body = self._body(awaits_slot=awaits_slot)
        poll = asyncio.ensure_future(self._client.poll(token.text, body, hold_s=self._hold_s))
        asked_at_s = self._monotonic()
        try:
            await self._keep_token_until_done(poll, token, credential)
            reply = poll.result()
        except ServerUnreachableError as error:
            self._hold_limit.note_failure(self._monotonic() - asked_at_s, was_cut=error.was_cut)
            raise
        finally:
            poll.cancel()
            await asyncio.gather(poll, return_exceptions=True)
        self._hold_limit.note_answer(self._monotonic() - asked_at_s)
        self._hold_s = min(max(reply.hold_s, _MIN_HOLD_S), _MAX_HOLD_S)
        return reply

    async def sign_off(self) -> PollReply | None:
        """
        Sign off, so that the Server shows this Worker as offline at once; bounded in time, since the Server may be down.

        Returns:
            The answer; None if there is no token and so no session.

        Raises:
            TimeoutError: The Server did not answer.
            TokenRejectedError, ServerUnreachableError, RefusedByServerError: As for `ServerClient.poll`.
        """
        if self._token is None:
            return None
        async with asyncio.timeout(_SIGN_OFF_WITHIN_S):
            body = self._body(sign_off=True)
            return await self._client.poll(self._token.text, body, hold_s=_SIGN_OFF_WITHIN_S)

    async def _keep_token_until_done(
        self, poll: "asyncio.Future[PollReply]", token: HeldToken, credential: Credential
    ) -> None:
        left_s = token.due_in_s(self._monotonic())
        while not (await asyncio.wait({poll}, timeout=min(left_s, _LOOK_EVERY_S)))[0]:
            if not self.was_asked_by(credential):
                raise CredentialChangedError
            left_s -= _LOOK_EVERY_S
            if left_s <= 0:
                left_s = await self._renew_while_held(credential)

    async def _renew_while_held(self, credential: Credential) -> float:
        """Renew the token during a poll; return the seconds until the next renewal is due."""
        try:
            token = await self._renew(credential)
        except ServerUnreachableError as error:
            return self._backoff.next_s(retry_after_s=error.retry_after_s)
        self._backoff.reset()
        return token.due_in_s(self._monotonic())

    async def _renew(self, credential: Credential) -> HeldToken:
        version = credential.version()
        if self._token_by not in {"", version}:
            emit(_log, API_KEY_CHANGED)
        self._token_by = version
        reply = await self._client.token(credential, waits_for_approval=True)
        token = HeldToken(reply, monotonic_s=self._monotonic(), jitter=self._chance())
        self._token = token
        self._on_token(token)
        return token

    def _body(self, *, awaits_slot: bool = False, sign_off: bool = False) -> dict[str, Any]:
        return {
            "boot_id": self._boot_id,
            "host": self._facts,
            "labels": self._labels,
            "sign_off": sign_off,
            "await_slot": awaits_slot,
            "max_hold_s": self._hold_limit.seconds,
        }
