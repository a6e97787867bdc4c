"""Routes for signing in and out, and for the caller's own password and sessions."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import SecretStr

from lyftdata.core.actor import Actor
from lyftdata.core.policy import is_allowed
from lyftdata.core.records import OperatorRecord
from lyftdata.core.secret import Secret
from lyftdata.server.admin.schemas import operators as models
from lyftdata.server.api.admin.access import ServicesDep, allowed
from lyftdata.server.http.client_address import client_address

router = APIRouter(tags=["account"])

DEVICE_HEADER = "Lyftdata-Device"
_DEVICE_HEADER_DOC = {
    "description": "The new device mark; earlier ones became invalid with the password.",
    "schema": {"type": "string"},
}

Self = Annotated[Actor, Depends(allowed("own_account", in_scope=True))]
Caller = Annotated[Actor, Depends(allowed("identity.read", in_scope=True))]


@router.post("/login", summary="Sign in")
async def login(body: models.Login, request: Request, services: ServicesDep) -> models.SignedIn:
    """Exchange name and password for a session of twelve hours."""
    services.host_check.check_browser(request)
    signed_in = await services.password_sign_in.sign_in(
        body.username,
        Secret(body.password.get_secret_value()),
        address=client_address(request.scope),
        user_agent=request.headers.get("user-agent", ""),
        code=_code_of(body),
        unverified_mark=_revealed(body.device),
    )
    return models.SignedIn(
        token=signed_in.token.reveal(),
        device=signed_in.device_mark.reveal(),
        expires_at=signed_in.session.expires_at,
        operator=operator_view(signed_in.operator),
    )


@router.post("/login/device", summary="Begin to sign in by device code")
async def begin_device_login(
    body: models.DeviceLogin, request: Request, services: ServicesDep
) -> models.DeviceLoginBegun:
    """Return a code that an operator confirms in a browser, and one to poll with (RFC 8628, section 3.2)."""
    services.host_check.check_browser(request)
    begun = await services.device_logins.begin(
        host=body.host,
        address=client_address(request.scope),
        user_agent=request.headers.get("user-agent", ""),
    )
    page = f"{services.issuer}/device"
    return models.DeviceLoginBegun(
        device_code=begun.device_code.reveal(),
        user_code=begun.user_code,
        verification_uri=page,
        verification_uri_complete=f"{page}?user_code={begun.user_code}",
        expires_in=begun.expires_in_s,
        interval=begun.interval_s,
    )


@router.post("/login/device/token", summary="Sign in by device code")
async def redeem_device_code(
    body: models.DeviceCode, request: Request, services: ServicesDep
) -> models.DeviceSignedIn:
    """
    Exchange a device code for a session, once an operator has confirmed it; it ends no later than that of their browser.

    Until then 400, with the codes of RFC 8628, section 3.5: `authorization_pending`, `slow_down`, `access_denied`, `expired_token`.
    """
    services.host_check.check_browser(request)
    signed_in = await services.device_logins.redeem(
        body.device_code.get_secret_value(),
        address=client_address(request.scope),
        user_agent=request.headers.get("user-agent", ""),
    )
    return models.DeviceSignedIn(
        token=signed_in.token.reveal(),
        expires_at=signed_in.session.expires_at,
        operator=operator_view(signed_in.operator),
    )


@router.post("/logout", status_code=204, summary="Sign out")
async def logout(actor: Self, services: ServicesDep) -> None:
    """End this session."""
    await services.operator_sessions.end_session(actor.session_id, actor=actor, of_any_operator=False)


@router.post("/logout-everywhere", status_code=204, summary="Sign out everywhere")
async def logout_everywhere(actor: Self, services: ServicesDep) -> None:
    """End every session of the caller."""
    await services.operator_sessions.end_all_sessions(actor=actor)


@router.get("/whoami", summary="Who am I")
async def whoami(actor: Caller, services: ServicesDep) -> models.CallerIdentity:
    """Return the operator of this session, or the operator for whom this API token acts, with the token's role."""
    operator = operator_view(await services.operators.get(actor.operator))
    scope = actor.scope
    return models.CallerIdentity(
        **operator.model_dump(exclude={"role", "scope"}),
        role=actor.role,
        # A list, because the two may contradict each other.
        scope=[f"{key}={value}" for key, value in sorted(scope.required)] if scope.is_limited else None,
        api_token=actor.api_token,
    )


