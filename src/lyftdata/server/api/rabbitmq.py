"""
`/auth/rabbitmq/…`: answers RabbitMQ's HTTP backend (rabbitmq_auth_backend_http, by POST), and which connections to close.

The broker authenticates as a resource, by HTTP Basic: its plugin takes user and password from the configured URL and
sends them in that header. Any other caller gets 401 and learns nothing about Workers. To the broker every refusal is the same
`deny`; operators see the cause. What the answer can allow is limited: it never contains a tag, so no Worker is an
administrator of the broker, whatever its name.
"""

from collections.abc import Callable, Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lyftdata.core.rabbitmq import may_access_resource, may_access_topic, may_access_vhost
from lyftdata.core.records import ApiKeyRecord, ResourceRecord
from lyftdata.core.refusals import (
    MissingCredentialsError,
    OperationNotGrantedError,
    RefusedError,
    WrongApiKeyError,
)
from lyftdata.core.secret import Secret
from lyftdata.server.admission.brokers import Connection
from lyftdata.server.api.oauth_token import refused_client
from lyftdata.server.http.authorization_header import basic_credentials
from lyftdata.server.http.client_address import client_address
from lyftdata.server.http.freshness import ensure_current
from lyftdata.server.http.oauth_errors import OAuthError, oauth_error_response
from lyftdata.server.http.request_body import read_body, read_form
from lyftdata.server.http.responses import NO_STORE, json_response
from lyftdata.server.runtime.services import Services

_Form = Mapping[str, str]
_Check = Callable[[Services, ResourceRecord, _Form], None]

_MAX_CONNECTIONS = 100
# The names of a user and a virtual host can have 255 bytes each, and JSON can escape each byte as six.
_MAX_BYTES = 400_000


class _Connections(msgspec.Struct):
    """The body of `/auth/rabbitmq/connections`."""

    connections: list[Connection]


_connections_decoder = msgspec.json.Decoder(_Connections)


async def user(request: Request) -> Response:
    """Answer whether a Worker may log in: `username` is its ID, `password` its token for this broker."""
    return await _answer(request, _check_login)


async def vhost(request: Request) -> Response:
    """Answer whether a Worker may open a virtual host."""
    return await _answer(request, _check_vhost)


async def resource(request: Request) -> Response:
    """Answer whether a Worker may configure, write or read a queue or an exchange."""
    return await _answer(request, _check_resource)


async def topic(request: Request) -> Response:
    """Answer whether a Worker may write or read at a topic exchange with a routing key."""
    return await _answer(request, _check_topic)


async def connections(request: Request) -> Response:
    """
    Return which of a broker's connections must be closed, as positions in the given list: `{"close": [0, 3]}`.

    This includes names that are not Workers': the caller must leave out other kinds of users.
    """
    services: Services = request.app.state.services
    try:
        _admit_broker(request, services)
        given = _connections_decoder.decode(await read_body(request, at_most=_MAX_BYTES)).connections
        broker = await _admit_broker_again(request, services)
        if len(given) > _MAX_CONNECTIONS:
            raise OAuthError(
                "invalid_request", f"At most {_MAX_CONNECTIONS} connections at once.", status=413
            )
    except msgspec.DecodeError:
        return oauth_error_response(
            OAuthError("invalid_request", "The body must be a JSON object with connections.")
        )
    except OAuthError as error:
        return oauth_error_response(error)
    except RefusedError as refused:
        return refused_client(services, refused, address=client_address(request.scope))
    ended = services.brokers.ended_keys()
    address = client_address(request.scope)
    must_go = (_must_disconnect(services, broker, connection, ended, address=address) for connection in given)
    return json_response({"close": [place for place, goes in enumerate(must_go) if goes]})


def _must_disconnect(
    services: Services,
    broker: ResourceRecord,
    connection: Connection,
    ended: list[ApiKeyRecord],
    *,
    address: str,
) -> bool:
    try:
        services.brokers.check_connection(broker, connection, ended)
        _check_vhost(services, broker, {"username": connection.username, "vhost": connection.vhost})
    except RefusedError as refused:
        services.refusals.record(refused, address=address, limited=False)
        return True
    return False


async def _answer(request: Request, check: _Check) -> Response:
    """Authenticate the broker, then answer `allow` or `deny`."""
    services: Services = request.app.state.services
    address = client_address(request.scope)
    try:
        _admit_broker(request, services)
        form = await read_form(request)
        broker = await _admit_broker_again(request, services)
    except OAuthError as error:
        return oauth_error_response(error)
    except RefusedError as refused:
        return refused_client(services, refused, address=address)
    try:
        check(services, broker, form)
    except RefusedError as refused:
        # The broker asks on behalf of many: failures are counted, but not against its address.
        services.refusals.record(refused, address=address, limited=False)
        return _plain("deny")
    return _plain("allow")


def _plain(word: str) -> Response:
    return Response(word, headers=NO_STORE, media_type="text/plain")


def _admit_broker(request: Request, services: Services) -> ResourceRecord:
    """
    Check the key of a resource; a Worker's credential is not one.

    Raises:
        RefusedError: The caller is not a resource; the response is the same whatever credential it sent.
        OAuthError: The Authorization header cannot be parsed.
    """
    presented = basic_credentials(request)
    if presented is None:
        raise MissingCredentialsError
    name, key = presented
    broker = services.admission.admit_resource(name, Secret(key))
    if broker is None:
        raise WrongApiKeyError("It is not a resource's key.", claimed_worker=name)
    return broker


async def _admit_broker_again(request: Request, services: Services) -> ResourceRecord:
    """Check the key of a resource again once its body has arrived, which may have taken long. Raises like `_admit_broker`."""
    await ensure_current(services.store)
    return _admit_broker(request, services)


def _check_login(services: Services, broker: ResourceRecord, form: _Form) -> None:
    username, password = form.get("username", ""), form.get("password", "")
    if not password:
        # Brokers also ask about users that another of their plugins has authenticated, by a certificate: those are not Workers.
        raise MissingCredentialsError(claimed_worker=username)
    services.brokers.check_login(broker, username, password)


def _check_vhost(services: Services, broker: ResourceRecord, form: _Form) -> None:
    worker = services.brokers.check_worker(broker, form.get("username", ""))
    place = form.get("vhost", "")
    if not may_access_vhost(broker.scopes, broker.audience, vhost=place):
        raise OperationNotGrantedError(lambda: f"To open virtual host '{place}'.", claimed_worker=worker.id)


def _check_resource(services: Services, broker: ResourceRecord, form: _Form) -> None:
    worker = services.brokers.check_worker(broker, form.get("username", ""))
    permission, place, name = _named(form)
    if not may_access_resource(broker.scopes, broker.audience, permission=permission, vhost=place, name=name):
        raise OperationNotGrantedError(
            lambda: f"To {permission} {form.get('resource', '')} '{name}' in virtual host '{place}'.",
            claimed_worker=worker.id,
        )


def _check_topic(services: Services, broker: ResourceRecord, form: _Form) -> None:
    worker = services.brokers.check_worker(broker, form.get("username", ""))
    permission, place, name = _named(form)
    key = form.get("routing_key", "")
    if not may_access_topic(
        broker.scopes, broker.audience, permission=permission, vhost=place, exchange=name, routing_key=key
    ):
        raise OperationNotGrantedError(
            lambda: f"To {permission} '{key}' at exchange '{name}' in virtual host '{place}'.",
            claimed_worker=worker.id,
        )


def _named(form: _Form) -> tuple[str, str, str]:
    return form.get("permission", ""), form.get("vhost", ""), form.get("name", "")
