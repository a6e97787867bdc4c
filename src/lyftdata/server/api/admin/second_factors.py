"""Routes of `/api/me/second-factor`, and of the reset of another operator's."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends

from lyftdata.core.actor import Actor
from lyftdata.core.records import PasskeyRecord
from lyftdata.core.secret import Secret
from lyftdata.server.admin.qr_codes import qr_text
from lyftdata.server.admin.schemas import second_factors as models
from lyftdata.server.api.admin.access import ServicesDep, allowed

router = APIRouter(tags=["account"])

Self = Annotated[Actor, Depends(allowed("own_account", in_scope=True))]
Owner = Annotated[Actor, Depends(allowed("own_second_factor", in_scope=True))]
OperatorsWriter = Annotated[Actor, Depends(allowed("operators.write"))]


@router.get("/me/second-factor", summary="Show your second factor")
async def show(actor: Self, services: ServicesDep) -> models.SecondFactors:
    """Return the caller's second factors, without secrets."""
    found = await services.second_factors.status(actor.operator)
    return models.SecondFactors(
        factors=[
            models.SecondFactor(kind=one.kind, created_at=one.created_at, used_at=one.used_at)
            for one in found.factors
        ],
        passkeys=[_passkey(one) for one in found.passkeys],
        recovery_codes=found.recovery_codes,
    )


@router.post("/me/second-factor/totp", summary="Begin to set up an authenticator app")
async def begin_totp(actor: Owner, services: ServicesDep) -> models.TotpSetup:
    """Generate a secret. Nothing is stored until a code from the app is sent back, within fifteen minutes."""
    setup = await services.second_factors.begin_totp(actor=actor)
    uri = setup.uri.reveal()
    return models.TotpSetup(
        secret=setup.secret.reveal(), uri=uri, qr_text=qr_text(uri), setup=setup.setup.reveal()
    )


@router.post("/me/second-factor/totp/confirm", summary="Set up an authenticator app")
async def confirm_totp(
    body: models.TotpConfirmation, actor: Owner, services: ServicesDep
) -> models.RecoveryCodes:
    """Require codes of this app from now on, replacing any other; the caller's other sessions end. The response has new recovery codes."""
    return _shown(
        await services.second_factors.confirm_totp(
            Secret(body.setup.get_secret_value()), Secret(body.code.get_secret_value()), actor=actor
        )
    )


@router.post("/me/second-factor/recovery-codes", summary="Make new recovery codes")
async def renew_recovery_codes(actor: Owner, services: ServicesDep) -> models.RecoveryCodes:
    """Generate ten; the old ones become invalid."""
    return _shown(await services.second_factors.renew_recovery_codes(actor=actor))


@router.delete("/me/second-factor", status_code=204, summary="Remove your second factor")
async def remove(actor: Owner, services: ServicesDep) -> None:
    """
    Remove app, passkeys and recovery codes, and end the caller's other sessions.

    409 `second_factor_needed` if the settings require a second factor of the caller.
    """
    await services.second_factors.remove(actor=actor)


@router.delete("/me/second-factor/totp", status_code=204, summary="Remove your authenticator app")
async def remove_app(actor: Owner, services: ServicesDep) -> None:
    """Remove only the app, and end the caller's other sessions; passkeys stay. With the last second factor, recovery codes are removed too."""
    await services.second_factors.remove_app(actor=actor)


@router.delete("/me/passkeys/{passkey_id}", status_code=204, summary="Remove one of your passkeys")
async def remove_passkey(passkey_id: str, actor: Owner, services: ServicesDep) -> None:
    """Remove it, and end the caller's other sessions. With the last second factor, recovery codes are removed too. Passkeys are added in the browser."""
    await services.passkeys.remove(passkey_id, actor=actor)


@router.get("/operators/{name}/passkeys", summary="List an operator's passkeys")
async def list_passkeys(name: str, _actor: OperatorsWriter, services: ServicesDep) -> models.Passkeys:
    """Return names and times, for an admin who wants to remove one."""
    return models.Passkeys(items=[_passkey(one) for one in await services.passkeys.list(name)])


@router.delete(
    "/operators/{name}/passkeys/{passkey_id}", status_code=204, summary="Remove an operator's passkey"
)
async def remove_passkey_of(
    name: str, passkey_id: str, actor: OperatorsWriter, services: ServicesDep
) -> None:
    """Remove a passkey that an operator has lost, and end their sessions."""
    await services.passkeys.remove_of(name, passkey_id, actor=actor)


@router.delete(
    "/operators/{name}/second-factor", status_code=204, summary="Reset an operator's second factor"
)
async def reset(name: str, actor: OperatorsWriter, services: ServicesDep) -> None:
    """Remove app, passkeys and recovery codes of an operator who has lost them, and end their sessions."""
    await services.second_factors.reset(name, actor=actor)


def _passkey(record: PasskeyRecord) -> models.Passkey:
    return models.Passkey(
        id=record.id, name=record.name, created_at=record.created_at, used_at=record.used_at
    )


def _shown(codes: Sequence[Secret]) -> models.RecoveryCodes:
    return models.RecoveryCodes(recovery_codes=[code.reveal() for code in codes])
