"""The settings for an issuer at which operators sign in."""

import urllib.parse
from collections.abc import Sequence
from pathlib import Path

import msgspec

from lyftdata.core.role_rules import RoleRule
from lyftdata.core.secret import Secret

CALLBACK_PATH = "/login/oidc/callback"
LOGOUT_PATH = "/login/oidc/logout"


class OidcConfig(msgspec.Struct, frozen=True, kw_only=True):
    """
    The settings for sign-in at an issuer.

    Attributes:
        issuer: Exactly as the issuer writes it; compared exactly.
        client_id: The ID of this Server there.
        client_secret: Its secret there; None for a public client, protected only by PKCE.
        scopes: The requested scopes, `openid` first.
        role_rules: Which claims give which role.
        name_claim: The claim with the name of a new operator.
        tls_ca: Certificates (PEM) to trust instead of the system's.
        server_url: The Server's public URL.
    """

    issuer: str
    client_id: str
    client_secret: Secret | None
    scopes: Sequence[str]
    role_rules: Sequence[RoleRule]
    name_claim: str
    tls_ca: Path | None
    server_url: str

    @property
    def redirect_uri(self) -> str:
        """Where the issuer redirects the browser to; must be registered there exactly like this."""
        return self.server_url + CALLBACK_PATH

    @property
    def host(self) -> str:
        """The issuer's host, as displayed to operators."""
        return urllib.parse.urlsplit(self.issuer).netloc

    def wanted_claims(self) -> set[str]:
        """Return the claims that the rules and the name need."""
        return {self.name_claim, *(rule.claim for rule in self.role_rules)}
