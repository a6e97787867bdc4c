"""
The agent: gets a token, keeps a session open, and runs the COMMAND while it is connected.

    enrolling --> fetching a token --> connected --+
        ^              ^                           |
        |              +--- token due, or not taken any more
        +--- an ephemeral Worker whose entry is gone, or a copy that may enroll as a new Worker;
             any other identity is for ever (until the directory is removed)

It exits on SIGTERM or SIGINT (signs off, exit 0), when the COMMAND ends (its exit code) unless it is restarted, or after a
final refusal (exit 3). An outage never ends it. It stops the COMMAND and waits if it is disabled, a second instance of the same
Worker, not approved yet, or its name is in use; then it retries at growing intervals and reconnects by itself.
"""

import asyncio
import functools
import random
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from lyftdata.client.credentials import Credential
from lyftdata.client.held_token import HeldToken
from lyftdata.core.backoff import Backoff
from lyftdata.core.log_events.worker import (
    AGENT_OUTDATED,
    ENROLLMENT_KEY_CHANGED,
    KEY_NOT_ROTATED,
    KEY_ROTATED,
    SIGN_OFF_FAILED,
    STOPPED,
    UNKNOWN_DIRECTIVE,
)
from lyftdata.core.refusals import AwaitingApprovalError, DuplicateInstanceError
from lyftdata.core.secret import Secret
from lyftdata.core.strategy import StoredIdentity
from lyftdata.core.text import clean_text
from lyftdata.current_secrets import CurrentEnrollmentKey
from lyftdata.log import emit, get_logger
from lyftdata.service_manager import Notifier
from lyftdata.worker.client import (
    AgentNotice,
    Directive,
    PollReply,
    RefusedByServerError,
    ServerClient,
    ServerUnreachableError,
    TokenRejectedError,
)
from lyftdata.worker.end_report import EndReport
from lyftdata.worker.identity.enrollment import obtain_identity
from lyftdata.worker.identity.rotation import rotate_identity_key
from lyftdata.worker.identity.state import StateDirectory, StateError
from lyftdata.worker.identity.succession import Obtain, discard_removed, find_succession
from lyftdata.worker.process.command import SIGNAL_EXIT_BASE
from lyftdata.worker.process.supervisor import CommandSupervisor
from lyftdata.worker.session import CredentialChangedError, ServerSession
from lyftdata.worker.settings import WorkerSettings
from lyftdata.worker.status_report import StatusReport
from lyftdata.worker.stopping import Stopping, pause, unless_stopped
from lyftdata.worker.tokens.provider import TokenProvider

_log = get_logger(__name__)

T = TypeVar("T")

EXIT_DONE = 0
EXIT_REFUSED = 3

_MIN_POLL_S = 1.0
_MAX_PAUSE_FOR_SLOT_S = 2.0
# Between two requests that the Server holds. A proxy that answers instead must neither silence the Worker nor make it flood the Server.
_MIN_PAUSE_FOR_APPROVAL_S = 0.1
_MAX_PAUSE_FOR_APPROVAL_S = 60.0


class PermanentlyRefusedError(Exception):
    """A final refusal, already logged."""

    def __init__(self, refused: RefusedByServerError) -> None:
        super().__init__(refused.message)
        self.refused: Final = refused


class IdentityEndedError(Exception):
    """
    The identity can no longer be used, but the Worker may get another one.

    Args:
        obtain: Obtains the other identity.
    """

    def __init__(self, obtain: Obtain) -> None:
        super().__init__()
        self.obtain: Final = obtain


