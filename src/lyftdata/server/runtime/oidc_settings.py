"""The settings for sign-in at an OpenID Connect issuer, and their parsers."""

import urllib.parse

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.origins import is_loopback
from lyftdata.core.role_rules import parse_role_rules
from lyftdata.core.secret_text import parse_secret
from lyftdata.core.settings import Setting, parse_switch
from lyftdata.user_paths import parse_path

_MAX_TEXT = 256


def parse_issuer(text: str) -> str:
    """Parse an issuer, unchanged since it is compared exactly: https, or plain http on this machine."""
    try:
        parts = urllib.parse.urlsplit(text)
        is_url = bool(parts.hostname) and parts.port != 0 and parts.username is None
    except ValueError:
        parts, is_url = urllib.parse.urlsplit(""), False
    is_plain = text.isascii() and text.isprintable() and " " not in text and len(text) <= _MAX_TEXT
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(text))
    if not is_url or not is_plain or not is_safe or "?" in text or "#" in text:
        raise InvalidInputError(
            "oidc_issuer",
            "must be like https://id.example.com/realms/ops (https, no query), as the issuer writes it",
        )
    return text


def parse_client_id(text: str) -> str:
    """Parse a client ID: printable ASCII."""
    if not 1 <= len(text) <= _MAX_TEXT or not text.isascii() or not text.isprintable():
        raise InvalidInputError("oidc_client_id", f"must be 1 to {_MAX_TEXT} printable ASCII characters")
    return text


def parse_scopes(text: str) -> tuple[str, ...]:
    """Parse scopes separated by spaces or commas; `openid` is always among them."""
    scopes = dict.fromkeys(["openid", *text.replace(",", " ").split()])
    if not all(scope.isascii() and scope.isprintable() and not set(scope) & set('"\\') for scope in scopes):
        raise InvalidInputError(
            "oidc_scopes", "must be scopes separated by spaces, for example: profile groups"
        )
    return tuple(scopes)


OIDC_SETTINGS: tuple[Setting, ...] = (
    Setting(
        name="LYFTDATA_OIDC_ISSUER",
        field="oidc_issuer",
        parse=parse_issuer,
        default=None,
        default_doc="none: operators sign in by password",
        flag="--oidc-issuer",
        doc="The OpenID Connect issuer that operators sign in at, exactly as it writes itself in its metadata. Register the redirect URI "
        "`PUBLIC_URL/login/oidc/callback` there.",
    ),
    Setting(
        name="LYFTDATA_OIDC_CLIENT_ID",
        field="oidc_client_id",
        parse=parse_client_id,
        default=None,
        default_doc="none",
        flag="--oidc-client-id",
        doc="The ID of this Server at the issuer.",
    ),
    Setting(
        name="LYFTDATA_OIDC_CLIENT_SECRET",
        field="oidc_client_secret",
        parse=parse_secret,
        default=None,
        default_doc="none: a public client",
        secret=True,
        doc="The secret of this Server at the issuer (`client_secret_basic`, or `client_secret_post` where the issuer takes only that).",
    ),
    Setting(
        name="LYFTDATA_OIDC_ROLES",
        field="oidc_roles",
        parse=parse_role_rules,
        default=(),
        default_doc="none",
        flag="--oidc-roles",
        doc="Which claims give which role: rules `ROLE: CLAIM=VALUE`, separated by semicolons, for example "
        "`admin: groups=platform-admins; viewer: groups=staff`. `admin for team=etl: groups=etl-leads` limits the role to Workers with "
        "that label. A path such as `realm_access.roles` names a claim within a claim. Who "
        "fits no rule is refused.",
    ),
    Setting(
        name="LYFTDATA_OIDC_SCOPES",
        field="oidc_scopes",
        parse=parse_scopes,
        default=("openid", "profile"),
        default_doc="`openid profile`",
        flag="--oidc-scopes",
        doc="The scopes that are asked for; many issuers give groups only for a scope such as `groups`.",
    ),
    Setting(
        name="LYFTDATA_OIDC_NAME_CLAIM",
        field="oidc_name_claim",
        parse=parse_client_id,
        default="preferred_username",
        default_doc="`preferred_username`",
        flag="--oidc-name-claim",
        doc="The claim that names a new operator. It is a name for people: who an operator is, is decided by issuer and subject alone.",
    ),
    Setting(
        name="LYFTDATA_OIDC_TLS_CA",
        field="oidc_tls_ca",
        parse=parse_path,
        default=None,
        default_doc="the system's certificates",
        flag="--oidc-tls-ca",
        doc="Certificates (PEM) to trust for the issuer, instead of the system's.",
    ),
    Setting(
        name="LYFTDATA_PASSWORD_SIGN_IN",
        field="password_sign_in",
        parse=parse_switch,
        default=True,
        default_doc="`yes`",
        flag="--password-sign-in",
        doc="`no` refuses every sign-in by password, in the pages, the API and `lyftdata login`, and ends sessions that were opened by one. "
        "It needs LYFTDATA_OIDC_ISSUER. In an emergency: `lyftdata admin emergency-access`.",
    ),
)
