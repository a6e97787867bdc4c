"""A software authenticator and its browser: makes passkeys and signs with them per WebAuthn Level 3, or deliberately not quite."""

import hashlib
import json
import os
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from tests.builders import ISSUER

from lyftdata.core.encoding import base64url, decode_base64url

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


class Authenticator:
    """
    A security key with a PIN, plugged into a browser that shows a page of `origin`.

    Args:
        counts: Whether it has a signature counter; synchronised passkeys do not.
        origin: The origin of the page that asks.
    """

    def __init__(self, *, counts: bool = True, origin: str = ISSUER) -> None:
        self.counts = counts
        self.origin = origin
        self.sign_count = 0
        self.credential_id = os.urandom(32)
        self.user_handle: bytes | None = None
        self._key = ec.generate_private_key(ec.SECP256R1())

    def copy(self) -> "Authenticator":
        """Return a clone that holds the same key, as a thief would make."""
        made = Authenticator(counts=self.counts, origin=self.origin)
        made.__dict__.update(self.__dict__)
        return made

    def create(self, options: str, **how: Any) -> str:
        """Answer `navigator.credentials.create()`."""
        asked = json.loads(options)
        self.user_handle = decode_base64url(asked["user"]["id"])
        credential = len(self.credential_id).to_bytes(2) + self.credential_id + self._cose_key()
        data = self._data(asked["rp"]["id"], how, flags=ATTESTED) + bytes(16) + credential
        statement = how.get("statement", {"fmt": "none", "attStmt": {}})
        response = {
            "clientDataJSON": base64url(self._client_data("webauthn.create", asked["challenge"], how)),
            "attestationObject": base64url(cbor2.dumps(statement | {"authData": data})),
            "transports": ["usb"],
        }
        return self._answer(response)

    def get(self, options: str, **how: Any) -> str:
        """Answer `navigator.credentials.get()`; `how` overrides parts of the answer to make them wrong."""
        asked = json.loads(options)
        if self.counts:
            self.sign_count += 1
        data = self._data(asked["rpId"], how)
        client_data = self._client_data("webauthn.get", asked["challenge"], how)
        signature = self._key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(SHA256()))
        response = {
            "clientDataJSON": base64url(client_data),
            "authenticatorData": base64url(data),
            "signature": base64url(how.get("signature", signature)),
            "userHandle": base64url(how["user_handle"]) if "user_handle" in how else None,
        }
        return self._answer(response)

    def _answer(self, response: dict[str, Any]) -> str:
        credential_id = base64url(self.credential_id)
        return json.dumps(
            {
                "id": credential_id,
                "rawId": credential_id,
                "type": "public-key",
                "response": response,
                "clientExtensionResults": {},
            }
        )

    def _data(self, rp_id: str, how: dict[str, Any], *, flags: int = 0) -> bytes:
        flags |= how.get("flags", PRESENT | VERIFIED)
        rp_id_hash = hashlib.sha256(how.get("rp_id", rp_id).encode()).digest()
        return rp_id_hash + bytes([flags]) + how.get("sign_count", self.sign_count).to_bytes(4)

    def _client_data(self, kind: str, challenge: str, how: dict[str, Any]) -> bytes:
        client_data = {
            "type": how.get("type", kind),
            "challenge": challenge,
            "origin": how.get("origin", self.origin),
            "crossOrigin": how.get("cross_origin", False),
        }
        return json.dumps(client_data).encode()

    def _cose_key(self) -> bytes:
        numbers = self._key.public_key().public_numbers()
        return cbor2.dumps({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)})
