"""Says as whom the Server asks browsers for passkeys: by its public URL, and never by what a request says."""

from urllib.parse import urlsplit

import msgspec

from lyftdata.core.origins import is_ip_address, origin_of


class RelyingParty(msgspec.Struct, frozen=True):
    """
    Whom passkeys are made for (WebAuthn Level 3, section 4).

    Args:
        id: The host name that passkeys are bound to.
        origin: The one origin of the pages that may ask for them, as browsers write it.
        name: What authenticators show.
    """

    id: str
    origin: str
    name: str


def relying_party_of(public_url: str) -> RelyingParty | None:
    """
    Return whom a Server with this public URL asks as; None where no browser makes a passkey.

    Browsers make passkeys for host names alone, never for an IP address, and without TLS on `localhost` alone.
    """
    parts = urlsplit(public_url)
    host = (parts.hostname or "").lower()
    is_local = host == "localhost" or host.endswith(".localhost")
    if not host or is_ip_address(host) or (parts.scheme != "https" and not is_local):
        return None
    return RelyingParty(id=host, origin=origin_of(public_url), name=f"lyftdata {parts.netloc}")
