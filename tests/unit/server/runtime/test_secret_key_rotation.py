"""The secret key is rotated in one step, on SQLite and PostgreSQL, whatever interrupts it."""

import json
import signal
import subprocess
import sys

import pytest
from tests.audit_scripts import run_script
from tests.authenticator import Authenticator
from tests.builders import ENROLLMENT_KEY, OTHER_SECRET_KEY, SECRET_KEY, event
from tests.unit.server.admin.test_passkeys import actor_of, begin, finish, register
from tests.unit.server.admin.test_second_factors import log_in, set_up

from lyftdata.core.audit_checkpoints import published_key
from lyftdata.core.errors import SettingsError
from lyftdata.core.event_destinations import unseal_target
from lyftdata.core.sealing import UnsealError
from lyftdata.core.secret import Secret
from lyftdata.core.secret_key import key_forms
from lyftdata.core.totp import unseal_totp_secret
from lyftdata.server.runtime import secret_keys
from lyftdata.server.runtime.maintenance import read_state_location, secret_key_of
from lyftdata.server.runtime.operator_recovery import unlock, url_of
from lyftdata.server.runtime.secret_key_rotation import rotate_secret_key
from lyftdata.server.runtime.secret_keys import audit_key_of, kek_of, next_secret_key_file, secret_key_file
from lyftdata.store import Store, StoreError, audit_tree, key_rotation
from lyftdata.store.direct_write import read_directly
from lyftdata.store.tables import event_destinations, second_factors

ORIGIN = "lyft.example/audit"

# Runs the command's own function, and kills itself when it reports a given progress, as a power cut would.
KILLED = """
import os, signal, sys
from lyftdata.server.runtime.maintenance import read_state_location
from lyftdata.server.runtime.secret_key_rotation import rotate_secret_key

def on_progress(stage, done, total):
    if [stage, "end" if done == total else "begin"] == sys.argv[1:]:
        os.kill(os.getpid(), signal.SIGKILL)

rotate_secret_key(read_state_location(os.environ), enrollment_keys=[], on_progress=on_progress)
"""

IN_A_FILE = [
    ("Checking the audit log end", "old"),
    ("Hashing the audit log again end", "old"),
    ("Committing begin", "old"),
    ("Committing end", "new"),
    ("Replacing secret.key end", "new"),
]
ON_POSTGRESQL = IN_A_FILE[1:4]


@pytest.fixture
def environ(tmp_path):
    """Return the settings of a Server whose secret key is in its data directory."""
    return {"LYFTDATA_STAGING_DIR": str(tmp_path / "staging")}


@pytest.fixture
def shared(environ, cluster):
    """Return the settings of a Server on PostgreSQL, with its key and the next one."""
    return environ | {
        "LYFTDATA_DATABASE_URL": cluster.new_database(),
        "LYFTDATA_SECRET_KEY": SECRET_KEY,
        "LYFTDATA_SECRET_KEY_NEXT": OTHER_SECRET_KEY,
    }


@pytest.fixture(params=["sqlite", "postgresql"])
def both(request):
    """Return the settings of a Server on SQLite and on PostgreSQL."""
    return request.getfixturevalue("environ" if request.param == "sqlite" else "shared")


def rotate(environ, **given):
    """Run the command's function."""
    return rotate_secret_key(read_state_location(environ), **({"enrollment_keys": []} | given))


def key_in_force(environ):
    """Return the key that fits the database, after verifying the whole audit log with it."""
    location = read_state_location(environ)
    key = secret_key_of(location, url_of(location))
    report = read_directly(url_of(location), lambda conn: audit_tree.verify(conn, key=audit_key_of(key)))
    assert report.ok, report.problem
    return key


