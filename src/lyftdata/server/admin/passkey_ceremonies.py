"""
The two ceremonies of WebAuthn (Level 3, sections 7.1 and 7.2): the options for the browser, and the verification of its response.

A response must match the Server's own values: its origin and host from the public URL, a challenge that a Server issued for this
session or sign-in alone, and the key of a passkey of this very operator. The user must have been verified (a PIN, a fingerprint), and
the page must not have been in a frame of another site. The caller must check what only the database knows: that the challenge
was not used before, and that the counter is greater than the last one.
"""

import asyncio
import hmac
import json
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from lyftdata.core.encoding import base64url, decode_base64url
from lyftdata.core.records import PasskeyRecord
from lyftdata.core.relying_party import RelyingParty
from lyftdata.server.admin.passkey_challenges import (
    CHALLENGE_LIFE,
    Challenge,
    ChallengeError,
    PasskeyChallenges,
)

# ES256, EdDSA and RS256: what today's authenticators create (WebAuthn Level 3, section 5.4).
_ALGORITHMS: Final = (-7, -8, -257)
_MAX_ANSWER_LENGTH = 10_000
_MAX_CREDENTIAL_ID_BYTES = 1023
_TIMEOUT_MS = int(CHALLENGE_LIFE.total_seconds() * 1000)


class PasskeyRefusedError(Exception):
    """A response of a browser is invalid; the message says why, for tests and debugging only."""


class NewPasskey(msgspec.Struct, frozen=True, kw_only=True):
    """A passkey created by an authenticator, and the challenge to mark as used."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    challenge: Challenge


class Assertion(msgspec.Struct, frozen=True, kw_only=True):
    """A signature by a passkey: the counter to compare, and the challenge to mark as used."""

    sign_count: int
    challenge: Challenge


class PasskeyCeremonies:
    """
    Creates options for browsers, and verifies their responses.

    Args:
        relying_party: This Server as a relying party; None if its public URL does not allow passkeys.
        challenges: Issues and recognizes challenges.
        handle_key: 32 bytes that key the user handles for authenticators; a handle does not reveal the operator's name.
    """

    def __init__(
        self, *, relying_party: RelyingParty | None, challenges: PasskeyChallenges, handle_key: bytes
    ) -> None:
        self._party = relying_party
        self._challenges = challenges
        self._handle_key = handle_key

    @property
    def is_possible(self) -> bool:
        """Whether browsers can create passkeys for this Server's public URL."""
        return self._party is not None

    def creation_options(self, operator: str, existing: Sequence[PasskeyRecord], *, bound_to: str) -> str:
        """
        Return the options for creating a passkey (`PublicKeyCredentialCreationOptionsJSON`).

        Args:
            operator: The passkey's operator.
            existing: The operator's passkeys: an authenticator that has one creates no second.
            bound_to: What the challenge is for.
        """
        party, handle = self._require_party(), self.user_handle(operator, existing)
        options = {
            "rp": {"id": party.id, "name": party.name},
            "user": {"id": base64url(handle), "name": operator, "displayName": operator},
            "challenge": base64url(self._challenges.issue(bound_to)),
            "pubKeyCredParams": [{"type": "public-key", "alg": algorithm} for algorithm in _ALGORITHMS],
            "timeout": _TIMEOUT_MS,
            "excludeCredentials": _described(existing),
            # Not discoverable: the operator has already entered the name, and security keys have little room for discoverable passkeys.
            "authenticatorSelection": {"residentKey": "discouraged", "userVerification": "required"},
            # The make of the authenticator does not matter, so no attestation is requested.
            "attestation": "none",
        }
        return json.dumps(options)

    def request_options(self, allowed: Sequence[PasskeyRecord], *, bound_to: str) -> str:
        """Return the options for signing (`PublicKeyCredentialRequestOptionsJSON`): these passkeys, this challenge."""
        party = self._require_party()
        options = {
            "rpId": party.id,
            "challenge": base64url(self._challenges.issue(bound_to)),
            "timeout": _TIMEOUT_MS,
            "allowCredentials": _described(allowed),
            "userVerification": "required",
        }
        return json.dumps(options)

    async def verify_creation(self, unverified: str, *, bound_to: str) -> NewPasskey:
        """
        Verify the browser's response to `creation_options`.

        Raises:
            PasskeyRefusedError: It is invalid.
        """
        answer = _parse(unverified)
        challenge = self._find_challenge(answer, bound_to)
        verified = await asyncio.to_thread(_verify_creation, answer, challenge, self._require_party())
        return NewPasskey(**verified, challenge=self._open(challenge, bound_to))

    async def verify_assertion(self, unverified: str, *, passkey: PasskeyRecord, bound_to: str) -> Assertion:
        """
        Verify the browser's response to `request_options`.

        Args:
            unverified: The response.
            passkey: The one that the response names, of the operator who authenticates.
            bound_to: What the challenge must be for.

        Raises:
            PasskeyRefusedError: It is invalid.
        """
        answer = _parse(unverified)
        challenge = self._find_challenge(answer, bound_to)
        handle = answer["response"].get("userHandle")
        # WebAuthn Level 3, section 7.2, step 6: if the response has a user handle, it must be this operator's.
        if handle and handle != base64url(passkey.user_handle):
            raise PasskeyRefusedError("user handle")
        sign_count = await asyncio.to_thread(
            _verify_assertion, answer, challenge, self._require_party(), passkey.public_key
        )
        return Assertion(sign_count=sign_count, challenge=self._open(challenge, bound_to))

    def _require_party(self) -> RelyingParty:
        if self._party is None:
            raise PasskeyRefusedError("public URL")
        return self._party

    def user_handle(self, operator: str, existing: Sequence[PasskeyRecord]) -> bytes:
        """Return the user handle of an operator: the same for all of their passkeys, even after a rotation of the secret key."""
        if existing:
            return existing[0].user_handle
        # Keyed: it must not reveal the user (WebAuthn Level 3, section 14.6.1).
        return hmac.digest(self._handle_key, operator.encode(), "sha256")

    def _find_challenge(self, answer: dict[str, Any], bound_to: str) -> bytes:
        """Return the challenge that was signed, after checking that a Server issued it for this purpose."""
        try:
            client_data = json.loads(decode_base64url(answer["response"]["clientDataJSON"]))
            challenge = decode_base64url(client_data["challenge"])
            # A page of this Server never requests passkeys in a frame of another site.
            is_framed = bool(client_data.get("crossOrigin")) or "topOrigin" in client_data
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise PasskeyRefusedError("client data") from error
        if is_framed:
            raise PasskeyRefusedError("frame")
        self._open(challenge, bound_to)
        return challenge

    def _open(self, challenge: bytes, bound_to: str) -> Challenge:
        try:
            return self._challenges.open(challenge, bound_to)
        except ChallengeError as error:
            raise PasskeyRefusedError("challenge") from error


