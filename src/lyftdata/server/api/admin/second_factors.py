"""Routes of `/api/me/second-factor`, and of the reset of another operator's."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends

from lyftdata.core.actor import Actor
from lyftdata.core.secret import Secret
from lyftdata.server.admin.schemas import second_factors as models
from lyftdata.server.api.admin.access import ServicesDep, allowed

router = APIRouter(tags=["account"])

Self = Annotated[Actor, Depends(allowed("own_account", in_scope=True))]
Owner = Annotated[Actor, Depends(allowed("own_second_factor", in_scope=True))]
OperatorsWriter = Annotated[Actor, Depends(allowed("operators.write"))]


@router.get("/me/second-factor", summary="Show one's second factor")
async def show(actor: Self, services: ServicesDep) -> models.SecondFactors:
    """Return what there is, without secrets."""
    found = await services.second_factors.status(actor.operator)
    return models.SecondFactors(
        factors=[
            models.SecondFactor(kind=one.kind, created_at=one.created_at, used_at=one.used_at)
            for one in found.factors
        ],
        recovery_codes=found.recovery_codes,
    )


@router.post("/me/second-factor/totp", summary="Begin to set up an authenticator app")
async def begin_totp(actor: Owner, services: ServicesDep) -> models.TotpSetup:
    """Make a secret. Nothing is stored until a code of the app has come back, within fifteen minutes."""
    setup = await services.second_factors.begin_totp(actor=actor)
    return models.TotpSetup(secret=setup.secret.reveal(), uri=setup.uri.reveal(), setup=setup.setup.reveal())


@router.post("/me/second-factor/totp/confirm", summary="Set up an authenticator app")
async def confirm_totp(
    body: models.TotpConfirmation, actor: Owner, services: ServicesDep
) -> models.RecoveryCodes:
    """Ask for codes of this app from now on, and of no other; one's other sessions end. The answer has new recovery codes."""
    return _shown(
        await services.second_factors.confirm_totp(
            Secret(body.setup.get_secret_value()), Secret(body.code.get_secret_value()), actor=actor
        )
    )


@router.post("/me/second-factor/recovery-codes", summary="Make new recovery codes")
async def renew_recovery_codes(actor: Owner, services: ServicesDep) -> models.RecoveryCodes:
    """Make ten; those from before are worth nothing."""
    return _shown(await services.second_factors.renew_recovery_codes(actor=actor))


@router.delete("/me/second-factor", status_code=204, summary="Remove one's second factor")
async def remove(actor: Owner, services: ServicesDep) -> None:
    """Remove the second factor and the recovery codes, and end one's other sessions."""
    await services.second_factors.remove(actor=actor)


@router.delete(
    "/operators/{name}/second-factor", status_code=204, summary="Reset an operator's second factor"
)
async def reset(name: str, actor: OperatorsWriter, services: ServicesDep) -> None:
    """Remove the second factor and the recovery codes of an operator who has lost them, and end their sessions."""
    await services.second_factors.reset(name, actor=actor)


def _shown(codes: Sequence[Secret]) -> models.RecoveryCodes:
    return models.RecoveryCodes(recovery_codes=[code.reveal() for code in codes])