@router.post(
    "/me/password",
    status_code=204,
    summary="Change your password",
    responses={204: {"headers": {DEVICE_HEADER: _DEVICE_HEADER_DOC}}},
)
async def change_password(
    body: models.PasswordChange, actor: Self, services: ServicesDep, response: Response
) -> None:
    """Change the password and end the caller's other sessions and device marks; the response contains a new mark."""
    mark = await services.operator_passwords.change_own_password(
        Secret(body.current_password.get_secret_value()),
        Secret(body.new_password.get_secret_value()),
        actor=actor,
        unverified_mark=_revealed(body.device),
    )
    response.headers[DEVICE_HEADER] = mark.reveal()


@router.post("/me/password/check", status_code=204, summary="Check a change of your password")
async def check_password_change(body: models.PasswordCheck, actor: Self, services: ServicesDep) -> None:
    """Check the current password and whether the new one would be accepted, and change nothing; it counts as a sign-in attempt."""
    new = body.new_password
    await services.operator_passwords.check_password_change(
        Secret(body.current_password.get_secret_value()),
        None if new is None else Secret(new.get_secret_value()),
        actor=actor,
    )


@router.post("/me/reauthenticate", summary="Authenticate again")
async def reauthenticate(
    body: models.Reauthentication, actor: Self, services: ServicesDep
) -> models.Reauthenticated:
    """
    Check the password and the second factor, if there is one, and give this session a new token; the current one ends.

    Actions that cannot be undone answer 401 `reauthentication_required` if this was too long ago in the session.
    """
    done = await services.reauthentication.reauthenticate(
        Secret(body.password.get_secret_value()), _code_of(body), actor=actor
    )
    return models.Reauthenticated(token=done.token.reveal(), asked_again_at=done.asked_again_at)


@router.get("/admin-sessions", summary="List operators' sessions")
async def list_sessions(actor: Self, services: ServicesDep) -> models.AdminSessions:
    """Return the operator's own sessions, or all sessions for an admin."""
    can_see_all = is_allowed("sessions.revoke_any", actor=actor)
    sessions = await services.operator_sessions.list(None if can_see_all else actor.operator)
    return models.AdminSessions(
        items=[
            models.AdminSession(
                id=session.id,
                operator=session.operator,
                created_at=session.created_at,
                expires_at=session.expires_at,
                last_used_at=session.last_used_at,
                address=session.address,
                user_agent=session.user_agent,
                current=session.id == actor.session_id,
            )
            for session in sessions
        ]
    )


@router.delete("/admin-sessions/{session_id}", status_code=204, summary="End an operator's session")
async def end_session(session_id: str, actor: Self, services: ServicesDep) -> None:
    """End one session: the operator's own, or any one for an admin."""
    of_any_operator = is_allowed("sessions.revoke_any", actor=actor)
    await services.operator_sessions.end_session(session_id, actor=actor, of_any_operator=of_any_operator)


def _code_of(body: models.Login | models.Reauthentication) -> Secret | None:
    return None if body.code is None else Secret(body.code.get_secret_value())


def _revealed(mark: SecretStr | None) -> str:
    return "" if mark is None else mark.get_secret_value()


def operator_view(record: OperatorRecord) -> models.Operator:
    """Build the view of an operator, without the hash."""
    return models.Operator(
        name=record.name,
        role=record.role,
        scope=record.scope,
        must_change_password=record.must_change_password,
        created_at=record.created_at,
        issuer=record.issuer,
    )
