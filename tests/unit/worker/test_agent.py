"""The agent's rules, with a clock that tests move."""

import asyncio
import functools

import pytest
import structlog

from lyftdata.client.held_token import HeldToken
from lyftdata.client.token_endpoint import TokenReply
from lyftdata.core.backoff import Backoff
from lyftdata.core.records import Strategy
from lyftdata.core.refusals import all_causes
from lyftdata.service_manager import Notifier
from lyftdata.worker import status_report
from lyftdata.worker.agent import Agent
from lyftdata.worker.client import (
    AgentNotice,
    Directive,
    PollReply,
    RefusedByServerError,
    ServerUnreachableError,
    TokenRejectedError,
)
from lyftdata.worker.end_report import EndReport
from lyftdata.worker.identity.state import StateDirectory
from lyftdata.worker.process.restart import RestartPolicy
from lyftdata.worker.process.supervisor import CommandSupervisor
from lyftdata.worker.settings import read_worker_settings
from lyftdata.worker.stopping import Stopping
from lyftdata.worker.tokens.provider import TokenProvider

ESTABLISHED = PollReply(session="established", hold_s=25)


class ScriptedServer:
    """Both a credential and a client: gives tokens, and answers polls as the test's script says."""

    agent: Agent
    clock: "Clock"
    worker_id = "w-1"
    strategy = Strategy.API_KEY
    fingerprint = "fp-1"

    def __init__(self, *script, tokens=()):
        self.script = list(script)
        self.tokens = list(tokens)
        self.given = 0
        self.polled = []
        self.awaited = []
        self.signed_off = False
        self.new_keys = 0
        self.key = 1

    def version(self):
        """Return which key is in the file."""
        return f"key {self.key}"

    def rotate(self):
        """Put another key into the file, if one is left."""
        self.key += self.new_keys > 0
        self.new_keys -= self.new_keys > 0

    async def token(self, _credential, *, waits_for_approval=False):
        """Give the next token, or the script's outcome instead."""
        self.given += 1
        assert waits_for_approval
        if self.tokens:
            outcome = self.tokens.pop(0)
            if isinstance(outcome, Exception):
                self.rotate()
                raise outcome
        return TokenReply(f"token-{self.given}", 900)

    async def poll(self, token, body, *, hold_s):
        """Answer the next poll; at the end of the script, stop the agent."""
        if body["sign_off"]:
            self.signed_off = True
            return PollReply(session="ended")
        self.polled.append(token)
        self.awaited.append(body["await_slot"])
        if not self.script:
            self.agent.stop()
            return ESTABLISHED
        outcome = self.script.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        if callable(outcome):
            return outcome() or ESTABLISHED
        if outcome is ESTABLISHED:
            self.clock.now_s += hold_s
        return outcome or ESTABLISHED