class Agent:
    """
    One run of a Worker.

    Args:
        settings: The Worker's settings.
        client: The Server.
        directory: The Worker's own directory.
        supervisor: Runs the COMMAND while the Worker is admitted.
        provider: Gives the current token to the COMMAND.
        notifier: Reports the state to systemd.
        stop: Set when the agent is to end: by `stop()`, and when the COMMAND ends.
        chance: Returns a random number from 0 to below 1.
        monotonic: Returns seconds on a clock that does not jump.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        client: ServerClient,
        directory: StateDirectory,
        supervisor: CommandSupervisor,
        provider: TokenProvider,
        notifier: Notifier,
        end_report: EndReport,
        stop: asyncio.Event,
        chance: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._client = client
        self._directory = directory
        self._chance = chance
        self._monotonic = monotonic
        self._backoff = Backoff(random=chance)
        self._session = ServerSession(
            client,
            labels=settings.labels,
            backoff=self._backoff,
            on_token=self._use_token,
            chance=chance,
            monotonic=monotonic,
        )
        self._name = ""
        """The Worker's name on the Server, as in the last token."""
        self._online = False
        self._awaits_slot = False
        self._awaits_approval = False
        self._awaits_first_token = False
        """Whether this run created the identity, and the Server has not issued a token for it yet."""
        self._is_rotation_asked = False
        """Whether the Server asks for another identity key."""
        self._rejected_in_a_row = 0
        self._outdated: AgentNotice | None = None
        """The notice of the Server's fleet policy that was logged last."""
        self._last_answer_s = -_MIN_POLL_S
        self._stop = stop
        self._stop_signal: int | None = None
        self._provider = provider
        self._end_report = end_report
        self._report = StatusReport(notifier, server=settings.url)
        self._supervisor = supervisor

    def stop(self, number: int | None = None) -> bool:
        """
        Ask the agent to end; safe to call twice.

        Args:
            number: The signal that was received; the COMMAND gets the same one.

        Returns:
            Whether this is the first request to end.
        """
        is_news = not self._stop.is_set()
        self._stop.set()
        if is_news:
            self._stop_signal = number
        return is_news

    async def run(self, credential: Credential | None) -> int:
        """Run until stopped or finally refused; return the exit code."""
        refused: RefusedByServerError | None = None
        try:
            found = credential or await self._enrolled()
            while True:
                self._provider.identify(found)
                found = await self._run_as(found)
        except Stopping:
            pass
        except PermanentlyRefusedError as error:
            refused = error.refused
        finally:
            await self._end()
        return self._exit_code(refused)

    def _exit_code(self, refused: RefusedByServerError | None) -> int:
        """Return the exit code, and report the reason for it, if any."""
        if refused is not None:
            self._end_report.refused(refused)
            return EXIT_REFUSED
        if self._supervisor.exit_code:
            self._end_report.command_ended(self._supervisor.exit_code)
            return self._supervisor.exit_code
        return self._ended_by_signal()

    def _ended_by_signal(self) -> int:
        """Return the exit code of a stop: 0 without a signal and for SIGTERM and SIGINT, 128+n for another signal n."""
        if self._stop_signal in {None, signal.SIGTERM, signal.SIGINT}:
            return EXIT_DONE
        return SIGNAL_EXIT_BASE + (self._stop_signal or 0)

    async def _run_as(self, credential: Credential) -> Credential:
        """Poll with a credential for as long as its Worker exists; return the credential of the new Worker that succeeds it."""
        while True:
            try:
                if self._is_rotation_asked:
                    credential = await self._rotate_key(credential)
                await self._poll_once(credential)
            except IdentityEndedError as ended:
                return await self._enrolled(ended.obtain)

    async def _rotate_key(self, credential: Credential) -> Credential:
        """
        Return the credential with a new identity key, or unchanged if the rotation fails now.

        The COMMAND keeps running. A failed rotation is retried after the next poll; a refusal concerns the current key too, and shows
        at the next token request.
        """
        try:
            rotated = await self._unless_stopped(
                rotate_identity_key(credential, self._directory, self._client)
            )
        except (ServerUnreachableError, RefusedByServerError, StateError) as error:
            emit(_log, KEY_NOT_ROTATED, problem=error.message)
            await self._pause(_MIN_POLL_S)
            return credential
        self._is_rotation_asked = False
        self._session.discard_token()
        self._provider.identify(rotated)
        emit(_log, KEY_ROTATED, worker_id=rotated.worker_id)
        return rotated

    # --- the steps of a round ---------------------------------------------------------------------------

    async def _enrolled(self, obtain: Obtain = obtain_identity) -> Credential:
        key = CurrentEnrollmentKey(
            self._settings.enrollment_key or Secret(""), self._settings.enrollment_key_file
        )
        while True:
            version = key.version()
            try:
                credential = await self._unless_stopped(
                    obtain(self._settings, self._directory, self._client, key)
                )
            except ServerUnreachableError as error:
                await self._wait_before_retry(error)
            except RefusedByServerError as refused:
                if refused.final and key.version() != version:
                    # A rotated key is tried before a refusal of the old one is final.
                    emit(_log, ENROLLMENT_KEY_CHANGED)
                elif (other := await self._end_identity(refused)) is not None:
                    obtain = other
                else:
                    await self._refused(refused)
            except StateError as error:
                await self._wait_for_the_disk(error)
            else:
                self._backoff.reset()
                self._awaits_first_token = True
                return credential

    async def _poll_once(self, credential: Credential) -> None:
        """Renew the token if due, send one poll, and follow the directives in the answer."""
        try:
            token = await self._unless_stopped(self._session.valid_token(credential))
            poll = self._session.poll(token, credential, awaits_slot=self._awaits_slot)
            await self._connected(await self._unless_stopped(poll), credential)
        except CredentialChangedError:
            self._session.discard_token()
        except TokenRejectedError as rejected:
            await self._token_rejected(rejected)
        except ServerUnreachableError as error:
            await self._wait_before_retry(error)
        except RefusedByServerError as refused:
            if refused.cause_code == AwaitingApprovalError.code:
                await self._await_approval(refused, credential)
            elif refused.final and not self._session.was_asked_by(credential):
                self._session.discard_token()  # a rotated key is tried before a refusal of the old one is final
            elif (obtain := await self._end_identity(refused)) is not None:
                raise IdentityEndedError(obtain) from refused
            else:
                await self._refused(refused)

    def _use_token(self, token: HeldToken) -> None:
        self._awaits_first_token = False
        self._awaits_approval = False
        self._name = token.worker_name or self._settings.worker_name or ""
        self._provider.publish(token)

    async def _connected(self, reply: PollReply, credential: Credential) -> None:
        self._backoff.reset()
        self._rejected_in_a_row = 0
        self._awaits_slot = False
        self._note_outdated(reply.outdated)
        for directive in reply.directives:
            self._follow_directive(directive)
        if reply.directives or reply.session != "established":
            return
        if self._online:
            await self._limit_poll_rate()
        else:
            self._online = True
            self._report.online(credential, name=self._name)
        self._supervisor.ensure(functools.partial(self._identity, credential))

    def _note_outdated(self, notice: AgentNotice | None) -> None:
        """Log once that the Server asks for a newer agent, and again only when it asks for something else."""
        if notice is not None and notice != self._outdated:
            emit(
                _log,
                AGENT_OUTDATED,
                version=self._session.agent_version,
                minimum=clean_text(notice.minimum, 32),
                refused_from=clean_text(notice.refused_from or "", 32) or None,
            )
        self._outdated = notice

    def _identity(self, credential: Credential) -> dict[str, str]:
        """Return the COMMAND's variables: the Worker's ID and name, and the paths of its token."""
        who = {"LYFTDATA_URL": self._settings.url, "LYFTDATA_WORKER_ID": credential.worker_id}
        return who | ({"LYFTDATA_WORKER_NAME": self._name} if self._name else {}) | self._provider.environ()

    async def _limit_poll_rate(self) -> None:
        """
        Pause after a poll that was answered at once instead of held, so that polls do not flood the Server.

        Otherwise a proxy that does not hold requests, or a copy of this process (a cloned virtual machine has the same boot id),
        would cause an endless stream of polls.
        """
        now_s = self._monotonic()
        if now_s - self._last_answer_s < _MIN_POLL_S:
            await self._pause(_MIN_POLL_S * (0.5 + self._chance()))
        self._last_answer_s = self._monotonic()

    def _follow_directive(self, directive: Directive) -> None:
        match directive.kind:
            case "stop":
                raise RefusedByServerError(
                    directive.reason,
                    reference=directive.reference,
                    cause_code=directive.code,
                    final=directive.final,
                    remedy=directive.remedy,
                )
            case "renew":
                self._session.discard_token()
            case "rotate_key":
                self._is_rotation_asked = True
            case _:
                emit(_log, UNKNOWN_DIRECTIVE, kind=clean_text(directive.kind, 32))

    # --- failures and refusals --------------------------------------------------------------------------

    async def _token_rejected(self, rejected: TokenRejectedError) -> None:
        """
        Get another token: almost at once the first time, with growing waits while new tokens are rejected too.

        The Server may be right to reject an old token, and the next token request shows why. It gives no reason to a caller whose
        token it rejects, so if a new token is rejected as well, that is reported here, with the reference.
        """
        self._session.discard_token()
        self._rejected_in_a_row += 1
        wait_s = self._backoff.next_s()
        if self._rejected_in_a_row == 1:
            await self._pause(wait_s * 0.1)
            return
        self._online = False
        self._report.token_rejected(rejected, wait_s=wait_s)
        await self._pause(wait_s)

    async def _wait_before_retry(self, error: ServerUnreachableError) -> None:
        """Report an outage and wait before the next attempt; the COMMAND keeps running."""
        wait_s = self._backoff.next_s(retry_after_s=error.retry_after_s)
        if self._online:
            self._online = False
            self._report.offline(error)
        self._report.retrying(error, wait_s=wait_s, failures=self._backoff.failures)
        await self._pause(wait_s)

    async def _wait_for_the_disk(self, error: StateError) -> None:
        """Wait until the Worker's directory is writable: an identity is used only once it is stored. A retry with the same key gets the same ID."""
        wait_s = self._backoff.next_s()
        self._report.enrollment_blocked(error, wait_s=wait_s)
        await self._pause(wait_s)

    async def _end_identity(self, refused: RefusedByServerError) -> Obtain | None:
        """End the identity if the Worker may get another one after this refusal, and return how; otherwise None."""
        found = find_succession(refused, self._settings, self._directory, is_first=self._awaits_first_token)
        if found is None:
            return None
        await self._withdraw()
        if found.discarded is not None:
            await self._discard(found.discarded)
        return found.obtain

    async def _discard(self, stored: StoredIdentity) -> None:
        """Remove an identity from the directory; wait until the directory is writable."""
        while True:
            try:
                self._directory.discard_identity(stored)
            except StateError as error:
                await self._wait_for_the_disk(error)
            else:
                self._backoff.reset()
                return

    async def _withdraw(self) -> None:
        """Withdraw the COMMAND's tokens, and stop it."""
        self._online = False
        self._session.discard_token()
        self._provider.withdraw()
        await self._supervisor.stop()

    async def _refused(self, refused: RefusedByServerError) -> None:
        """Handle a refusal: stop the COMMAND; then end, or wait and retry."""
        self._report.refused(refused)
        await self._withdraw()
        if refused.final:
            raise PermanentlyRefusedError(refused)
        wait_s = self._backoff.next_s(retry_after_s=refused.retry_after_s)
        # Another process of this Worker is connected, as in a rolling update: the Server holds the next poll until that process
        # is gone, so there is no reason to wait long.
        self._awaits_slot = refused.cause_code == DuplicateInstanceError.code
        await self._pause(min(wait_s, _MAX_PAUSE_FOR_SLOT_S) if self._awaits_slot else wait_s)

    async def _await_approval(self, refused: RefusedByServerError, credential: Credential) -> None:
        """Report once that an operator must approve this Worker, then pause; the Server has held the request if it could."""
        if not self._awaits_approval:
            self._awaits_approval = True
            self._report.awaiting_approval(refused, credential, name=self._settings.worker_name or "")
        if refused.retry_after_s is None:
            wait_s = self._backoff.next_s()
        else:
            wait_s = min(refused.retry_after_s, _MAX_PAUSE_FOR_APPROVAL_S) * (0.5 + self._chance())
        await self._pause(max(_MIN_PAUSE_FOR_APPROVAL_S, wait_s))

    # --- waiting and ending -----------------------------------------------------------------------------

    async def _unless_stopped(self, work: Awaitable[T]) -> T:
        return await unless_stopped(work, self._stop)

    async def _pause(self, seconds: float) -> None:
        await pause(seconds, self._stop)

    async def _end(self) -> None:
        self._report.stopping()
        await self._supervisor.stop(self._stop_signal or signal.SIGTERM)
        await self._sign_off()
        emit(_log, STOPPED)

    async def _sign_off(self) -> None:
        try:
            reply = await self._session.sign_off()
        except (TimeoutError, TokenRejectedError, ServerUnreachableError, RefusedByServerError):
            emit(_log, SIGN_OFF_FAILED)
        else:
            if reply is not None and reply.removed:
                discard_removed(self._directory)
