"""What the Server must know of the issuer that operators sign in at."""

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
    The settings of the sign-in at an issuer.

    Attributes:
        issuer: As the issuer itself writes it; compared exactly.
        client_id: The ID of this Server there.
        client_secret: Its secret there; None for a public client, which PKCE alone protects.
        scopes: What is asked for, `openid` first.
        role_rules: Which claims give which role.
        name_claim: The claim that gives a new operator their name.
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
        """Where the issuer sends the browser back to; registered there exactly like this."""
        return self.server_url + CALLBACK_PATH

    @property
    def host(self) -> str:
        """The issuer's host, as it is shown to operators."""
        return urllib.parse.urlsplit(self.issuer).netloc

    def wanted_claims(self) -> set[str]:
        """Return the claims that the rules and the name are read from."""
        return {self.name_claim, *(rule.claim for rule in self.role_rules)}
