"""Checks the OpenID Connect issuer of the operators: whether it answers, accepts this Server as a client, and has the same time."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx2

from lyftdata.bounded_http import (
    Answer,
    Request,
    ServerEndpoint,
    UnreachableError,
    asend,
    connection_options,
)
from lyftdata.core.errors import IssuerUnavailableError
from lyftdata.core.id_tokens import LEEWAY_S
from lyftdata.core.origins import origin_of
from lyftdata.core.text import clean_text
from lyftdata.doctor import findings
from lyftdata.doctor.findings import Finding
from lyftdata.server.admin.oidc.config import OidcConfig
from lyftdata.server.admin.oidc.issuer import Issuer
from lyftdata.server.admin.oidc.pending import PendingSignIns
from lyftdata.server.admin.oidc.sign_in import authorization_url
from lyftdata.server.clock import random_bytes
from lyftdata.server.runtime.issuer import issuer_of
from lyftdata.server.runtime.settings import ServerSettings
from lyftdata.server.runtime.wiring.oidc import oidc_config_of

_ANSWER_WITHIN_S = 10.0
_CLIENT_ERRORS = range(400, 500)


async def check_issuer(settings: ServerSettings, *, now: datetime) -> AsyncIterator[Finding]:
    """Yield what prevents operators from signing in at their issuer; nothing if none is configured."""
    config = oidc_config_of(settings, server_url=issuer_of(settings))
    if config is None:
        return
    issuer = Issuer(config)
    try:
        metadata = await issuer.metadata()
        await issuer.keys()
        pending = PendingSignIns(
            key=random_bytes(32), issuer=config.issuer, clock=lambda: now, random_bytes=random_bytes
        )
        _, begun = pending.begin("/")
        # The first request of a browser's sign-in. No one is signed in by it: the issuer shows its form, or says what it rejects.
        answer = await _ask(config, authorization_url(config, metadata, begun))
    except (IssuerUnavailableError, UnreachableError, OSError) as error:
        detail = error.detail if isinstance(error, IssuerUnavailableError) else str(error)
        yield Finding(
            findings.ISSUER_UNUSABLE,
            f"LYFTDATA_OIDC_ISSUER: {clean_text(detail, 300)}",
            "Correct LYFTDATA_OIDC_ISSUER to what the issuer calls itself, name its CA by LYFTDATA_OIDC_TLS_CA, or look at the issuer.",
        )
        return
    if answer.status in _CLIENT_ERRORS:
        yield Finding(
            findings.ISSUER_REFUSES_SERVER,
            f"The issuer answered {answer.status} to the request that a sign-in begins with.",
            f"Register the client {config.client_id} there, with exactly this redirect URI: {config.redirect_uri}",
        )
    skew = _skew(answer, now)
    if skew is not None and abs(skew) > timedelta(seconds=LEEWAY_S / 2):
        yield Finding(
            findings.ISSUER_CLOCK_OFF,
            f"This host's clock and the issuer's differ by {abs(skew).total_seconds():.0f} s; {LEEWAY_S} s are tolerated.",
            "Let both hosts take their time from NTP.",
        )


async def _ask(config: OidcConfig, url: str) -> Answer:
    endpoint = ServerEndpoint(server_url=origin_of(url), tls_ca=config.tls_ca, timeout_s=_ANSWER_WITHIN_S)
    async with httpx2.AsyncClient(**connection_options(endpoint, user_agent="lyftdata-doctor")) as http:
        return await asend(http, Request("GET", url), within_s=_ANSWER_WITHIN_S)


def _skew(answer: Answer, now: datetime) -> timedelta | None:
    try:
        return now - parsedate_to_datetime(answer.headers.get("date", ""))
    except (ValueError, TypeError):
        return None
