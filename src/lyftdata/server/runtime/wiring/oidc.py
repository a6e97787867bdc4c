"""Builds sign-in at an OpenID Connect issuer, which is optional."""

import msgspec

from lyftdata.core.log_events.server import ISSUER_UNUSABLE
from lyftdata.failure_log import FailureLog
from lyftdata.log import get_logger
from lyftdata.server.admin.new_sessions import NewSessions
from lyftdata.server.admin.oidc.config import OidcConfig
from lyftdata.server.admin.oidc.issuer import Issuer
from lyftdata.server.admin.oidc.limits import OidcLimits
from lyftdata.server.admin.oidc.logout import OidcLogout
from lyftdata.server.admin.oidc.pending import PendingSignIns
from lyftdata.server.admin.oidc.sign_in import OidcSignIn
from lyftdata.server.runtime.settings import ServerSettings
from lyftdata.server.runtime.wiring.basis import Basis


class OidcParts(msgspec.Struct, frozen=True):
    """Sign-in at the issuer, its limits, and ending sessions when they end there."""

    sign_in: OidcSignIn
    logout: OidcLogout
    limits: OidcLimits


def build_oidc(basis: Basis, new_sessions: NewSessions) -> OidcParts | None:
    """Build sign-in at the issuer; None if the settings name no issuer. The issuer is not contacted yet."""
    config = oidc_config_of(basis.settings, server_url=basis.issuer)
    if config is None:
        return None
    issuer = Issuer(config)
    failures = FailureLog(get_logger(__name__), ISSUER_UNUSABLE)
    pending = PendingSignIns(
        key=basis.key("sign-ins at the issuer"),
        issuer=config.issuer,
        clock=basis.clock,
        random_bytes=basis.random_bytes,
    )
    limits = OidcLimits()
    return OidcParts(
        OidcSignIn(
            config=config,
            issuer=issuer,
            pending=pending,
            new_sessions=new_sessions,
            limits=limits,
            store=basis.store,
            failures=failures,
            clock=basis.clock,
        ),
        OidcLogout(config=config, issuer=issuer, store=basis.store, failures=failures, clock=basis.clock),
        limits,
    )


def oidc_config_of(settings: ServerSettings, *, server_url: str) -> OidcConfig | None:
    """Return the settings for sign-in at the issuer; None if there is no issuer."""
    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        return None
    return OidcConfig(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret,
        scopes=settings.oidc_scopes,
        role_rules=settings.oidc_roles,
        name_claim=settings.oidc_name_claim,
        tls_ca=settings.oidc_tls_ca,
        server_url=server_url,
    )
