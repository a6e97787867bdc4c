"""The events in a fleet's week: actions of operators and hosts, and faults. Each is a method."""

import random
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.builders import ENROLLMENT_KEY
from tests.fleets import secret_body
from tests.processes import until
from tests.soak.model import Entry, Model
from tests.soak.stage import Stage

from lyftdata.core.identity_keys import IdentityKey

TEAMS = tuple(f"team-{number}" for number in range(10))
_WITHIN_S = 300.0
# A revocation takes effect at every Server within a second.
EFFECTIVE_WITHIN_S = 2.0


class ViolationError(Exception):
    """The state violates a rule."""

    def __init__(self, rule: str, found: list[str]) -> None:
        super().__init__(f"{rule}: {', '.join(found[:10])}")
        self.rule, self.found = rule, found


class Week:
    """
    The fleet, and the random events that happen to it.

    Args:
        stage: The running programs.
        dice: The random source, made from the seed.
    """

    def __init__(self, stage: Stage, dice: random.Random) -> None:
        self.stage, self.dice = stage, dice
        self.model = Model()
        # Name and text of each team's shared key.
        self._key_names: dict[str, str] = {}
        self._team_keys: dict[str, str] = {}
        self._count = 0

    def new_id(self, kind: str) -> str:
        """Return an ID that no Worker has had yet."""
        self._count += 1
        return f"{kind}-{self._count:05}"

    # Setup, and Workers that are added later.

    def add_keyed(self, count: int) -> None:
        """Add light Workers that share a team's key, which is issued with the first of them."""
        team = self.dice.choice(TEAMS)
        ids = [self.new_id("key") for _ in range(count)]
        if count == 1:
            path, body = "/api/workers", {"name": ids[0], "id": ids[0]}
        else:
            pattern = f"key-[{ids[0].removeprefix('key-')}-{ids[-1].removeprefix('key-')}]"
            path, body = "/api/workers/batch", {"names": pattern, "ids": pattern}
        self.stage.api.ask("POST", path, body, done_already=409)
        key_name = self._key_names.get(team)
        if key_name is None:
            self._issue_team_key(team, team, ids)
        else:
            self.stage.api.ask("POST", f"/api/api-keys/{key_name}/allow", {"worker_ids": ids})
        for worker_id in ids:
            self.model.add(Entry(worker_id, is_agent=False, team=team, credential=self._team_keys[team]))
        self.stage.crowd.add((worker_id, self._team_keys[team]) for worker_id in ids)

    def enroll(self, count: int) -> None:
        """Enroll light Workers with the shared enrollment key."""
        enrolled = []
        for _ in range(count):
            private = ec.generate_private_key(ec.SECP256R1())
            pem = private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ).decode()
            worker_id = self._register(self.new_id("auto"), IdentityKey(private))
            self.model.add(Entry(worker_id, is_agent=False, team=None, credential=pem))
            enrolled.append((worker_id, pem))
        self.stage.crowd.add(enrolled)

    def _register(self, name: str, key: IdentityKey) -> str:
        body = {"client_name": name, "jwks": {"keys": [key.public.as_dict()]}}

        def ask() -> str:
            answer = self._sent(
                "POST",
                "/oauth2/register",
                json=body,
                headers={"Authorization": f"Bearer {ENROLLMENT_KEY}"},
            )
            if answer is None:
                return ""
            assert answer.status_code == 201, answer.text
            return str(answer.json()["client_id"])

        return str(until(ask, f"{name} is enrolled", within_s=_WITHIN_S, every_s=0.2))

    def start_agents(self, count: int) -> None:
        """Start real agents, half of them with each strategy."""
        for number in range(count):
            if number % 2:
                name = self.new_id("agent-auto")
                given = {"LYFTDATA_WORKER_NAME": name, "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY}
                member = self.stage.start_agent(name, **given)
                worker_id = str(member.agent.wait_for("enrolled")["worker_id"])
                self.stage.agents[worker_id] = self.stage.agents.pop(name)
                self.model.add(Entry(worker_id, is_agent=True, team=None, credential=""))
            else:
                name = self.new_id("agent-key")
                body = {"name": name, "id": name, "issue_key": True}
                answer = self.stage.api.ask("POST", "/api/workers", body)
                key = answer["api_key"]["key"]
                self.stage.start_agent(name, LYFTDATA_WORKER_ID=name, LYFTDATA_WORKER_API_KEY=key)
                self.model.add(Entry(name, is_agent=True, team=None, credential=key))

    # Actions of operators.

    def add_workers(self) -> None:
        """Add a few Workers with an API key, and enroll a few."""
        self.add_keyed(self.dice.randint(1, 5))
        self.enroll(self.dice.randint(1, 5))

    def disable_workers(self) -> None:
        """Disable up to thirty Workers indefinitely."""
        for entry in self._some(lambda entry: entry.may_connect, 30):
            self.stage.api.ask("PATCH", f"/api/workers/{entry.worker_id}", {"enabled": False})
            self.model.change(entry, is_disabled=True)

    def disable_workers_for_hours(self) -> None:
        """Disable up to ten Workers for two hours, after which the Server enables them by itself."""
        for entry in self._some(lambda entry: entry.may_connect, 10):
            body = {"enabled": False, "disabled_until": "2h"}
            self.stage.api.ask("PATCH", f"/api/workers/{entry.worker_id}", body)
            self.model.change(entry, is_disabled=True, disabled_until_h=self.stage.offset_h + 2)

    def enable_workers(self) -> None:
        """Enable every Worker that was disabled indefinitely."""
        for entry in self.model.select(
            lambda entry: entry.is_disabled and not entry.is_removed and entry.disabled_until_h is None
        ):
            self.stage.api.ask("PATCH", f"/api/workers/{entry.worker_id}", {"enabled": True})
            self.model.change(entry, is_disabled=False)

    def remove_workers(self) -> None:
        """Remove up to five light Workers for good."""
        for entry in self._some(lambda entry: not entry.is_agent and not entry.is_removed, 5):
            self.stage.api.ask("DELETE", f"/api/workers/{entry.worker_id}", done_already=404)
            self.model.change(entry, is_removed=True)

    def rotate_a_team_key(self) -> None:
        """Rotate a shared key with a grace period, give the Workers the new one, and end the grace period."""
        team = self._any_team()
        name, old = self._key_names[team], self._team_keys[team]
        answer = self.stage.api.ask("POST", f"/api/api-keys/{name}/rotate", {"grace_s": 86_400})
        self._team_keys[team] = answer["key"]
        self._hand_out(team)
        members = [entry for entry in self._team(team) if entry.may_connect]
        self._wait_until_online({entry.worker_id for entry in members})
        self.stage.api.ask("POST", f"/api/api-keys/{name}/end-previous")
        ended_s = time.monotonic()
        for entry in members[:1]:
            self.require_refused(entry.worker_id, old, since_s=ended_s)

    def revoke_a_team_key(self) -> None:
        """Revoke a shared key: its Workers are refused until they have a newly issued key."""
        team = self._any_team()
        old = self._team_keys[team]
        self.stage.api.ask("POST", f"/api/api-keys/{self._key_names[team]}/revoke")
        ended_s = time.monotonic()
        for entry in self._team(team):
            self.model.change(entry, is_revoked=True)
        time.sleep(self.dice.uniform(3, 6))
        self.require_no_breach()
        ids = [entry.worker_id for entry in self._team(team)]
        self._issue_team_key(team, self.new_id(team), ids)
        for worker_id in ids[:1]:
            self.require_refused(worker_id, old, since_s=ended_s)
        for entry in self._team(team):
            self.model.change(entry, is_revoked=False)
        self._hand_out(team)

    def rotate_the_signing_key(self) -> None:
        """Sign with a new key immediately; tokens signed by the old one stay valid."""
        self.stage.api.ask("POST", "/api/signing-keys/rotate", {"now": True})

    def rotate_identity_keys(self) -> None:
        """Ask every enrolled agent to rotate its identity key."""
        ids = [
            entry.worker_id
            for entry in self.model.select(lambda entry: entry.is_agent and entry.may_connect)
            if not entry.credential
        ]
        self.stage.api.ask("POST", "/api/workers/rotate-keys", {"ids": ids})

    # Actions of hosts.

    def kill_an_agent(self) -> None:
        """Kill an agent as a power cut would, and start it as after its host's reboot."""
        member = self.stage.agents[self.dice.choice(sorted(self.stage.agents))]
        member.agent.kill()
        member.start()

    def restart_an_agent(self) -> None:
        """Stop an agent cleanly, and start it."""
        worker_id = self.dice.choice(sorted(self.stage.agents))
        member = self.stage.agents[worker_id]
        # It exits with its program's exit code.
        member.agent.terminate()
        member.start()

    def step_the_clock(self) -> None:
        """Move the clocks of all machines forward by one to eight hours."""
        self.stage.step_clock(self.dice.randint(1, 8))
        for entry in self.model.select(lambda entry: entry.disabled_until_h is not None):
            if entry.disabled_until_h is not None and entry.disabled_until_h <= self.stage.offset_h:
                self.model.change(entry, is_disabled=False, disabled_until_h=None)

    # Faults.

    def kill_a_server(self) -> None:
        """End a Server with SIGKILL, and start it."""
        self.stage.restart_server(self.dice.randrange(2), kill=True)

    def restart_a_server(self) -> None:
        """Stop a Server cleanly, and start it."""
        self.stage.restart_server(self.dice.randrange(2), kill=False)

    def pause_a_server(self) -> None:
        """Suspend a Server for a few seconds, whatever it is doing."""
        paused = self.stage.pause_server(self.dice.randrange(2))
        time.sleep(self.dice.uniform(1, 8))
        paused.process.send_signal(signal.SIGCONT)

    def restart_the_database(self) -> None:
        """Restart PostgreSQL cleanly."""
        self.stage.databases.restart("fast")

    def crash_the_database(self) -> None:
        """Stop PostgreSQL immediately, and start it."""
        self.stage.databases.restart("immediate")

    def lose_the_database(self) -> None:
        """Lose the primary permanently: its standby takes over and gets a new standby."""
        self.stage.databases.fail_over()

    def fill_the_disk(self) -> None:
        """Fill the database's disk for a few seconds."""
        self.stage.databases.volume.fill()
        time.sleep(self.dice.uniform(2, 6))
        self.stage.databases.volume.free()
        self.stage.databases.heal()

    # What must never happen.

    def require_no_breach(self) -> None:
        """Fail if a light Worker was admitted by a request sent after it had been cut off."""
        let_in_s = self.stage.crowd.state()["let_in_s"]
        breaches = [
            f"{entry.worker_id}: {let_in_s[entry.worker_id] - entry.out_since_s:.1f} s after it was cut off"
            for entry in self.model.light()
            if let_in_s.get(entry.worker_id, 0.0) > entry.out_since_s + EFFECTIVE_WITHIN_S
        ]
        if breaches:
            raise ViolationError("let in who should be out", breaches)

    def require_refused(self, worker_id: str, key: str, *, since_s: float) -> None:
        """
        Fail if a Server accepts an API key that has ended, or a token that it gave for that key in the moment before it knew.

        Args:
            worker_id: A Worker that the key was for.
            key: The API key.
            since_s: When its end was acknowledged, on the clock of `time.monotonic`. The other Server may accept it until it is effective there.
        """
        tokens: list[str] = []

        def ask() -> bool:
            sent_s = time.monotonic()
            answer = self.ask_for_token(worker_id, key)
            if answer is None:
                return False
            if answer.is_success:
                tokens.append(answer.json()["access_token"])
                if sent_s > since_s + EFFECTIVE_WITHIN_S:
                    raise ViolationError("a key that has ended was accepted", [worker_id])
            return answer.is_client_error

        until(ask, "an answer to a wrong key", within_s=_WITHIN_S, every_s=0.2)
        time.sleep(max(0.0, since_s + EFFECTIVE_WITHIN_S - time.monotonic()))
        for token in tokens:
            self.require_refused_token(worker_id, token)

    def ask_for_token(self, worker_id: str, key: str) -> httpx2.Response | None:
        """Return the answer to an API key, or nothing if no Server could decide at present."""
        return self._sent(
            "POST",
            "/oauth2/token",
            content=secret_body(worker_id, key),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )

    def require_refused_token(self, worker_id: str, token: str) -> None:
        """Fail if a Server accepts a token whose key has ended."""

        def ask() -> bool:
            answer = self._sent("GET", "/auth/verify", headers={"Authorization": f"Bearer {token}"})
            if answer is not None and answer.is_success:
                raise ViolationError("a token of a key that has ended was accepted", [worker_id])
            return answer is not None and answer.is_client_error

        until(ask, "an answer to the token of a key that has ended", within_s=_WITHIN_S, every_s=0.2)

    def _sent(self, method: str, path: str, **request: Any) -> httpx2.Response | None:
        """Send a request; return its answer, or nothing if no Server could decide at present."""
        try:
            answer = httpx2.request(
                method, f"{self.stage.site.url}{path}", trust_env=False, timeout=60, **request
            )
        except httpx2.TransportError:
            return None
        return None if answer.status_code in {502, 503, 504} else answer

    # Helpers.

    def _issue_team_key(self, team: str, name: str, worker_ids: list[str]) -> None:
        self._key_names[team], answer = self.stage.api.issue("/api/api-keys", name, worker_ids=worker_ids)
        self._team_keys[team] = answer["key"]

    def _wait_until_online(self, ids: set[str]) -> None:
        until(
            lambda: ids <= set(self.stage.crowd.state()["online"]),
            "the Workers of a team are online",
            within_s=_WITHIN_S,
            every_s=0.5,
        )

    def _some(self, wanted: Callable[[Entry], bool], at_most: int) -> list[Entry]:
        found = self.model.select(wanted)
        # Most of the fleet stays, however long the run is.
        count = min(self.dice.randint(1, at_most), len(found) // 4)
        return self.dice.sample(found, count)

    def _any_team(self) -> str:
        return self.dice.choice([team for team in TEAMS if self._team(team)])

    def _team(self, team: str) -> list[Entry]:
        return self.model.select(lambda entry: entry.team == team and not entry.is_removed)

    def _hand_out(self, team: str) -> None:
        for entry in self._team(team):
            entry.credential = self._team_keys[team]
        self.stage.crowd.use((entry.worker_id, entry.credential) for entry in self._team(team))


Action = Callable[[Week], None]

# The events, with their relative frequencies.
ACTIONS: Sequence[tuple[Action, int]] = (
    (Week.add_workers, 3),
    (Week.disable_workers, 3),
    (Week.disable_workers_for_hours, 2),
    (Week.enable_workers, 3),
    (Week.remove_workers, 1),
    (Week.rotate_a_team_key, 2),
    (Week.revoke_a_team_key, 2),
    (Week.rotate_the_signing_key, 1),
    (Week.rotate_identity_keys, 1),
    (Week.kill_an_agent, 2),
    (Week.restart_an_agent, 1),
    (Week.step_the_clock, 6),
    (Week.kill_a_server, 2),
    (Week.restart_a_server, 2),
    (Week.pause_a_server, 2),
    (Week.restart_the_database, 1),
    (Week.crash_the_database, 1),
    (Week.lose_the_database, 1),
    (Week.fill_the_disk, 1),
)