def kill_at(environ, stage):
    """Run the command's function in a process that is killed at a stage."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *stage.rsplit(" ", 1)],
        env=environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


async def make_state(opened, environ):
    """Have a Server make its state: an operator, a Worker, checkpoints, a token."""
    async with opened(**environ) as server:
        worker_id, key = await server.enrolled()
        token = (await server.token_by_assertion(server.assertion(key, worker_id))).json()
        await server.sign_in()
        return worker_id, key, token["access_token"]


async def check_state(opened, environ, made, *, jti):
    """Check that a Server works: the Worker, its token, the audit log and checkpoints."""
    worker_id, key, token = made
    async with opened(**environ) as server:
        server.jti_from(jti)
        assert (await server.verify(token)).status_code == 204
        assert (await server.token_by_assertion(server.assertion(key, worker_id))).status_code == 200
        assert (await server.services.store.verify_audit()).ok
        assert server.services.checkpoints.problem == ""
        await server.sign_in()


async def test_a_server_works_with_the_new_key(opened, both):
    """Workers and tokens stay valid; the audit log is intact, and has a handover from the old key."""
    made = await make_state(opened, both)
    before = key_in_force(both)
    changed = rotate(both, enrollment_keys=[Secret(ENROLLMENT_KEY)]).changed

    after = key_in_force(both)
    assert after != before
    assert (changed.handover.signing_keys, changed.workers) == (1, 1)
    assert changed.handover.number == changed.event - 1
    await check_state(opened, both, made, jti=100)
    async with opened(**both) as server:
        enrolled = server.services.directory.find_worker(made[0])
        assert enrolled.enrolled_with == server.services.enrollment.keys[0].fingerprint


async def test_event_destinations_are_sealed_with_the_new_key(opened, both):
    """The URL and the receiver's secret are unchanged, and the old key no longer opens them."""
    body = {"name": "siem", "transport": "webhook", "url": "https://192.0.2.7/hooks/x"}
    async with opened(**both) as server:
        admin = await server.sign_in()
        secret = (await server.http.post("/api/event-destinations", json=body, headers=admin)).json()[
            "secret"
        ]
    old = kek_of(key_in_force(both))

    rotate(both)

    location = read_state_location(both)
    (record,) = read_directly(url_of(location), event_destinations.all_destinations)
    target = unseal_target(record, key=kek_of(key_in_force(both)))
    assert (target.url, target.secret) == (body["url"], secret)
    with pytest.raises(UnsealError):
        unseal_target(record, key=old)


async def test_second_factors_are_sealed_with_the_new_key(opened, both):
    """An authenticator app still works, and the old key no longer opens its secret."""
    async with opened(**both) as server:
        app, _ = await set_up(server, await server.sign_in())
    old = kek_of(key_in_force(both))

    rotate(both)

    location = read_state_location(both)
    (factor,) = read_directly(url_of(location), second_factors.all_factors)
    with pytest.raises(UnsealError):
        unseal_totp_secret(factor.sealed, factor_id=factor.id, key=old)
    async with opened(**both) as server:
        assert (await log_in(server, app.code())).status_code == 200


async def test_a_passkey_signs_in_after_the_rotation(opened, both):
    """Also a discoverable one: its user handle is not derived again from the new key."""
    key = Authenticator()
    async with opened(**both) as server:
        await register(server, await actor_of(server, await server.sign_in()), key)

    rotate(both)

    async with opened(**both) as server:
        ticket, options = await begin(server)
        signed_in = await finish(server, ticket, key.get(options, user_handle=key.user_handle))
        assert signed_in.session.second_factor == "passkey"


async def test_rotation_without_the_enrollment_key_keeps_workers(opened, environ):
    """Only the key's fingerprint in their entries is not updated; they connect as before."""
    made = await make_state(opened, environ)
    assert rotate(environ).changed.workers == 0

    await check_state(opened, environ, made, jti=100)


@pytest.mark.parametrize("key", ["old", "new"])
async def test_a_third_party_follows_the_handover(opened, environ, tmp_path, unhurried, key):
    """With the old public key they can verify proofs from before and after, and the event that names the new key."""
    await make_state(opened, environ)
    old = published_key(audit_key_of(SECRET_KEY.encode()), origin=ORIGIN)
    rotate(environ)
    number = rotate(environ).changed.event
    new = published_key(audit_key_of(key_in_force(environ)), origin=ORIGIN)
    async with opened(**environ) as server:
        admin = await server.sign_in()
        first, last = [
            (await server.http.get(f"/api/audit/{event}/proof", headers=admin)).content
            for event in (number - 1, number)
        ]
        assert (await server.http.get("/.well-known/lyftdata-audit-key")).text.strip() == new

    def verify(proof, public_key):
        (tmp_path / "proof").write_bytes(proof)
        (tmp_path / "audit.key").write_text(public_key)
        return run_script("verify_proof.py", tmp_path, "proof", "audit.key")

    handover = verify(first, old if key == "old" else new)
    assert (handover.returncode, handover.stderr) == (0, "")
    details = json.loads(handover.stdout.partition(": ")[2])["details"]
    assert details["previous_audit_key"] == old
    second = verify(last, details["audit_key"] if key == "old" else new)
    assert json.loads(second.stdout.partition(": ")[2])["details"]["audit_key"] == new
    assert verify(last, old).returncode == 1


