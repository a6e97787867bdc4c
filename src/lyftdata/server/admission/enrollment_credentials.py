"""
Checks the credential of an enrollment: a proof or the raw secret, with a key of the settings or an issued key.

     1. The key that the credential names is looked up; if it does not exist, a decoy replaces it, at the same cost.
     2. The credential is checked against that one, and against every key of the settings. If it names no key, it is only checked
        against those of the settings or, if there are none, against a decoy.

The rules of an issued key are checked later, with the request: a caller with an invalid body must not learn from the answer that
its key is in force.
"""

import re
from collections.abc import Sequence

import msgspec

from lyftdata.core._jose import UnverifiedJws
from lyftdata.core.enrollment import VerifiedProof, read_proof, verify_proof
from lyftdata.core.enrollment_rules import is_in_force
from lyftdata.core.enrollment_secrets import (
    EnrollmentVerifier,
    StoredParts,
    find_key_id,
    generate_enrollment_key,
    load_verifier,
    make_stored_parts,
)
from lyftdata.core.records import EnrollmentKeyRecord
from lyftdata.core.refusals import EnrollmentDisabledError, ProofExpiredError, WrongEnrollmentKeyError
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.nonces import Nonces
from lyftdata.server.clock import Clock, RandomBytes
from lyftdata.server.sessions.activity import ActivityLog

_KEY_ID = re.compile(r"[0-9A-Za-z]{10}")


class AcceptedKey(msgspec.Struct, frozen=True):
    """An enrollment key of the settings; `role` is `current` or `previous`."""

    role: str
    fingerprint: str
    key: EnrollmentVerifier
    warnings: list[str]


class ProvedKey(msgspec.Struct, frozen=True):
    """
    The enrollment key that a caller has proved to know.

    Attributes:
        fingerprint: Recorded in the new entry.
        proof: None if the secret itself was sent. Its `jti` must still be spent.
        issued: The key's record; None for a key of the settings. One of its uses must still be counted.
    """

    fingerprint: str
    proof: VerifiedProof | None = None
    issued: EnrollmentKeyRecord | None = None


class EnrollmentCredentials:
    """Determines with which enrollment key a caller authenticates."""

    def __init__(
        self,
        *,
        keys: Sequence[AcceptedKey],
        directory: Directory,
        issuers: Sequence[str],
        traces: ActivityLog,
        clock: Clock,
        random_bytes: RandomBytes,
        nonces: Nonces,
    ) -> None:
        self.keys = keys
        self._directory = directory
        self._issuers = issuers
        self._traces = traces
        self._clock = clock
        self._nonces = nonces
        # Timing oracle: checked if there is no key, so that "off" and "unknown" cost the same time as "wrong".
        self._decoy = make_stored_parts(generate_enrollment_key(random_bytes))
        # Used instead of a key of the settings, and parsed once like those: parsing a key for each request would take a quarter as long as
        # a check.
        self._decoy_setting = _verifier_of(self._decoy)

    def is_enabled(self) -> bool:
        """Return whether any key can enroll Workers: one of the settings, or an issued one that is not revoked, expired or used up."""
        now = self._clock()
        return bool(self.keys) or any(is_in_force(key, now=now) for key in self._directory.enrollment_keys())

    def names_a_key(self, unverified_credential: str) -> bool:
        """Return whether a credential names a key, which an operator may have just issued at a peer."""
        return _key_id(unverified_credential, read_proof(unverified_credential)) is not None

    def check(self, unverified_credential: str) -> ProvedKey:
        """
        Check the initial access token.

        This records a use of the key, even if the request is refused later: it shows that a host still uses the key.

        Args:
            unverified_credential: A proof, or the raw secret.

        Raises:
            EnrollmentDisabledError, WrongEnrollmentKeyError, MalformedProofError, ProofExpiredError: As named.
        """
        try:
            proved = self._find_proved(unverified_credential)
        except Exception as error:
            if not self.is_enabled():
                raise EnrollmentDisabledError from error
            raise
        self._traces.enrollment_key_used(proved.fingerprint, at=self._clock())
        return proved

    def _find_proved(self, unverified_credential: str) -> ProvedKey:
        unverified_proof = read_proof(unverified_credential)
        named = _key_id(unverified_credential, unverified_proof)
        issued = None if named is None else self._directory.find_enrollment_key(named)
        keys = [(accepted.fingerprint, accepted.key) for accepted in self.keys]
        # Timing oracle: how many keys are tried depends only on the settings and on what the caller has sent, never on whether the key that it
        # names exists. Nor does it depend on whether enrollment is off: then a decoy replaces the key.
        if named is not None:
            # The issued key first: a secret that is also a setting keeps the rules with which it was issued.
            first = ("", self._decoy) if issued is None else (issued.fingerprint, issued)
            keys.insert(0, (first[0], _verifier_of(first[1])))
        elif not keys:
            keys.append(("", self._decoy_setting))
        if unverified_proof is None:
            matching = [fingerprint for fingerprint, key in keys if key.matches(unverified_credential)]
            if not matching:
                raise WrongEnrollmentKeyError("The raw secret was sent.")
            fingerprint, proof = matching[0], None
        else:
            proof = verify_proof(unverified_proof, keys=keys, audiences=self._issuers, now=self._clock())
            self._check_nonce(proof)
            fingerprint = proof.fingerprint
        if issued is None or fingerprint != issued.fingerprint:
            # Evading the rules: the caller chooses the key named in its proof. A key of the settings that was also issued keeps its rules anyway.
            key_ids = {accepted.fingerprint: accepted.key.key_id for accepted in self.keys}
            issued = self._directory.find_enrollment_key(key_ids[fingerprint] or "")
        return ProvedKey(fingerprint if issued is None else issued.fingerprint, proof, issued)

    def _check_nonce(self, proof: VerifiedProof) -> None:
        """
        Reject a proof that was signed for a time that the Server did not issue.

        Pre-dating: a Worker without a clock may sign for the time in a nonce. Only the Server's own nonces make that time
        trustworthy; otherwise an attacker with brief access to the key could sign proofs for next year.

        Raises:
            ProofExpiredError: Its nonce was not issued in the last two minutes.
        """
        if proof.nonce is not None and not self._nonces.is_valid_for_enrollment(proof.nonce):
            raise ProofExpiredError(
                "Its nonce has expired, or is not from this Server.", claimed_worker=proof.worker_name
            )


def _key_id(unverified_credential: str, unverified_proof: UnverifiedJws | None) -> str | None:
    if unverified_proof is None:
        return find_key_id(unverified_credential)
    named = unverified_proof.header.get("kid")
    return named if isinstance(named, str) and _KEY_ID.fullmatch(named) else None


def _verifier_of(kept: EnrollmentKeyRecord | StoredParts) -> EnrollmentVerifier:
    return load_verifier(public_id=kept.public_id, public_key=kept.public_key, digest=kept.digest)
