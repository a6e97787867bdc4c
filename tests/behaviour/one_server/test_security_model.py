"""The limits of protection that docs/explanation/security-model.md states, each with a test."""

import sqlite3

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.builders import CHOSEN_ENROLLMENT_KEY, ISSUER
from tests.unit.core.forge import hs256, parts

from lyftdata.core import enrollment_secrets
from lyftdata.core.encoding import base64url, decode_base64url, text_digest
from lyftdata.core.enrollment import PROOF_TYPE, make_proof, read_proof, verify_proof
from lyftdata.core.enrollment_secrets import ProofKey, make_verifier
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.refusals import WrongEnrollmentKeyError
from lyftdata.core.secret import Secret


async def test_a_copied_identity_is_not_detected_if_the_client_does_not_number_its_signatures(server, admin):
    """The copy gets tokens as well as the original, and there is neither a refusal nor an alert."""
    worker_id, key = await server.enrolled()
    first = await server.token_by_assertion(server.assertion(key, worker_id))
    async with server.from_address("203.0.113.66") as thief:
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": server.assertion(key, worker_id),
        }
        copy = await thief.post("/oauth2/token", data=form)

    assert (first.status_code, copy.status_code) == (200, 200)
    assert (await server.http.get("/api/refusals", headers=admin)).json()["items"] == []
    alerts = (await server.http.get("/api/attention", headers=admin)).json()["items"]
    assert worker_id not in str(alerts)


async def test_a_rollback_of_the_audit_log_is_detected_by_the_kept_checkpoint(opened, tmp_path):
    """The chain itself is intact without its last events; the checkpoint outside the database shows that it was longer."""
    file = tmp_path / "staging" / "lyftdata.db"
    async with opened() as server:
        await server.sign_in()
    with sqlite3.connect(file) as raw:
        (old,) = raw.execute("SELECT number, hash, mac FROM audit_head").fetchall()
    raw.close()
    async with opened() as server:
        await server.sign_in()
        noted = await server.services.store.verify_audit()
    with sqlite3.connect(file) as raw:
        raw.execute("DELETE FROM audit_events WHERE number > ?", (old[0],))
        raw.execute("UPDATE audit_head SET number = ?, hash = ?, mac = ?", old)
    raw.close()

    async with opened() as server:
        found = await server.services.store.verify_audit()

    assert not found.ok
    assert found.first_bad is None
    assert "checkpoint" in found.problem
    assert found.head_number < noted.head_number


def test_each_offline_guess_of_a_chosen_enrollment_key_costs_one_scrypt(server, monkeypatch):
    """Guesses can be checked against a captured proof without the Server, but each costs one scrypt with 32 MiB. A generated key cannot be guessed."""
    key = generate_identity_key()
    chosen = "Summer2026Summer2026Autumn2026Wint"
    captured = read_proof(server.proof(key, "press", secret=chosen))
    assert captured is not None
    stretched = []
    stretch = enrollment_secrets._stretch

    def counted(secret, salt):
        stretched.append(secret.decode())
        return stretch(secret, salt)

    monkeypatch.setattr(enrollment_secrets, "_stretch", counted)

    def fits(guess):
        keys = [("", make_verifier(Secret(guess), audiences=[ISSUER]))]
        try:
            verify_proof(captured, keys=keys, audiences=[ISSUER], now=server.clock())
        except WrongEnrollmentKeyError:
            return False
        return True

    guesses = ["Winter2026Winter2026Winter2026Wint", chosen]
    assert [guess for guess in guesses if fits(guess)] == [chosen]
    assert stretched == guesses


async def test_what_a_server_stores_of_an_enrollment_key_cannot_be_used_to_enroll(opened):
    """Neither the public key, the digest nor the fingerprint, used as a proof key, as an HMAC key or as the secret itself."""
    async with opened(LYFTDATA_AUTO_ENROLLMENT_KEY=CHOSEN_ENROLLMENT_KEY) as server:
        (accepted,) = server.services.enrollment.keys
        public = accepted.key.public_key(ISSUER)
        raw_public = decode_base64url(str(public.as_dict()["x"]))
        key = generate_identity_key()
        claims = parts(server.proof(key, "press", secret=CHOSEN_ENROLLMENT_KEY))[1]
        kept = [raw_public, text_digest(CHOSEN_ENROLLMENT_KEY), accepted.fingerprint.encode()]
        header = {"alg": "HS256", "typ": PROOF_TYPE}
        seeds = [Ed25519PrivateKey.from_private_bytes(text) for text in kept if len(text) == 32]
        forged = [
            *(hs256(header, claims, secret) for secret in kept),
            *(
                make_proof(
                    ProofKey(seed, key_id=None, audience=ISSUER),
                    worker_name="press",
                    thumbprint=key.public.thumbprint,
                    now=server.clock(),
                    jti="forged",
                )
                for seed in seeds
            ),
            base64url(raw_public),
            text_digest(CHOSEN_ENROLLMENT_KEY).hex(),
            accepted.fingerprint,
        ]

        answers = [await server.register(key, "press", credential=credential) for credential in forged]

        assert [await server.cause(answer) for answer in answers] == ["wrong_enrollment_key"] * len(forged)
        assert not public.is_private
        assert (await server.register(key, "press", credential=CHOSEN_ENROLLMENT_KEY)).status_code == 201
