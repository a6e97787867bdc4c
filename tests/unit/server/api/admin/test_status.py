"""The status of the Server in the admin API."""

from tests.builders import ISSUER


async def test_the_status_has_issuer_enrollment_and_warnings(server, admin):
    """For operators."""
    status = (await server.http.get("/api/server", headers=admin)).json()

    assert (status["issuer"], status["enrollment_enabled"], status["warnings"]) == (ISSUER, True, [])
