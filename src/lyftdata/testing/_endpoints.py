"""
The answers of a fake Server, without a socket.

    GET   /.well-known/oauth-authorization-server   RFC 8414
    GET   /.well-known/openid-configuration         the same, for clients that look nowhere else
    GET   /.well-known/jwks.json                    RFC 7517
    GET   /auth/verify                              the online check of tokens for the Server itself
    POST  /oauth2/introspect                        RFC 7662, for resources
    POST  /oauth2/token                             RFC 6749, section 4.4, for Workers with an API key
"""

import base64
import binascii
import time
import urllib.parse
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus

import msgspec

from lyftdata.core.discovery import PUBLISHED_MAX_AGE_S, server_metadata
from lyftdata.core.grants import GRANT_ERRORS, decide_grant
from lyftdata.core.records import Strategy, WorkerRecord
from lyftdata.core.refusals import RefusedError
from lyftdata.core.token_answers import TokenAnswer, introspection_answer, worker_headers
from lyftdata.core.tokens import TokenClaims, parse_credential, verify_worker_token
from lyftdata.testing._state import State
from lyftdata.testing._tokens import SigningKeys, make_token


class Request(msgspec.Struct, frozen=True):
    """A request; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


class Response(msgspec.Struct, frozen=True):
    """An answer."""

    status: HTTPStatus
    headers: dict[str, str] = {}
    body: bytes = b""


_NO_STORE = {"Cache-Control": "no-store"}
_BEARER = "bearer "
_BASIC = "basic "


class Endpoints:
    """
    Answers requests.

    Args:
        issuer: Returns the Server's issuer; called each time, since it may be known only once the Server listens.
        keys: Its signing keys.
        state: Workers, resources, and revocations.
        token_ttl_s: The lifetime of a token, in seconds.
    """

    def __init__(
        self, *, issuer: Callable[[], str], keys: SigningKeys, state: State, token_ttl_s: int
    ) -> None:
        self._issuer = issuer
        self._keys = keys
        self._state = state
        self._token_ttl_s = token_ttl_s
        self._routes: dict[tuple[str, str], Callable[[Request], Response]] = {
            ("GET", "/.well-known/oauth-authorization-server"): self._metadata,
            ("GET", "/.well-known/openid-configuration"): self._metadata,
            ("GET", "/.well-known/jwks.json"): self._jwks,
            ("GET", "/auth/verify"): self._verify,
            ("POST", "/oauth2/introspect"): self._introspect,
            ("POST", "/oauth2/token"): self._token,
        }

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        route = self._routes.get((request.method, request.path))
        return Response(HTTPStatus.NOT_FOUND) if route is None else route(request)

    def _metadata(self, _request: Request) -> Response:
        return _published(msgspec.json.encode(server_metadata(self._issuer())), "application/json")

    def _jwks(self, _request: Request) -> Response:
        return _published(self._keys.jwks(), "application/jwk-set+json")

    def _verify(self, request: Request) -> Response:
        given = request.headers.get("authorization", "")
        token = given[len(_BEARER) :] if given.lower().startswith(_BEARER) else ""
        claims = self._active_claims(token, audience=self._issuer())
        # A token that is bound to a key is not valid without a proof of possession (RFC 9449, section 7).
        if claims is None or claims.cnf is not None:
            challenge = {"WWW-Authenticate": 'Bearer realm="lyftdata", error="invalid_token"'}
            return _json(HTTPStatus.UNAUTHORIZED, {"error": "invalid_token"}, **challenge)
        named = {name.decode(): value.decode() for name, value in worker_headers(_worker_of(claims))}
        return Response(HTTPStatus.NO_CONTENT, _NO_STORE | named)

    def _introspect(self, request: Request) -> Response:
        form = _form(request)
        client_id, secret = _client(request, form)
        resource = self._state.admit_resource(client_id, secret)
        if resource is None:
            return _wrong_client()
        claims = self._active_claims(form.get("token", ""), audience=resource.audience)
        if claims is None:
            return _json(HTTPStatus.OK, {"active": False})
        scopes = [scope for scope in claims.scope.split() if scope in resource.scopes]
        return _json(HTTPStatus.OK, introspection_answer(claims, worker=_worker_of(claims), scopes=scopes))

    def _token(self, request: Request) -> Response:
        form = _form(request)
        if form.get("grant_type") != "client_credentials":
            return _json(HTTPStatus.BAD_REQUEST, {"error": "unsupported_grant_type"})
        admitted = self._state.admit_worker(*_client(request, form))
        if admitted is None:
            return _wrong_client()
        worker = msgspec.structs.replace(admitted, epoch=self._state.epoch(admitted.id))
        if self._state.is_disabled(worker.id):
            refusal = {"error": "unauthorized_client", "code": "worker_disabled", "final": False}
            return _json(HTTPStatus.BAD_REQUEST, _REFERENCE | refusal)
        try:
            granted = decide_grant(
                worker,
                self._state,
                issuers=[self._issuer()],
                resource=form.get("resource", ""),
                scope=form.get("scope", ""),
            )
        except RefusedError as refused:
            error = GRANT_ERRORS.get(type(refused), "invalid_request")
            return _json(HTTPStatus.BAD_REQUEST, _REFERENCE | {"error": error, "code": refused.code})
        token = make_token(
            worker,
            {"audience": granted.audience, "scopes": granted.scope.split()},
            signer=self._keys.signer,
            issuer=self._issuer(),
            ttl_s=self._token_ttl_s,
        )
        answer = TokenAnswer(token, "Bearer", self._token_ttl_s, granted.scope)
        return Response(
            HTTPStatus.OK, {"Content-Type": "application/json"} | _NO_STORE, msgspec.json.encode(answer)
        )

    def _active_claims(self, unverified_token: str, *, audience: str) -> TokenClaims | None:
        """Return the claims of a valid, unrevoked token, or None."""
        try:
            claims = verify_worker_token(
                unverified_token,
                keys=self._keys.verification(),
                issuers=[self._issuer()],
                audience=audience,
                now=datetime.fromtimestamp(time.time(), UTC),
            )
        except RefusedError:
            return None
        is_good = not self._state.is_revoked(claims.jti) and not self._state.is_disabled(claims.sub)
        # Disabling a Worker invalidates its tokens, even after it is enabled again.
        is_current = parse_credential(claims.cred).epoch == self._state.epoch(claims.sub)
        return claims if is_good and is_current else None


# A constant: unlike at a Server, there is no refusal to look up by it.
_REFERENCE = {"reference": "TESTTEST", "error_description": "Refused by the fake Server of a test."}


def _worker_of(claims: TokenClaims) -> WorkerRecord:
    return WorkerRecord(
        id=claims.sub,
        name=claims.worker_name,
        strategy=Strategy(claims.auth_strategy),
        labels=claims.labels,
        created_at=datetime.fromtimestamp(claims.iat, UTC),
        created_by="tests",
    )


def _published(body: bytes, media_type: str) -> Response:
    headers = {"Content-Type": media_type, "Cache-Control": f"public, max-age={PUBLISHED_MAX_AGE_S}"}
    return Response(HTTPStatus.OK, headers, body)


def _json(status: HTTPStatus, body: Mapping[str, object], **headers: str) -> Response:
    return Response(
        status, {"Content-Type": "application/json"} | _NO_STORE | headers, msgspec.json.encode(body)
    )


def _wrong_client() -> Response:
    return _json(HTTPStatus.UNAUTHORIZED, _REFERENCE | {"error": "invalid_client"})


def _form(request: Request) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))


def _client(request: Request, form: Mapping[str, str]) -> tuple[str, str]:
    """Return ID and secret, by header or by form (RFC 6749, section 2.3.1)."""
    given = request.headers.get("authorization", "")
    if given.lower().startswith(_BASIC):
        try:
            name, _, secret = base64.b64decode(given[len(_BASIC) :]).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return urllib.parse.unquote_plus(name), urllib.parse.unquote_plus(secret)
    return form.get("client_id", ""), form.get("client_secret", "")
