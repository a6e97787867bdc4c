"""The status of the Server by the admin API."""

from tests.builders import ISSUER


async def test_the_server_about_itself(server, admin):
    """Version, issuer and warnings are there for operators."""
    status = (await server.http.get("/api/server", headers=admin)).json()

    assert (status["issuer"], status["enrollment_enabled"], status["warnings"]) == (ISSUER, True, [])
