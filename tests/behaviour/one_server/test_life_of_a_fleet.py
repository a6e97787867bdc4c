"""
A state machine over the life of a fleet.

Whatever operators and Workers do, in any order, with restarts in between, the Server accepts exactly the Workers that a
small model accepts.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import httpx2
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from tests.builders import ENROLLMENT_KEY, ISSUER, SECRET_KEY, FakeClock
from tests.deployment import CHEAP, PASSWORD, Deployment

from lyftdata.app import create_app
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.server.admin.passwords import Passwords
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.wiring.open_services import open_services


class Fleet(RuleBasedStateMachine):
    """The Server and its model: `workers` by ID, `keys` by name, and the tokens issued."""

    worker_ids = Bundle("worker_ids")
    key_names = Bundle("key_names")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.place = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.workers: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, dict[str, Any]] = {}
        self.tokens: list[dict[str, Any]] = []
        self.count = 0
        self.open()

    def open(self) -> None:
        """Open the Server on its directory and sign in."""
        given = {
            "LYFTDATA_STAGING_DIR": str(Path(self.place.name) / "staging"),
            "LYFTDATA_PUBLIC_URL": ISSUER,
            "LYFTDATA_ADMIN_INIT_PASSWORD": PASSWORD,
            "LYFTDATA_SECRET_KEY": SECRET_KEY,
            "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY,
        }
        self.context = open_services(
            read_server_settings(given), clock=self.clock, passwords=Passwords(CHEAP)
        )
        services = self.run(self.context.__aenter__())
        http = httpx2.AsyncClient(transport=httpx2.ASGITransport(create_app(services)), base_url=ISSUER)
        self.server = Deployment(services, self.clock, http)
        # Proofs and assertions must not repeat after a restart.
        self.server._jti = self.count * 1000
        self.admin = self.run(self.server.sign_in())

    def run(self, work: Any) -> Any:
        """Run a coroutine."""
        return self.runner.run(work)

    def ask(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        """Send a request to the admin API."""
        return self.run(self.server.http.request(method, f"/api{path}", json=body, headers=self.admin))

    def teardown(self) -> None:
        """Close everything."""
        self.run(self.context.__aexit__(None, None, None))
        self.runner.close()
        self.place.cleanup()

    # --- what operators do ---

    @rule(target=worker_ids)
    def add_worker(self) -> str:
        """An operator adds a Worker."""
        self.count += 1
        worker_id = f"w-{self.count}"
        assert self.ask("POST", "/workers", {"name": worker_id, "id": worker_id}).status_code == 201
        self.workers[worker_id] = {"kind": "key", "enabled": True, "epoch": self.count}
        return worker_id

    @rule(target=key_names, scope=st.none() | st.lists(worker_ids, min_size=1, max_size=2, unique=True))
    def issue_key(self, scope: list[str] | None) -> str:
        """An operator issues a key for all Workers or for some."""
        self.count += 1
        name = f"key-number-{self.count}"
        usable = scope is None or all(w in self.workers and self.workers[w]["kind"] == "key" for w in scope)
        answer = self.ask("POST", "/api-keys", {"name": name, "worker_ids": scope})
        assert (answer.status_code == 201) is usable
        if usable:
            self.keys[name] = {
                "text": answer.json()["key"],
                "scope": None if scope is None else set(scope),
                "live": True,
            }
        return name

    @rule(worker_id=worker_ids, enabled=st.booleans())
    def switch(self, worker_id: str, enabled: bool) -> None:
        """An operator disables or enables a Worker."""
        answer = self.ask("PATCH", f"/workers/{worker_id}", {"enabled": enabled})
        known = self.workers.get(worker_id)
        assert answer.status_code == (404 if known is None else 200)
        if known is not None:
            if known["enabled"] and not enabled:
                self.count += 1
                known["epoch"] = self.count
            known["enabled"] = enabled

    @rule(worker_id=consumes(worker_ids))
    def delete(self, worker_id: str) -> None:
        """An operator deletes a Worker."""
        there = self.workers.pop(worker_id, None) is not None
        assert self.ask("DELETE", f"/workers/{worker_id}").status_code == (204 if there else 404)
        for key in self.keys.values():
            if key["scope"] is not None:
                key["scope"].discard(worker_id)

    @rule(name=key_names)
    def revoke(self, name: str) -> None:
        """An operator revokes a key."""
        there = name in self.keys
        assert self.ask("POST", f"/api-keys/{name}/revoke").status_code == (200 if there else 404)
        if there:
            self.keys[name]["live"] = False

    # --- what Workers do ---

    @rule(target=worker_ids, name=st.sampled_from(["press", "plough"]))
    def enroll(self, name: str) -> str:
        """
        A Worker enrolls; the previous holder of its name is superseded, since no Worker is connected here.

        The exception is a holder from before the last start, which may still reconnect for two minutes.
        """
        key = generate_identity_key()
        answer = self.run(self.server.register(key, name))
        holders = [w for w in self.workers.values() if w.get("name") == name and not w.get("superseded")]
        if any(not holder["enabled"] or holder.get("may_be_back") for holder in holders):
            assert answer.json()["code"] == "name_in_use"
            return "w-nobody"
        assert answer.status_code == 201
        worker_id: str = answer.json()["client_id"]
        for other in self.workers.values():
            if other.get("name") == name:
                other["superseded"] = True
        self.count += 1
        self.workers[worker_id] = {
            "kind": "identity",
            "enabled": True,
            "key": key,
            "name": name,
            "epoch": self.count,
        }
        return worker_id

    @rule(worker_id=worker_ids)
    def enroll_again(self, worker_id: str) -> None:
        """An enrolled Worker registers again with its key and gets the same ID."""
        known = self.workers.get(worker_id)
        if known is None or known["kind"] != "identity":
            return
        answer = self.run(self.server.register(known["key"], known["name"]))
        if known.get("superseded"):
            assert answer.json()["code"] == "superseded"
        else:
            assert answer.json()["client_id"] == worker_id

    @rule(worker_id=worker_ids, name=key_names)
    def log_in_by_key(self, worker_id: str, name: str) -> None:
        """A Worker asks for a token with an API key."""
        key, known = self.keys.get(name), self.workers.get(worker_id)
        if key is None:
            return
        answer = self.run(self.server.token_by_key(worker_id, key["text"]))
        proved = (
            key["live"]
            and (key["scope"] is None or worker_id in key["scope"])
            and known is not None
            and known["kind"] == "key"
        )
        self.check(answer, proved, known, worker_id, {"key_name": name})

    @rule(worker_id=worker_ids, other=worker_ids)
    def log_in_by_identity(self, worker_id: str, other: str) -> None:
        """A Worker asks for a token with an identity key, its own or another's."""
        signer, known = self.workers.get(other), self.workers.get(worker_id)
        if signer is None or signer["kind"] != "identity":
            return
        answer = self.run(self.server.token_by_assertion(self.server.assertion(signer["key"], worker_id)))
        if nonce := answer.headers.get("Lyftdata-Nonce"):
            # As the agent does: an assertion without a nonce may be from before the Worker was last disabled or enabled.
            again = self.server.assertion(signer["key"], worker_id, nonce=nonce)
            answer = self.run(self.server.token_by_assertion(again))
        self.check(answer, known is signer, known, worker_id, {"key_name": None})

    def check(
        self, answer: httpx2.Response, proved: bool, known: Any, worker_id: str, how: dict[str, Any]
    ) -> None:
        """Compare the Server's answer with the model's."""
        if not proved:
            # Beyond the limit of failures the answer is 429; never a token.
            assert answer.status_code in {401, 429}
        elif known.get("superseded"):
            assert answer.json()["code"] == "superseded"
        elif not known["enabled"]:
            assert answer.json()["code"] == "worker_disabled"
        else:
            assert answer.status_code == 200
            token = answer.json()["access_token"]
            self.tokens.append({"text": token, "worker": worker_id, "epoch": known["epoch"], **how})

    # --- what happens ---

    @rule()
    def restart(self) -> None:
        """The Server is stopped and started again."""
        self.run(self.context.__aexit__(None, None, None))
        self.count += 1
        self.open()
        for known in self.workers.values():
            known["may_be_back"] = True

    @rule(seconds=st.integers(1, 200))
    def time_passes(self, seconds: int) -> None:
        """Time passes, in total less than a token's lifetime, so that only revocation ends tokens."""
        self.clock.forward(seconds=seconds / 100)

    @invariant()
    def tokens_end_with_their_credential(self) -> None:
        """A token is accepted if and only if its Worker and its credential are still valid."""
        for token in self.tokens[-6:]:
            known = self.workers.get(token["worker"])
            good = (
                known is not None
                and known["enabled"]
                and not known.get("superseded")
                and known["epoch"] == token["epoch"]
                and self.credential_stands(token)
            )
            answer = self.run(self.server.verify(token["text"]))
            assert (answer.status_code == 204) is good, (token, known)

    def credential_stands(self, token: dict[str, Any]) -> bool:
        """Return whether the key with which a token was obtained is still valid for its Worker."""
        if token["key_name"] is None:
            return True
        key = self.keys[token["key_name"]]
        return bool(key["live"] and (key["scope"] is None or token["worker"] in key["scope"]))


Fleet.TestCase.settings = settings(
    # Each example starts a Server and takes 30 steps.
    max_examples=max(1, settings().max_examples // 5),
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)
TestFleet = Fleet.TestCase
