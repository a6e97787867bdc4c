"""The fake Server that tests use."""

from collections.abc import Collection
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, Unpack

import httpx2

from lyftdata.core.keyring import generate_signing_key
from lyftdata.core.tokens import TokenClaims, verify_worker_token
from lyftdata.testing._endpoints import Endpoints, Request
from lyftdata.testing._flaws import ELSEWHERE, Flaw, flawed_fields, with_flawed_text
from lyftdata.testing._loopback import Loopback
from lyftdata.testing._state import FakeResource, FakeWorker, State
from lyftdata.testing._tokens import (
    SigningAlgorithm,
    SigningKeys,
    TokenFields,
    make_token,
    worker_record,
)

_NO_DIRECTORY = "/nonexistent/lyftdata-worker"


class FakeServer:
    """
    A Server for tests: it signs worker tokens like a real one, and publishes its keys over HTTP on loopback.

        with FakeServer() as server:
            verifier = WorkerVerifier(server.issuer, audience="https://files.example")
            verifier.verify(server.token("press-01", audience="https://files.example"))

    Without `with` there is no socket: give a verifier `transport=server.transport()`.

    Args:
        issuer: Its issuer; its address on loopback unless given. With your own issuer, give verifiers `server_url=server.url` too.
        algorithm: The algorithm that signs tokens: `ES256`, `EdDSA` or `Ed25519`.
        token_ttl_s: The lifetime of a token, in seconds.
    """

    def __init__(
        self,
        *,
        issuer: str | None = None,
        algorithm: SigningAlgorithm = "ES256",
        token_ttl_s: int = 900,
    ) -> None:
        self._given_issuer = issuer
        self._token_ttl_s = token_ttl_s
        self._keys = SigningKeys(algorithm)
        self._state = State()
        self._endpoints = Endpoints(
            issuer=lambda: self.issuer, keys=self._keys, state=self._state, token_ttl_s=token_ttl_s
        )
        self._http = Loopback(self._endpoints.answer)

    # --- where it is ----------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Return its address; raises RuntimeError before the first start."""
        if not self._http.port:
            raise RuntimeError(
                "FakeServer has no address yet: use `with FakeServer() as server`, or give an issuer."
            )
        return f"http://127.0.0.1:{self._http.port}"

    @property
    def issuer(self) -> str:
        """Return its issuer: the first argument of a verifier."""
        return self._given_issuer or self.url

    def start(self) -> None:
        """Listen on loopback; after `stop`, on the same port, as after an outage."""
        self._http.start()

    def stop(self) -> None:
        """Stop listening, as in an outage. Tokens and keys are kept."""
        self._http.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def transport(self) -> httpx2.MockTransport:
        """Return a transport that reaches this Server without a socket: for `transport=` of a verifier or of `TokenKeeper`."""

        def answer(request: httpx2.Request) -> httpx2.Response:
            headers = {name.lower(): value for name, value in request.headers.items()}
            asked = Request(request.method, request.url.path, headers, request.content)
            given = self._endpoints.answer(asked)
            return httpx2.Response(given.status, headers=given.headers, content=given.body)

        return httpx2.MockTransport(answer)

    # --- tokens ---------------------------------------------------------------------------------------------

    def token(self, worker_id: str = "press-01", **fields: Unpack[TokenFields]) -> str:
        """
        Return a token of a Worker, which need not have been added before.

        Args:
            worker_id: The Worker's ID.
            fields: `name`, `labels`, `strategy`, `audience`, `scopes`, `issued_ago_s`, `expires_in_s`, `bound_to`; see
                `TokenFields`.

        Raises:
            InvalidInputError: A Worker ID or scope that no Server accepts.
        """
        worker = worker_record(worker_id, fields, epoch=self._state.epoch(worker_id))
        return make_token(
            worker, fields, signer=self._keys.signer, issuer=self.issuer, ttl_s=self._token_ttl_s
        )

    def flawed_token(self, flaw: Flaw, worker_id: str = "press-01", **fields: Unpack[TokenFields]) -> str:
        """
        Return a token with one flaw; everything else is as for `token`.

        Args:
            flaw: The flaw; its value is the `code` of the error that a verifier raises.
            worker_id: The Worker's ID.
            fields: As for `token`; those that make the flaw are overridden.
        """
        wanted: TokenFields = {
            "audience": self.issuer,
            **fields,
            **flawed_fields(flaw, ttl_s=self._token_ttl_s),
        }
        signer = self._keys.signer
        if flaw is Flaw.UNKNOWN_KEY:
            signer = generate_signing_key(signer.algorithm)
        issuer = ELSEWHERE if flaw is Flaw.WRONG_ISSUER else self.issuer
        worker = worker_record(worker_id, wanted, epoch=self._state.epoch(worker_id))
        token = make_token(worker, wanted, signer=signer, issuer=issuer, ttl_s=self._token_ttl_s)
        if flaw is Flaw.TOKEN_REVOKED:
            self.revoke(token)
        return with_flawed_text(token, flaw)

    def read(self, token: str) -> TokenClaims:
        """
        Return the claims of a token of this Server; does not check its audience, or whether it was revoked.

        Raises:
            RefusedError: It is not a valid token of this Server.
        """
        return verify_worker_token(
            token, keys=self._keys.verification(), issuers=[self.issuer], audience=None, now=datetime.now(UTC)
        )

    # --- what operators do ----------------------------------------------------------------------------------

    def revoke(self, token: str) -> None:
        """Revoke a token: the online check refuses it from now on, an offline check accepts it until it expires."""
        self._state.revoke(self.read(token).jti)

    def disable(self, worker_id: str) -> None:
        """Disable a Worker: it gets no token, and the online check refuses its present ones."""
        self._state.set_enabled(worker_id, enabled=False)

    def enable(self, worker_id: str) -> None:
        """Enable a Worker again: it gets tokens, but the online check still refuses those from before."""
        self._state.set_enabled(worker_id, enabled=True)

    def rotate_keys(self, *, forget_old: bool = False) -> None:
        """
        Sign with a new key from now on.

        Args:
            forget_old: Stop publishing the old keys, so that tokens signed with them are refused as soon as a verifier has
                the new JWK Set.
        """
        self._keys.rotate(forget_old=forget_old)

    def add_worker(self, worker_id: str = "press-01", **fields: Unpack[TokenFields]) -> FakeWorker:
        """
        Add a Worker with an API key, for tests of a client: its `environ` is for `TokenKeeper.from_environment`.

        Args:
            worker_id: The Worker.
            fields: `name` and `labels`.
        """
        worker = worker_record(worker_id, fields)
        key = self._state.add_worker(worker)
        environ = {
            "LYFTDATA_URL": self.issuer,
            "LYFTDATA_WORKER_ID": worker.id,
            "LYFTDATA_WORKER_API_KEY": key.text.reveal(),
            # Not the directory of the user who runs the tests: they may have enrolled a Worker of their own.
            "LYFTDATA_JOBS_DIR": _NO_DIRECTORY,
        }
        return FakeWorker(worker.id, environ)

    def add_resource(self, name: str, *, audience: str, scopes: Collection[str] = ()) -> FakeResource:
        """
        Register a service that every Worker may have tokens for.

        Args:
            name: For `resource_name` of a verifier with `online=True`; the returned key is its `resource_key`.
            audience: Its audience in tokens.
            scopes: Its scopes.
        """
        key = self._state.add_resource(name, audience=audience, scopes=scopes, issuer=self.issuer)
        return FakeResource(name, audience, key.text.reveal())