class Clock:
    """Seconds that pass when the agent sleeps."""

    def __init__(self):
        self.now_s = 1000.0
        self.slept = []

    def __call__(self):
        return self.now_s


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs an agent through a script; it returns the exit code and the waits."""

    async def go(server):
        clock = Clock()
        settings = read_worker_settings({"LYFTDATA_WORKER_ID": "w-1", "LYFTDATA_WORKER_API_KEY": "k"})
        agent = Agent(
            settings,
            client=server,
            directory=StateDirectory(tmp_path),
            supervisor=CommandSupervisor(None, restart=RestartPolicy("never", chance=lambda: 0.5)),
            provider=TokenProvider(server, directory=None, monotonic=clock),
            notifier=Notifier({}),
            end_report=EndReport({}),
            stop=asyncio.Event(),
            chance=lambda: 0.5,
            monotonic=clock,
        )
        server.agent, server.clock = agent, clock

        async def pause(seconds):
            clock.slept.append(round(seconds, 2))
            clock.now_s += seconds
            await asyncio.sleep(0)
            if agent._stop.is_set():
                raise Stopping

        monkeypatch.setattr(agent, "_pause", pause)
        async with asyncio.timeout(180):
            code = await agent.run(server)
        return code, clock.slept

    return go


async def test_polls_follow_each_other_on_one_token(run):
    """Without waits; at the end the Worker signs off."""
    server = ScriptedServer(ESTABLISHED, ESTABLISHED, ESTABLISHED)

    assert await run(server) == (0, [])
    assert server.polled == ["token-1"] * 4
    assert server.signed_off


async def test_polls_that_are_not_held_are_spaced_out(run):
    """Behind a proxy that answers at once, or with a clone of itself running, the agent polls about once a second."""
    at_once = PollReply(session="established", hold_s=25)
    _, slept = await run(ScriptedServer(*[at_once] * 5))

    assert slept == [1.0] * 3


async def test_a_token_is_renewed_at_two_thirds_of_its_life(run):
    """The poll after that moment uses a new token, the one before it the old."""
    server = ScriptedServer()
    server.script = [
        lambda: setattr(server.clock, "now_s", 1000 + 599),
        lambda: setattr(server.clock, "now_s", 1000 + 600),
        ESTABLISHED,
    ]
    await run(server)

    assert server.polled == ["token-1", "token-1", "token-2", "token-2"]


class HeldPoll(ScriptedServer):
    """Holds a poll from just before the token is due until another one was requested."""

    async def poll(self, token, body, *, hold_s):
        """Answer once the next token was given."""
        if not self.polled:
            self.clock.now_s += 599.99
        elif not body["sign_off"]:
            while self.given < len(self.tokens) + 2:
                await asyncio.sleep(0.001)
        return await super().poll(token, body, hold_s=hold_s)


async def test_a_token_is_renewed_during_a_held_poll(run):
    """A poll may be held for longer than a token is valid: the COMMAND's token is renewed meanwhile."""
    server = HeldPoll(None)
    await run(server)

    assert server.given == 2
    assert server.polled == ["token-1", "token-1"]


async def test_a_final_refusal_during_a_held_poll_ends_the_worker(run):
    """Although its poll is still held."""
    server = HeldPoll(None, tokens=[None, RefusedByServerError("no", reference="R", final=True)])

    assert (await run(server))[0] == 3


@pytest.mark.parametrize(("jitter", "due_s"), [(0.0, 450), (0.5, 600), (1.0, 750)])
def test_renewals_are_spread_by_jitter(jitter, due_s):
    """Around two thirds of the lifetime, so that a fleet that started together does not renew together."""
    token = HeldToken(TokenReply("t", 900), monotonic_s=0, jitter=jitter)
    assert not token.is_due(due_s - 1)
    assert token.is_due(due_s)


@pytest.mark.parametrize("life_s", [0, -5, 1e12, 1e-9])
def test_absurd_token_lifetimes_are_limited(life_s):
    """A very short one does not make the agent flood the Server, and a very long one is still renewed."""
    token = HeldToken(TokenReply("t", life_s), monotonic_s=0, jitter=0.5)
    assert 3 <= token.due_in_s(0) <= 86_400


async def test_outages_are_retried_with_backoff(run):
    """Each failure doubles the wait, up to half a minute; a success resets it."""
    down = ServerUnreachableError("down")
    code, slept = await run(ScriptedServer(*[down] * 8, ESTABLISHED, down))

    assert code == 0
    assert slept == [0.75, 1.5, 3.0, 6.0, 12.0, 22.5, 22.5, 22.5, 0.75]


async def test_an_outage_of_the_token_endpoint_is_retried_too(run):
    """With the same backoff."""
    down = ServerUnreachableError("down")
    code, slept = await run(ScriptedServer(ESTABLISHED, tokens=[down, down]))

    assert (code, slept) == (0, [0.75, 1.5])


async def test_retry_after_is_the_minimum_wait(run):
    """Up to five minutes."""
    busy = [ServerUnreachableError("busy", retry_after_s=s) for s in (40, 1e9)]
    _, slept = await run(ScriptedServer(*busy))

    assert slept[0] >= 40
    assert 300 <= slept[1] <= 330


