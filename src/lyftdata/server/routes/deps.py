"""Who is asking, and whether the policy table lets them: the one gate in front of every admin route."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from lyftdata.core.policy import check_allowed
from lyftdata.core.refusals import MissingCredentialsError
from lyftdata.server.actor import Actor
from lyftdata.server.hosts import check_host_of_browsers
from lyftdata.server.operator_gate import note_operator
from lyftdata.server.operators import NotSignedInError
from lyftdata.server.services import Services
from lyftdata.server.wire import bearer_token, client_address


def get_services(request: Request) -> Services:
    """Return the Server's parts."""
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(get_services)]


# For the OpenAPI document, which says by it what to send; the header is read below, as everywhere.
_BEARER = HTTPBearer(auto_error=False, scheme_name="session", description="The token of `POST /api/login`.")


async def signed_in(
    request: Request, services: ServicesDep, _documented: Annotated[object, Security(_BEARER)]
) -> Actor:
    """Return the operator who asks; raises NotSignedInError, TooManyRequestsError, UnknownHostError."""
    check_host_of_browsers(request, services)
    try:
        token = bearer_token(request)
    except MissingCredentialsError:
        raise NotSignedInError("You are not signed in.", hint="lyftdata login") from None
    actor = await services.operators.identify(token, address=client_address(request.scope))
    note_operator(request.scope, actor.operator)
    return actor


def allowed(action: str) -> Callable[..., Awaitable[Actor]]:
    """
    Return a dependency that gives the operator if the policy table allows them this action.

    That a first password was not changed yet stops the pages and not this, on purpose: docs/security-model.md says why.
    """

    async def gate(actor: Annotated[Actor, Depends(signed_in)]) -> Actor:
        check_allowed(action, role=actor.role)
        return actor

    return gate