async def test_an_interrupted_rotation_leaves_a_key_that_fits(opened, environ, tmp_path):
    """Whenever it is killed, commands and Servers use that key, and a Server removes the other one."""
    made = await make_state(opened, environ)
    staging = tmp_path / "staging"
    for number, (stage, then) in enumerate(IN_A_FILE):
        before = key_in_force(environ)
        kill_at(environ, stage)
        in_force = key_in_force(environ)
        assert (in_force == before) == (then == "old"), stage
        unlock(read_state_location(environ), "admin")
        if stage == "Committing begin" or then == "new":
            await check_state(opened, environ, made, jti=100 * (number + 1))
            assert not next_secret_key_file(staging).exists()
            assert secret_key_file(staging).read_bytes().strip() == in_force


async def test_the_command_finishes_an_interrupted_rotation(opened, environ):
    """Run again after a kill that followed the commit, it keeps the new key and makes no other."""
    await make_state(opened, environ)
    kill_at(environ, "Committing end")
    key = key_in_force(environ)

    assert rotate(environ).changed is None
    assert (
        key_in_force(environ)
        == key
        == secret_key_file(read_state_location(environ).staging_dir).read_bytes().strip()
    )


async def test_an_interrupted_rotation_of_a_shared_database_can_be_completed(opened, shared):
    """Servers that have both keys use the one that fits, and the command can be run again until it is done."""
    made = await make_state(opened, shared)
    for number, (stage, then) in enumerate(ON_POSTGRESQL):
        kill_at(shared, stage)
        fitting = SECRET_KEY if then == "old" else OTHER_SECRET_KEY
        assert key_in_force(shared) == fitting.encode()
        if then == "new":
            await check_state(opened, shared, made, jti=100 * (number + 1))

    assert rotate(shared).changed is None
    only_new = shared | {"LYFTDATA_SECRET_KEY": OTHER_SECRET_KEY, "LYFTDATA_SECRET_KEY_NEXT": ""}
    await check_state(opened, only_new, made, jti=1_000)


async def test_a_server_that_would_still_accept_the_old_key_warns(opened, environ):
    """Once the database has the new key: otherwise a leaked key would fit a database that was changed back."""
    both_keys = environ | {"LYFTDATA_SECRET_KEY": SECRET_KEY, "LYFTDATA_SECRET_KEY_NEXT": OTHER_SECRET_KEY}
    await make_state(opened, both_keys)
    assert await warnings_about_next(opened, both_keys) == 0

    rotate(both_keys)
    assert await warnings_about_next(opened, both_keys) == 1
    assert await warnings_about_next(opened, both_keys | {"LYFTDATA_SECRET_KEY": OTHER_SECRET_KEY}) == 0


async def warnings_about_next(opened, environ):
    """Start a Server; return how many of its warnings name the next key."""
    async with opened(**environ) as server:
        return sum("LYFTDATA_SECRET_KEY_NEXT" in found for found in server.services.warnings)


async def test_an_older_database_keeps_an_unstretched_key_until_rotation(opened, environ, monkeypatch):
    """Text keys used to be used unstretched: such a database works, with a warning, until its key is rotated."""
    text = "Zt8qYw3nV5rKc1xLm7Pb2Hd9Gf4Js6Ua"
    given = environ | {"LYFTDATA_SECRET_KEY": text}
    with monkeypatch.context() as patch:
        patch.setattr(secret_keys, "key_forms", lambda text: (text,))
        made = await make_state(opened, given)
    assert key_in_force(given) == text.encode()
    async with opened(**given) as server:
        assert [found for found in server.services.warnings if "rotate-secret-key" in found]

    assert rotate(given | {"LYFTDATA_SECRET_KEY_NEXT": text}).changed is not None
    assert key_in_force(given) == key_forms(text.encode())[0]
    async with opened(**given) as server:
        assert not [found for found in server.services.warnings if "rotate-secret-key" in found]
        assert (await server.verify(made[2])).status_code == 204


