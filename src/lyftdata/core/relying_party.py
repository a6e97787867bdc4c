"""The relying party (WebAuthn) that the Server is to browsers: derived from its public URL, never from a request."""

from urllib.parse import urlsplit

import msgspec

from lyftdata.core.origins import is_ip_address, origin_of


class RelyingParty(msgspec.Struct, frozen=True):
    """
    The relying party that passkeys are created for (WebAuthn Level 3, section 4).

    Args:
        id: The host name that passkeys are bound to.
        origin: The one origin whose pages may ask for them, as browsers write it.
        name: The name that authenticators show.
    """

    id: str
    origin: str
    name: str


def relying_party_of(public_url: str) -> RelyingParty | None:
    """
    Return the relying party for this public URL; None if no browser would create a passkey for it.

    Browsers create passkeys only for host names, never for an IP address, and without TLS only for `localhost`.
    """
    parts = urlsplit(public_url)
    host = (parts.hostname or "").lower()
    is_local = host == "localhost" or host.endswith(".localhost")
    if not host or is_ip_address(host) or (parts.scheme != "https" and not is_local):
        return None
    return RelyingParty(id=host, origin=origin_of(public_url), name=f"lyftdata {parts.netloc}")
