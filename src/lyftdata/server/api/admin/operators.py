"""Routes of `/api/operators`."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import SecretStr

from lyftdata.core.actor import Actor
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.secret import Secret
from lyftdata.server.admin.schemas import operators as models
from lyftdata.server.api.admin.access import ServicesDep, allowed
from lyftdata.server.api.admin.account import operator_view

router = APIRouter(prefix="/operators", tags=["operators"])

Reader = Annotated[Actor, Depends(allowed("operators.read"))]
Writer = Annotated[Actor, Depends(allowed("operators.write"))]
Ender = Annotated[Actor, Depends(allowed("sessions.revoke_any"))]


@router.get("", summary="List operators")
async def list_operators(_actor: Reader, services: ServicesDep) -> models.Operators:
    """Return every operator, by name."""
    having = await services.second_factors.operators_with_factors()
    return models.Operators(
        items=[
            models.ListedOperator(**operator_view(record).model_dump(), second_factor=record.name in having)
            for record in await services.operators.list()
        ]
    )


@router.post("", status_code=201, summary="Add an operator")
async def add_operator(
    body: models.NewOperator, actor: Writer, services: ServicesDep
) -> models.NewOperatorAnswer:
    """Create an operator; a generated password is only in this response."""
    chosen = await services.operators.add(
        body.name, body.role, _secret(body.password), scope=body.scope, actor=actor
    )
    record = await services.operators.get(body.name)
    shown = chosen.reveal() if body.password is None else None
    return models.NewOperatorAnswer(operator=operator_view(record), password=shown)


@router.patch("/{name}", summary="Change an operator")
async def change_operator(
    name: str, body: models.OperatorChange, actor: Writer, services: ServicesDep
) -> models.NewOperatorAnswer:
    """Set the role or the scope, or reset the password; a new scope or password ends the operator's sessions."""
    if body.scope is not None and body.no_scope:
        raise InvalidInputError("scope", "cannot be set and ended at once")
    changes = [body.scope is not None or body.no_scope, body.role is not None]
    changes.append(body.password is not None or body.reset_password)
    if sum(changes) > 1 and (await services.second_operator_settings.show()).rules is not None:
        # One of two changes might be made and the other wait for confirmation, which a single response cannot express.
        raise InvalidInputError("role", "must be changed by itself where a second operator confirms")
    # The scope first, so that they never have the new role without it.
    if body.scope is not None or body.no_scope:
        await services.operator_permissions.set_scope(name, body.scope, actor=actor)
    if body.role is not None:
        await services.operator_permissions.set_role(name, body.role, actor=actor)
    shown = None
    if body.password is not None or body.reset_password:
        chosen = await services.operator_passwords.reset_password(name, _secret(body.password), actor=actor)
        shown = chosen.reveal() if body.password is None else None
    return models.NewOperatorAnswer(
        operator=operator_view(await services.operators.get(name)), password=shown
    )


@router.delete("/{name}", status_code=204, summary="Delete an operator")
async def delete_operator(name: str, actor: Writer, services: ServicesDep) -> None:
    """Remove an operator and end their sessions."""
    await services.operators.delete(name, actor=actor)


@router.delete("/{name}/sessions", status_code=204, summary="End an operator's sessions")
async def end_sessions(name: str, actor: Ender, services: ServicesDep) -> None:
    """End every session of an operator, including the current one if it is theirs."""
    await services.operator_sessions.end_all_sessions(actor=actor, of=name)


def _secret(password: SecretStr | None) -> Secret | None:
    return None if password is None else Secret(password.get_secret_value())