async def test_rotation_is_refused_while_a_server_runs(opened, both, tmp_path):
    """Nothing is changed, and no key is left behind."""
    async with opened(**both):
        with pytest.raises(StoreError, match="using the database"):
            rotate(both)

    assert key_in_force(both) == SECRET_KEY.encode()
    assert not next_secret_key_file(tmp_path / "staging").exists()


async def test_a_suspended_server_cannot_write_after_a_rotation(opened, shared, monkeypatch):
    """A Server that was declared dead while the key was rotated gets an error that says why."""
    async with opened(**shared) as server:
        with monkeypatch.context() as patch:
            patch.setattr(key_rotation, "_check_no_server", lambda *_: None)
            rotate(shared)
        with pytest.raises(StoreError, match="secret key was rotated"):
            await server.services.store.write(lambda tx: tx.audit(event()))

    assert key_in_force(shared) == OTHER_SECRET_KEY.encode()


async def test_a_server_with_only_the_old_key_does_not_start(opened, shared):
    """And it does not change the database."""
    await make_state(opened, shared)
    rotate(shared)
    from lyftdata.core.keyring import KeyDecryptionError

    with pytest.raises(KeyDecryptionError):
        async with opened(**(shared | {"LYFTDATA_SECRET_KEY_NEXT": ""})):
            pass
    assert key_in_force(shared) == OTHER_SECRET_KEY.encode()


async def test_a_changed_audit_log_is_not_signed_again(opened, environ):
    """Hashed again, a forged event would look like one that a Server wrote."""
    from sqlalchemy import text

    from lyftdata.store.dialects import dialect

    await make_state(opened, environ)
    engine = dialect.make_engine(url_of(read_state_location(environ)))
    with engine.begin() as conn:
        conn.execute(text("UPDATE audit_events SET actor = 'eve' WHERE number = 2"))
    engine.dispose()

    with pytest.raises(StoreError, match=r"Event 2 was changed"):
        rotate(environ)
    assert secret_key_file(read_state_location(environ).staging_dir).read_text() == SECRET_KEY
    assert not next_secret_key_file(read_state_location(environ).staging_dir).exists()


async def test_both_keys_must_be_set_for_a_shared_database(opened, shared):
    """The key of several Servers is not in a data directory, and neither is the next one."""
    await make_state(opened, shared)
    for missing in ("LYFTDATA_SECRET_KEY", "LYFTDATA_SECRET_KEY_NEXT"):
        with pytest.raises(SettingsError, match=f"{missing}: must be set"):
            rotate(shared | {missing: ""})
    with pytest.raises(SettingsError, match="LYFTDATA_SECRET_KEY_NEXT: must differ"):
        rotate(shared | {"LYFTDATA_SECRET_KEY_NEXT": shared["LYFTDATA_SECRET_KEY"]})


async def test_the_key_of_another_server_changes_nothing(opened, environ, tmp_path):
    """With a key that does not fit, the audit log cannot be verified."""
    await make_state(opened, environ)
    other = environ | {"LYFTDATA_SECRET_KEY": OTHER_SECRET_KEY, "LYFTDATA_SECRET_KEY_NEXT": SECRET_KEY[::-1]}
    with pytest.raises(StoreError, match="does not fit the secret key"):
        rotate(other)
    assert key_in_force(environ) == SECRET_KEY.encode()


async def test_rotation_before_the_first_checkpoint_is_refused(environ, tmp_path):
    """A database without a checkpoint signed by a Server has nothing to hand over."""
    staging = tmp_path / "staging"
    staging.mkdir(0o700)
    secret_key_file(staging).write_text(SECRET_KEY)
    secret_key_file(staging).chmod(0o600)
    await Store.open(
        f"sqlite:///{staging / 'lyftdata.db'}", audit_key=audit_key_of(SECRET_KEY.encode())
    ).close()
    with pytest.raises(StoreError, match="No checkpoint"):
        rotate(environ)
