"""How many enrollment keys a credential is checked against: as many for a right one as for a wrong one."""

import contextlib
import functools
import secrets
from datetime import timedelta

import pytest
from tests.builders import NOON

from lyftdata.core._jose import UnverifiedJws
from lyftdata.core.enrollment import make_proof
from lyftdata.core.enrollment_secrets import (
    derive_proof_key,
    fingerprint,
    generate_enrollment_key,
    load_verifier,
    make_stored_parts,
    make_verifier,
)
from lyftdata.core.records import EnrollmentKeyRecord
from lyftdata.core.refusals import EnrollmentDisabledError, RefusedError, WrongEnrollmentKeyError
from lyftdata.core.secret import Secret
from lyftdata.server.admission import enrollment_credentials as module
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.enrollment_credentials import AcceptedKey, EnrollmentCredentials
from lyftdata.server.admission.nonces import Nonces
from lyftdata.server.sessions.activity import ActivityLog

ISSUER = "https://server.example"
CURRENT, PREVIOUS, WRONG = (Secret(letter * 40) for letter in "cpw")
ISSUED, UNKNOWN = (generate_enrollment_key(secrets.token_bytes) for _ in range(2))


# Not at import, which every test process does: stretching a chosen key takes a third of a second.
@functools.cache
def accepted(role):
    """Return a key of the settings."""
    secret = {"current": CURRENT, "previous": PREVIOUS}[role]
    return AcceptedKey(
        role=role,
        fingerprint=fingerprint(secret, b"pepper"),
        key=make_verifier(secret, audiences=[ISSUER]),
        warnings=[],
    )


SETTINGS = {
    "off": [],
    "one": ["current"],
    "two": ["current", "previous"],
}


def credentials(roles):
    """Return the checker with these keys of the settings, and one issued by an operator."""
    stored = make_stored_parts(ISSUED)
    issued = EnrollmentKeyRecord(
        public_id=stored.public_id,
        name="press",
        public_key=stored.public_key,
        digest=stored.digest,
        created_at=NOON - timedelta(days=1),
        created_by="operator:ann",
    )
    return EnrollmentCredentials(
        keys=[accepted(role) for role in roles],
        directory=Directory((), (), enrollment_keys=[issued]),
        issuers=[ISSUER],
        traces=ActivityLog(store=None, seen=set(), clock=lambda: NOON),  # type: ignore[arg-type]
        clock=lambda: NOON,
        random_bytes=secrets.token_bytes,
        nonces=Nonces(key=b"k" * 32, clock=lambda: NOON, random_bytes=secrets.token_bytes),
    )


def proof_by(secret, *, forged=False):
    """Return a proof; a forged one names its key but has the signature of another proof."""
    key = derive_proof_key(secret, audience=ISSUER)
    proof, other = (
        make_proof(key, worker_name=name, thumbprint="t" * 43, now=NOON, jti=secrets.token_hex(8))
        for name in ("press-01", "press-02")
    )
    return f"{proof.rpartition('.')[0]}.{other.rpartition('.')[2]}" if forged else proof


@pytest.fixture
def checks(monkeypatch):
    """Return a list that gets an entry for every signature check."""
    made = []
    check = UnverifiedJws.check_signature

    def counted(self, **given):
        made.append(given)
        return check(self, **given)

    monkeypatch.setattr(UnverifiedJws, "check_signature", counted)
    return made


@pytest.mark.parametrize(
    ("settings", "named", "number"),
    [
        ("off", False, 1),
        ("one", False, 1),
        ("two", False, 2),
        ("off", True, 1),
        ("one", True, 2),
        ("two", True, 3),
    ],
)
def test_right_and_wrong_credentials_cost_the_same_number_of_checks(checks, settings, named, number):
    """Timing oracle: the time of an answer must not reveal a right credential, nor whether Auto-Enrollment is on."""
    by_kind = {
        False: [proof_by(WRONG), proof_by(CURRENT), proof_by(PREVIOUS)],
        True: [proof_by(UNKNOWN), proof_by(ISSUED), proof_by(ISSUED, forged=True)],
    }
    subject = credentials(SETTINGS[settings])

    counted = []
    for proof in by_kind[named]:
        checks.clear()
        with contextlib.suppress(RefusedError):
            subject.check(proof)
        counted.append(len(checks))

    assert counted == [number] * 3


@pytest.mark.parametrize(("named", "number"), [(False, 0), (True, 1)])
def test_the_same_number_of_keys_is_loaded_whether_enrollment_is_on_or_off(monkeypatch, named, number):
    """Timing oracle: loading a key from the database takes a quarter of the time of a check."""
    read = []

    def counted(**given):
        read.append(given)
        return load_verifier(**given)

    monkeypatch.setattr(module, "load_verifier", counted)
    proof = proof_by(UNKNOWN if named else WRONG)

    counts = []
    for roles in SETTINGS.values():
        subject = credentials(roles)
        read.clear()
        with pytest.raises(WrongEnrollmentKeyError):
            subject.check(proof)
        counts.append(len(read))

    assert counts == [number] * len(SETTINGS)


@pytest.mark.parametrize("settings", SETTINGS)
def test_only_a_right_key_enrolls(settings):
    """A key that is neither in the settings nor issued by an operator is refused, in whatever order the keys are tried."""
    subject = credentials(SETTINGS[settings])
    roles = {accepted(role).fingerprint: role for role in SETTINGS[settings]}

    for secret, role in ((CURRENT, "current"), (PREVIOUS, "previous")):
        if role in roles.values():
            assert roles[subject.check(proof_by(secret)).fingerprint] == role
        else:
            with pytest.raises(RefusedError):
                subject.check(proof_by(secret))
    assert subject.check(proof_by(ISSUED)).issued is not None
    for wrong in (WRONG, UNKNOWN):
        with pytest.raises(WrongEnrollmentKeyError):
            subject.check(proof_by(wrong))
    with pytest.raises(WrongEnrollmentKeyError):
        subject.check(WRONG.reveal())


def test_operators_see_that_enrollment_is_off():
    """If there is no key that enrolls, the cause says so."""
    subject = credentials([])
    subject._directory = Directory((), ())

    for credential in (proof_by(WRONG), proof_by(ISSUED), WRONG.reveal()):
        with pytest.raises(EnrollmentDisabledError):
            subject.check(credential)
