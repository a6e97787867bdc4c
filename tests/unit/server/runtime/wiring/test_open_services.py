"""What keeps a Server from starting, and what it warns of when it starts."""

import pytest


async def test_a_server_without_its_secret_key_does_not_start(opened, tmp_path):
    """Without the key that encrypted them, the signing keys are not replaced silently: the Server says what is missing."""
    from lyftdata.core.keyring import KeyDecryptionError

    async with opened():
        pass
    (tmp_path / "staging" / "secret.key").unlink()

    with pytest.raises(KeyDecryptionError):
        async with opened():
            pass


async def test_a_log_that_was_cut_is_told_at_the_start(opened, tmp_path):
    """Anyone who removes the record of the last event while the Server is down is found out at its next start."""
    import sqlite3

    async with opened():
        pass
    raw = sqlite3.connect(tmp_path / "staging" / "lyftdata.db")
    with raw:
        raw.execute("DELETE FROM audit_head")
    raw.close()

    async with opened() as server:
        admin = await server.sign_in()
        warnings = (await server.http.get("/api/server", headers=admin)).json()["warnings"]
        assert any("audit verify" in warning for warning in warnings)
        assert not (await server.http.get("/api/audit/verify", headers=admin)).json()["ok"]