async def test_a_rejected_token_is_replaced_at_once_and_then_with_backoff(run):
    """A Server that rejects every token is not flooded."""
    rejected = TokenRejectedError(reference="7K2M9QXD")
    server = ScriptedServer(ESTABLISHED, rejected, ESTABLISHED, *[rejected] * 6)
    _, slept = await run(server)

    assert slept[0] < 0.2
    assert slept[1] < 0.2
    assert slept[2:] == [1.5, 3.0, 6.0, 12.0, 22.5]


@pytest.mark.parametrize(
    ("reference", "remedy"),
    [
        ("7K2M9QXD", "ask an operator to run: lyftdata refusals show 7K2M9QXD"),
        ("", "check LYFTDATA_URL, and what is between this host and the Server"),
    ],
)
async def test_a_new_token_that_is_rejected_is_reported(run, monkeypatch, reference, remedy):
    """The log says so, with the remedy."""
    capture = structlog.testing.LogCapture()
    monkeypatch.setattr(status_report, "_log", structlog.wrap_logger(None, processors=[capture]))
    rejected = TokenRejectedError(reference=reference)

    await run(ScriptedServer(ESTABLISHED, *[rejected] * 3))

    reports = [entry for entry in capture.entries if entry["event"] == "token_rejected"]
    assert len(reports) == 2
    assert reports[0]["log_level"] == "error"
    assert reports[0]["remedy"] == remedy
    assert reports[0].get("reference", "") == reference


def test_meaning_and_remedy_of_each_cause_are_logged_completely(monkeypatch):
    """The end of a long remedy is not cut off."""
    capture = structlog.testing.LogCapture()
    monkeypatch.setattr(status_report, "_log", structlog.wrap_logger(None, processors=[capture]))
    report = status_report.StatusReport(Notifier({}), server="https://lyft.example")
    causes = all_causes()

    for cause in causes:
        report.refused(
            RefusedByServerError(cause.meaning, reference="R", cause_code=cause.code, remedy=cause.remedy)
        )

    logged = [(entry["reason"], entry["remedy"]) for entry in capture.entries]
    assert logged == [(cause.meaning, cause.remedy) for cause in causes]


async def test_a_final_refusal_ends_with_exit_code_3(run):
    """Without a sign-off, since the Worker is not connected."""
    refused = RefusedByServerError("no", reference="7K2M9QXD", final=True)
    server = ScriptedServer(tokens=[refused])

    assert (await run(server))[0] == 3
    assert not server.signed_off


@pytest.mark.parametrize("refused_by", ["by a directive", "by the token endpoint"])
@pytest.mark.parametrize(("new_keys", "code"), [(1, 0), (0, 3)])
async def test_a_rotated_key_is_tried_before_a_refusal_is_final(run, refused_by, new_keys, code):
    """If the file already has the new key when the old one ends, the Worker continues; with the same key it ends."""
    refused = RefusedByServerError("Expired.", reference="R", final=True)
    stop = PollReply(
        session="established", directives=[Directive("stop", "api_key_expired", True, "Expired.", "R")]
    )
    if refused_by == "by a directive":
        server = ScriptedServer(ESTABLISHED)

        def stop_while_held():
            server.rotate()
            return stop

        server.script += [stop_while_held, ESTABLISHED]
    else:
        rejected = TokenRejectedError(reference="R")
        server = ScriptedServer(ESTABLISHED, rejected, ESTABLISHED, tokens=[None, refused])
    server.new_keys = new_keys

    assert (await run(server))[0] == code


async def test_a_key_that_stays_wrong_ends_the_worker(run):
    """Each new key is tried once; if it is refused too, that is final."""
    refused = RefusedByServerError("no", reference="R", final=True)
    server = ScriptedServer(tokens=[refused] * 5)
    server.new_keys = 2

    assert (await run(server))[0] == 3
    assert server.given == 3


