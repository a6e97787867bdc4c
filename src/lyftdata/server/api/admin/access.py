"""Identifies the caller of an admin route and checks the policy table, before every admin route."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from lyftdata.core.actor import Actor
from lyftdata.core.errors import InvalidInputError, NotSignedInError
from lyftdata.core.policy import check_allowed
from lyftdata.core.refusals import MissingCredentialsError
from lyftdata.core.text import clean_text
from lyftdata.server.api.operator_gate import note_operator
from lyftdata.server.http.authorization_header import bearer_token
from lyftdata.server.http.client_address import client_address
from lyftdata.server.runtime.services import Services


def get_services(request: Request) -> Services:
    """Return the Server's parts."""
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(get_services)]


# For the OpenAPI document, to describe the credential; the header itself is read below, as everywhere.
_BEARER = HTTPBearer(
    auto_error=False, scheme_name="session", description="The token of `POST /api/login`, or an API token."
)


async def signed_in(
    request: Request, services: ServicesDep, _documented: Annotated[object, Security(_BEARER)]
) -> Actor:
    """Return the calling operator or API token; raises NotSignedInError, TooManyRequestsError, UnknownHostError."""
    services.host_check.check_browser(request)
    try:
        token = bearer_token(request)
    except MissingCredentialsError:
        raise NotSignedInError("You are not signed in.", hint="lyftdata login") from None
    actor = await services.callers.identify(token, address=client_address(request.scope))
    note_operator(request.scope, actor.account)
    return actor


def _check_parameters(request: Request) -> None:
    """
    Reject a query parameter that the route does not have; raises InvalidInputError.

    A mistyped filter would list everything, and a caller that processes the list would change the wrong things.
    """
    route: APIRoute = request.scope["route"]
    known = set(_parameters_of(route.dependant))
    for name in request.query_params:
        if name not in known:
            raise InvalidInputError(clean_text(name, 40), "is not a parameter of this request")


def _parameters_of(dependant: Dependant) -> Iterator[str]:
    """Yield the query parameters of a route and of its dependencies: a filter shared by routes is a dependency."""
    yield from (parameter.alias for parameter in dependant.query_params)
    for dependency in dependant.dependencies:
        yield from _parameters_of(dependency)


def allowed(action: str, *, in_scope: bool = False) -> Callable[..., Awaitable[Actor]]:
    """
    Return a dependency that returns the caller if the policy table allows it this action.

    `in_scope` says that the route shows and changes nothing outside the caller's scope; other routes reject callers with a scope.

    An unchanged first password blocks the pages but not the API, on purpose: docs/explanation/security-model.md says why.
    """

    async def gate(
        request: Request, actor: Annotated[Actor, Depends(signed_in)], services: ServicesDep
    ) -> Actor:
        require(action, actor=actor, services=services, in_scope=in_scope)
        _check_parameters(request)
        return actor

    return gate


def require(action: str, *, actor: Actor, services: Services, in_scope: bool = False) -> None:
    """
    Reject an action that the policy table does not allow the caller now; also for actions that depend on the body.

    Raises:
        ForbiddenError: Not for this role, or not for this kind of credential.
        ReauthenticationRequiredError: It cannot be undone, and the operator has not authenticated recently.
    """
    check_allowed(action, actor=actor, in_scope=in_scope)
    services.reauthentication.check(action, actor=actor)
