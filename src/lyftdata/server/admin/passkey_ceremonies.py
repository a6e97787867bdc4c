"""
The two ceremonies of WebAuthn (Level 3, sections 7.1 and 7.2): what the browser is asked, and whether its answer is right.

What an answer must match is all the Server's own: its origin and host by the public URL, a challenge that a Server has made for this
session or sign-in and nothing else, the key of one passkey of this very operator. The user must have been verified (a PIN, a
fingerprint), and the page must not have been in a frame of another site. What only the database can say is left to the caller: that the
challenge was not used before, and that the counter is beyond the last one.
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

# ES256, EdDSA and RS256: what the authenticators of today make (WebAuthn Level 3, section 5.4).
_ALGORITHMS: Final = (-7, -8, -257)
_MAX_ANSWER_LENGTH = 10_000
_MAX_CREDENTIAL_ID_BYTES = 1023
_TIMEOUT_MS = int(CHALLENGE_LIFE.total_seconds() * 1000)


class PasskeyRefusedError(Exception):
    """An answer of a browser is not right; the message says why, for tests and debuggers alone."""


class NewPasskey(msgspec.Struct, frozen=True, kw_only=True):
    """A passkey that an authenticator has made, and the challenge to use up."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    challenge: Challenge


class Assertion(msgspec.Struct, frozen=True, kw_only=True):
    """What a passkey has signed: the counter to compare, and the challenge to use up."""

    sign_count: int
    challenge: Challenge


class PasskeyCeremonies:
    """
    Asks browsers for passkeys, and verifies their answers.

    Args:
        relying_party: As whom the Server asks; None where its public URL allows no passkeys.
        challenges: Makes and recognises challenges.
        handle_key: 32 bytes that key what authenticators know operators by; it says nothing of their names.
    """

    def __init__(
        self, *, relying_party: RelyingParty | None, challenges: PasskeyChallenges, handle_key: bytes
    ) -> None:
        self._party = relying_party
        self._challenges = challenges
        self._handle_key = handle_key

    @property
    def is_possible(self) -> bool:
        """Whether browsers make passkeys for this Server's public URL."""
        return self._party is not None

    def creation_options(self, operator: str, existing: Sequence[PasskeyRecord], *, bound_to: str) -> str:
        """
        Return what a browser is asked to make a passkey with (`PublicKeyCredentialCreationOptionsJSON`).

        Args:
            operator: Whose it will be.
            existing: Those they have: an authenticator that holds one makes no second.
            bound_to: What the challenge belongs to.
        """
        party, handle = self._require_party(), self.user_handle(operator, existing)
        options = {
            "rp": {"id": party.id, "name": party.name},
            "user": {"id": base64url(handle), "name": operator, "displayName": operator},
            "challenge": base64url(self._challenges.issue(bound_to)),
            "pubKeyCredParams": [{"type": "public-key", "alg": algorithm} for algorithm in _ALGORITHMS],
            "timeout": _TIMEOUT_MS,
            "excludeCredentials": _described(existing),
            # Not discoverable: the name is typed before, and the room for such passkeys on a security key is small.
            "authenticatorSelection": {"residentKey": "discouraged", "userVerification": "required"},
            # Which make of authenticator it is decides nothing here, so it is not asked.
            "attestation": "none",
        }
        return json.dumps(options)

    def request_options(self, allowed: Sequence[PasskeyRecord], *, bound_to: str) -> str:
        """Return what a browser is asked to sign with (`PublicKeyCredentialRequestOptionsJSON`): these passkeys, this challenge."""
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
        Verify what a browser answered to `creation_options`.

        Raises:
            PasskeyRefusedError: It is not right.
        """
        answer = _parse(unverified)
        challenge = self._find_challenge(answer, bound_to)
        verified = await asyncio.to_thread(_verify_creation, answer, challenge, self._require_party())
        return NewPasskey(**verified, challenge=self._open(challenge, bound_to))

    async def verify_assertion(self, unverified: str, *, passkey: PasskeyRecord, bound_to: str) -> Assertion:
        """
        Verify what a browser answered to `request_options`.

        Args:
            unverified: The answer.
            passkey: The one that the answer names, of the operator who proves who they are.
            bound_to: What the challenge must belong to.

        Raises:
            PasskeyRefusedError: It is not right.
        """
        answer = _parse(unverified)
        challenge = self._find_challenge(answer, bound_to)
        handle = answer["response"].get("userHandle")
        # WebAuthn Level 3, section 7.2, step 6: an authenticator that names somebody must name this operator.
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
        """Return what authenticators know an operator by: the same for all their passkeys, also after the secret key was rotated."""
        if existing:
            return existing[0].user_handle
        # Keyed: it must not tell who it is of (WebAuthn Level 3, section 14.6.1).
        return hmac.digest(self._handle_key, operator.encode(), "sha256")

    def _find_challenge(self, answer: dict[str, Any], bound_to: str) -> bytes:
        """Return the challenge that was signed, once it is known to be one that a Server has made for this."""
        try:
            client_data = json.loads(decode_base64url(answer["response"]["clientDataJSON"]))
            challenge = decode_base64url(client_data["challenge"])
            # A page of this Server in a frame of another site asks for nothing.
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
    """Return which credential an answer names; raises PasskeyRefusedError."""
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


# The library is loaded by the first passkey that is used, in a thread: it brings CBOR, ASN.1 and OpenSSL, which a Server without
# passkeys need not load. It raises errors of many kinds for what is malformed, all of which say that the answer is not right.


def _verify_creation(answer: dict[str, Any], challenge: bytes, party: RelyingParty) -> dict[str, Any]:
    from webauthn import verify_registration_response
    from webauthn.helpers import parse_attestation_object, parse_registration_credential_json
    from webauthn.helpers.cose import COSEAlgorithmIdentifier
    from webauthn.helpers.structs import AttestationFormat

    try:
        credential = parse_registration_credential_json(answer)
        attestation = parse_attestation_object(credential.response.attestation_object)
        is_self_signed = attestation.fmt == AttestationFormat.PACKED and not attestation.att_stmt.x5c
        # None is asked for, and browsers leave out all but a signature by the new key itself: a caller that sends certificates of makers
        # is no browser, and would have them parsed.
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
            # The library compares counters before it verifies the signature: anyone could have a regress recorded. The caller
            # compares them afterwards, in the database.
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except Exception as error:
        raise PasskeyRefusedError(type(error).__name__) from error
    return verified.new_sign_count