def credential_id_of(unverified: str) -> bytes:
    """Return the credential that a response names; raises PasskeyRefusedError."""
    try:
        return decode_base64url(_parse(unverified)["id"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PasskeyRefusedError("id") from error


def _described(records: Sequence[PasskeyRecord]) -> list[dict[str, str]]:
    return [{"type": "public-key", "id": base64url(record.credential_id)} for record in records]


def _parse(unverified: str) -> dict[str, Any]:
    try:
        answer = json.loads(unverified) if len(unverified) <= _MAX_ANSWER_LENGTH else None
    except (ValueError, RecursionError) as error:
        raise PasskeyRefusedError("JSON") from error
    if not isinstance(answer, dict) or not isinstance(answer.get("response"), dict):
        raise PasskeyRefusedError("JSON")
    return answer


# The library is loaded when the first passkey is used, in a thread: it imports CBOR, ASN.1 and OpenSSL, which a Server without
# passkeys does not need. It raises many kinds of errors for malformed input, all of which mean that the response is invalid.


def _verify_creation(answer: dict[str, Any], challenge: bytes, party: RelyingParty) -> dict[str, Any]:
    from webauthn import verify_registration_response
    from webauthn.helpers import parse_attestation_object, parse_registration_credential_json
    from webauthn.helpers.cose import COSEAlgorithmIdentifier
    from webauthn.helpers.structs import AttestationFormat

    try:
        credential = parse_registration_credential_json(answer)
        attestation = parse_attestation_object(credential.response.attestation_object)
        is_self_signed = attestation.fmt == AttestationFormat.PACKED and not attestation.att_stmt.x5c
        # No attestation is requested, and browsers then send at most a signature by the new key itself: a caller that sends manufacturers'
        # certificates is not a browser, and would make us parse them.
        if attestation.fmt != AttestationFormat.NONE and not is_self_signed:
            raise PasskeyRefusedError("attestation")
        verified = verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            require_user_verification=True,
            supported_pub_key_algs=[COSEAlgorithmIdentifier(algorithm) for algorithm in _ALGORITHMS],
        )
    except PasskeyRefusedError:
        raise
    except Exception as error:
        raise PasskeyRefusedError(type(error).__name__) from error
    if len(verified.credential_id) > _MAX_CREDENTIAL_ID_BYTES:
        raise PasskeyRefusedError("length of the credential ID")
    return {
        "credential_id": verified.credential_id,
        "public_key": verified.credential_public_key,
        "sign_count": verified.sign_count,
    }


def _verify_assertion(
    answer: dict[str, Any], challenge: bytes, party: RelyingParty, public_key: bytes
) -> int:
    from webauthn import verify_authentication_response

    try:
        verified = verify_authentication_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            credential_public_key=public_key,
            # The library compares counters before it verifies the signature, so that anyone could cause a regression to be recorded. The caller
            # compares them afterwards, in the database.
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except Exception as error:
        raise PasskeyRefusedError(type(error).__name__) from error
    return verified.new_sign_count
