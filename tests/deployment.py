"""A whole Server in this process, without sockets: real rules, real store, a fake clock."""

import contextlib
from collections.abc import Callable
from typing import Any

import httpx2
from argon2 import PasswordHasher
from starlette.types import ASGIApp
from tests.builders import ENROLLMENT_KEY, ISSUER, FakeClock

from lyftdata.app import create_app
from lyftdata.core.assertions import make_assertion
from lyftdata.core.enrollment import make_proof
from lyftdata.core.enrollment_secrets import derive_proof_key
from lyftdata.core.identity_keys import IdentityKey, generate_identity_key
from lyftdata.core.secret import Secret
from lyftdata.server.runtime.services import Services

PASSWORD = "correct horse battery"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

# Argon2's lowest costs: hashing that is slow on purpose need not be slow in tests.
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Deployment:
    """A Server, a client for unknown callers and Workers, and the requests that tests make often."""

    def __init__(self, services: Services, clock: FakeClock, http: httpx2.AsyncClient) -> None:
        self.services = services
        self.clock = clock
        self.http = http
        self._jti = 0
        self._app: ASGIApp | None = None

    def jti_from(self, number: int) -> None:
        """Continue from this number, so that identifiers used before a restart are not used again."""
        self._jti = number

    def from_address(self, address: str) -> httpx2.AsyncClient:
        """Return a client that calls from another address."""
        if self._app is None:
            self._app = create_app(self.services)
        transport = httpx2.ASGITransport(self._app, client=(address, 1))
        return httpx2.AsyncClient(transport=transport, base_url=ISSUER)

    async def sign_in(self, name: str = "admin", password: str = PASSWORD) -> dict[str, str]:
        """Sign in and return the headers of the session."""
        answer = await self.http.post("/api/login", json={"username": name, "password": password})
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    async def token_by_key(self, worker_id: str, key: str, **form: str) -> httpx2.Response:
        """Request a token with `client_secret_post`."""
        given = {"grant_type": "client_credentials", "client_id": worker_id, "client_secret": key} | form
        return await self.http.post("/oauth2/token", data=given)

    def assertion(self, key: IdentityKey, worker_id: str, **changes: Any) -> str:
        """Make an assertion."""
        self._jti += 1
        given: dict[str, Any] = {
            "worker_id": worker_id,
            "audience": ISSUER,
            "now": self.clock(),
            "jti": f"a{self._jti}",
        }
        return make_assertion(key, **(given | changes))

    async def token_by_assertion(
        self, assertion: str, *, http: httpx2.AsyncClient | None = None
    ) -> httpx2.Response:
        """Request a token with `private_key_jwt`."""
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }
        return await (http or self.http).post("/oauth2/token", data=form)

    def proof(self, key: IdentityKey, name: str, *, secret: str = ENROLLMENT_KEY, **changes: Any) -> str:
        """Make a proof of possession of the enrollment key."""
        self._jti += 1
        proof_key = derive_proof_key(Secret(secret), audience=changes.pop("audience", ISSUER))
        given: dict[str, Any] = {
            "worker_name": name,
            "thumbprint": key.public.thumbprint,
            "now": self.clock(),
            "jti": f"p{self._jti}",
        }
        return make_proof(proof_key, **(given | changes))

    async def register(
        self, key: IdentityKey, name: str, *, credential: str | None = None, **metadata: Any
    ) -> httpx2.Response:
        """Enroll, with a proof unless another credential is given."""
        body = {"client_name": name, "jwks": {"keys": [key.public.as_dict()]}} | metadata
        bearer = self.proof(key, name) if credential is None else credential
        return await self.http.post(
            "/oauth2/register", json=body, headers={"Authorization": f"Bearer {bearer}"}
        )

    async def enrolled(self, name: str = "press") -> tuple[str, IdentityKey]:
        """Enroll a Worker; return its ID and its key."""
        key = generate_identity_key()
        answer = await self.register(key, name)
        assert answer.status_code == 201, answer.text
        return answer.json()["client_id"], key

    async def verify(self, token: str) -> httpx2.Response:
        """Ask `/auth/verify` about a token."""
        return await self.http.get("/auth/verify", headers={"Authorization": f"Bearer {token}"})

    async def cause(self, answer: httpx2.Response) -> str:
        """Return the code that an operator finds by the reference in a refusal."""
        await self.services.refusals.flush()
        from lyftdata.store.tables import refusals

        reference = answer.json()["reference"]
        attempt = await self.services.store.read(lambda conn: refusals.find_reference(conn, reference))
        assert attempt is not None
        return attempt.code


Open = Callable[..., contextlib.AbstractAsyncContextManager[Deployment]]