async def test_a_refusal_that_is_not_final_is_retried_with_backoff(run):
    """A disabled Worker keeps running, and connects again once it is enabled."""
    disabled = RefusedByServerError("no", reference="R", cause_code="worker_disabled", final=False)
    server = ScriptedServer(ESTABLISHED, tokens=[disabled] * 3)

    assert await run(server) == (0, [0.75, 1.5, 3.0])


async def test_a_second_instance_waits_for_the_slot_of_the_first(run):
    """In a rolling update, each poll after the first refusal is held until the other process has gone, and retried soon."""
    duplicate = RefusedByServerError("Twice.", reference="R", cause_code="duplicate_instance", final=False)
    server = ScriptedServer(*[duplicate] * 8, ESTABLISHED)
    code, slept = await run(server)

    assert code == 0
    assert max(slept) <= 2
    assert server.awaited == [False, *[True] * 8, False]


async def test_retry_after_of_a_refusal_is_the_minimum_wait(run):
    """Before the next token request."""
    limited = RefusedByServerError("Too many.", reference="r", final=False, retry_after_s=7)

    _, slept = await run(
        ScriptedServer(ESTABLISHED, TokenRejectedError(reference="7K2M9QXD"), tokens=[None, limited])
    )

    assert max(slept) >= 7


async def test_waiting_for_approval_is_logged_once(run):
    """The Server holds each request, and says when to ask again."""
    waits = [
        RefusedByServerError(
            "Waits.", reference="", cause_code="awaiting_approval", final=False, retry_after_s=seconds
        )
        for seconds in (1, 0, 999_999, None)
    ]
    server = ScriptedServer(ESTABLISHED, tokens=[*waits, None])

    with structlog.testing.capture_logs() as logged:
        assert (await run(server))[0] == 0

    (said,) = [line for line in logged if line["event"] == "awaiting_approval"]
    assert (said["worker_id"], said["fingerprint"]) == ("w-1", "fp-1")
    assert [line for line in logged if line["event"] == "refused"] == []
    assert server.clock.slept[:4] == [1.0, 0.1, 60.0, 0.75]
    assert server.polled[0] == "token-5"


async def test_directives_are_followed(run):
    """`renew` gets a new token, an unknown kind is ignored, a final `stop` ends with exit code 3."""
    renew = PollReply(session="established", directives=[Directive("renew"), Directive("dance\x1b[31m")])
    stop = PollReply(
        session="established", directives=[Directive("stop", "worker_deleted", True, "Gone.", "R")]
    )
    server = ScriptedServer(ESTABLISHED, renew, ESTABLISHED, stop)

    assert (await run(server))[0] == 3
    assert server.polled == ["token-1", "token-1", "token-2", "token-2"]


def test_backoff_is_jittered_and_bounded():
    """Between half of the bound and all of it, and never more than half a minute."""
    for chance in (0.0, 0.999):
        backoff = Backoff(random=functools.partial(float, chance))
        waits = [backoff.next_s() for _ in range(100)]
        assert 0.5 <= waits[0] <= 1
        assert max(waits) <= 30


async def test_an_outdated_agent_logs_the_notice_once(run):
    """And again if the notice changes; it continues to work."""

    def reply_with_notice(minimum, refused_from=None):
        return PollReply(session="established", hold_s=25, outdated=AgentNotice(minimum, refused_from))

    soon = "2027-03-01T00:00:00Z"
    with structlog.testing.capture_logs() as logs:
        code, _ = await run(
            ScriptedServer(
                reply_with_notice("1.4"),
                reply_with_notice("1.4"),
                reply_with_notice("1.4", soon),
                reply_with_notice("1.4", soon),
            )
        )

    found = [
        (line["minimum"], line.get("refused_from")) for line in logs if line["event"] == "agent_outdated"
    ]
    assert (code, found) == (0, [("1.4", None), ("1.4", soon)])
