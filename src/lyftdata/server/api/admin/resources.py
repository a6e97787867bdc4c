"""Routes of `/api/resources`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from lyftdata.core.actor import Actor
from lyftdata.server.admin.resources import ResourceChange
from lyftdata.server.admin.schemas import resources as models
from lyftdata.server.api.admin.access import ServicesDep, allowed
from lyftdata.server.api.admin.preconditions import IfMatch, check_precondition, etag, resource_fields

router = APIRouter(prefix="/resources", tags=["resources"])

Reader = Annotated[Actor, Depends(allowed("resources.read", in_scope=True))]
Writer = Annotated[Actor, Depends(allowed("resources.write"))]
Deleter = Annotated[Actor, Depends(allowed("resources.delete"))]
Issuer = Annotated[Actor, Depends(allowed("resources.issue_key"))]


@router.get("", summary="List resources")
async def list_resources(actor: Reader, services: ServicesDep) -> models.Resources:
    """Return every resource, by name."""
    return models.Resources(items=services.resource_queries.list_all(scope=actor.scope))


@router.post("", status_code=201, summary="Define a resource")
async def add_resource(body: models.NewResource, actor: Writer, services: ServicesDep) -> models.Resource:
    """Add a service for which the selected Workers may get tokens; none unless some are selected."""
    change = ResourceChange(**body.model_dump(exclude={"name"}))
    await services.resources.add(body.name, change, actor=actor)
    return services.resource_queries.get(body.name, scope=actor.scope)


@router.get("/{name}", summary="Show a resource")
async def show_resource(
    name: str, actor: Reader, services: ServicesDep, response: Response
) -> models.Resource:
    """Return one resource."""
    resource = services.resource_queries.get(name, scope=actor.scope)
    response.headers["ETag"] = etag(resource_fields(resource))
    return resource


@router.patch("/{name}", summary="Change a resource")
async def change_resource(
    name: str,
    body: models.ResourceChange,
    actor: Writer,
    services: ServicesDep,
    response: Response,
    if_match: IfMatch = None,
) -> models.Resource:
    """Change the given fields."""
    before = services.resource_queries.get(name, scope=actor.scope)
    expected = check_precondition(if_match, resource_fields(before))
    change = ResourceChange(**body.model_dump())
    await services.resources.change(name, change, expected=expected, actor=actor)
    resource = services.resource_queries.get(name, scope=actor.scope)
    response.headers["ETag"] = etag(resource_fields(resource))
    return resource


@router.delete("/{name}", status_code=204, summary="Delete a resource")
async def delete_resource(name: str, actor: Deleter, services: ServicesDep) -> None:
    """Remove the resource: no more tokens are issued for it."""
    await services.resources.delete(name, actor=actor)


@router.post("/{name}/key", status_code=201, summary="Issue a resource's key")
async def issue_key(name: str, actor: Issuer, services: ServicesDep) -> models.ResourceKey:
    """Issue the key with which the service checks tokens; it is only in this response."""
    key = await services.resources.issue_key(name, actor=actor)
    return models.ResourceKey(name=name, key=key.reveal())
