"""What docs/security-model.md says is not protected, or only so far: each sentence is as true as its test."""

import sqlite3

from tests.builders import ISSUER

from lyftdata.core.enrollment import EnrollmentKey, make_proof, read_proof, verify_proof
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.refusals import WrongEnrollmentKeyError
from lyftdata.core.secret import Secret


async def test_a_copied_identity_that_only_asks_for_tokens_does_not_show(server, admin):
    """The copy gets tokens beside the original, and no refusal and no concern names it."""
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
    concerns = (await server.http.get("/api/attention", headers=admin)).json()["items"]
    assert worker_id not in str(concerns)


async def test_an_end_of_the_audit_log_put_back_with_its_old_head_is_found_by_a_noted_head_alone(
    opened, tmp_path
):
    """After a restart the chain is whole without its last events; the number and hash noted before tell of it."""
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

    assert found.ok
    assert found.head_number < noted.head_number


def test_one_captured_proof_tells_a_guesser_which_key_made_it(server):
    """Guesses at a phrase are tried against it without asking the Server."""
    key = generate_identity_key()
    proof = make_proof(
        EnrollmentKey(Secret("Summer2026Summer2026Autumn2026Wint")),
        audience=ISSUER,
        worker_name="press",
        thumbprint=key.public.thumbprint,
        now=server.clock(),
        jti="1",
    )
    captured = read_proof(proof)
    assert captured is not None

    def fits(guess):
        keys = [("", EnrollmentKey(Secret(guess)))]
        try:
            verify_proof(captured, keys=keys, audiences=[ISSUER], now=server.clock())
        except WrongEnrollmentKeyError:
            return False
        return True

    guesses = ["Winter2026Winter2026Winter2026Wint", "Summer2026Summer2026Autumn2026Wint"]
    assert [guess for guess in guesses if fits(guess)] == guesses[1:]
