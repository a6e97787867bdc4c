"""The routes of second factors: secrets are shown once, only to their operator, and never cached."""

import pytest
from tests.unit.server.admin.test_second_factors import set_up


async def test_secrets_are_only_in_the_answers_that_create_them(server, admin):
    """The app's secret and the recovery codes are shown once, in answers that must not be cached."""
    begun = await server.http.post("/api/me/second-factor/totp", headers=admin)
    app, codes = await set_up(server, admin)
    shown = await server.http.get("/api/me/second-factor", headers=admin)

    assert begun.headers["cache-control"] == "no-store"
    assert begun.json()["uri"].startswith("otpauth://totp/")
    secret = begun.json()["secret"].replace(" ", "")
    assert secret in begun.json()["uri"]
    assert begun.json()["qr_text"].count("\n") > 20
    assert secret not in begun.json()["qr_text"]
    assert secret not in begun.json()["setup"]
    assert len(set(codes)) == 10
    assert shown.json()["recovery_codes"] == 10
    assert [factor["kind"] for factor in shown.json()["factors"]] == ["totp"]
    assert not any(secret in shown.text for secret in (app.code(), *codes))


async def test_new_recovery_codes_replace_the_old_ones(server, admin):
    """None of the old ones is among them."""
    _, before = await set_up(server, admin)
    answer = await server.http.post("/api/me/second-factor/recovery-codes", headers=admin)

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    after = answer.json()["recovery_codes"]
    assert len(set(after)) == 10
    assert not set(after) & set(before)


@pytest.mark.parametrize(
    "body",
    [{}, {"setup": "x" * 501, "code": "123456"}, {"setup": "made up", "code": "123456"}, {"code": "123456"}],
    ids=["empty", "too long", "made up", "without setup"],
)
async def test_confirming_a_setup_that_was_not_begun_is_rejected(server, admin, body):
    """The answer does not repeat the code, and no factor is set up."""
    answer = await server.http.post("/api/me/second-factor/totp/confirm", json=body, headers=admin)

    assert answer.status_code in {401, 422}
    assert "123456" not in answer.text
    assert (await server.http.get("/api/me/second-factor", headers=admin)).json() == {
        "factors": [],
        "passkeys": [],
        "recovery_codes": 0,
    }


async def test_removing_a_factor_that_does_not_exist_changes_nothing(server, admin):
    """For one's own account it succeeds without an event; an operator that does not exist is an error."""
    own = await server.http.delete("/api/me/second-factor", headers=admin)
    missing = await server.http.delete("/api/operators/nobody/second-factor", headers=admin)
    events = await server.http.get("/api/audit?action=operator.second_factor_*", headers=admin)

    assert (own.status_code, missing.status_code) == (204, 404)
    assert events.json()["items"] == []
