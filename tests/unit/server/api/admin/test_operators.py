"""Operators: their roles, and passwords set by an admin."""

import json


async def test_a_removed_role_takes_effect_at_once(server, admin):
    """An admin who becomes a viewer can change nothing, even in the present session."""
    body = {"name": "ada", "role": "admin", "password": "another long one"}
    await server.http.post("/api/operators", json=body, headers=admin)
    ada = await server.sign_in("ada", "another long one")
    assert (await server.http.post("/api/workers", json={"name": "w-1"}, headers=ada)).status_code == 201

    await server.http.patch("/api/operators/ada", json={"role": "viewer"}, headers=admin)

    assert (await server.http.post("/api/workers", json={"name": "w-2"}, headers=ada)).status_code == 403


async def test_the_last_admin_cannot_be_removed(server, admin):
    """Nor demoted: otherwise every operator could be locked out."""
    for method, body in (("PATCH", {"role": "viewer"}), ("DELETE", None)):
        answer = await server.http.request(method, "/api/operators/admin", json=body, headers=admin)
        assert (answer.status_code, answer.json()["code"]) == (409, "last_admin")


async def test_generated_passwords_are_shown_once_and_a_reset_ends_sessions(server, admin):
    """A password is generated if none is given; a reset generates another and ends the old sessions."""
    made = (
        await server.http.post("/api/operators", json={"name": "ada", "role": "viewer"}, headers=admin)
    ).json()
    ada = await server.sign_in("ada", made["password"])

    reset = await server.http.patch("/api/operators/ada", json={"reset_password": True}, headers=admin)

    assert (await server.http.get("/api/whoami", headers=ada)).status_code == 401
    assert await server.sign_in("ada", reset.json()["password"])
    assert "password" not in json.dumps(
        (await server.http.get("/api/operators", headers=admin)).json()
    ).replace("must_change_password", "")
