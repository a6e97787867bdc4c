"""`/oauth2/authorize`."""

import pytest

REQUESTS = [
    {},
    {"response_type": "code", "client_id": "press-01", "redirect_uri": "https://evil.example/"},
    {"response_type": "none", "client_id": "press-01", "redirect_uri": "https://evil.example/"},
    {"response_type": "token", "client_id": "x", "state": "<script>"},
]


@pytest.mark.parametrize("parameters", REQUESTS)
async def test_the_authorization_endpoint_refuses_every_request(server, press, parameters):
    """It exists because discovery documents must name one. It redirects no browser and echoes nothing."""
    for answer in (
        await server.http.get("/oauth2/authorize", params=parameters),
        await server.http.post("/oauth2/authorize", data=parameters),
    ):
        assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
        assert "location" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"
        assert "evil.example" not in answer.text
        assert "<script>" not in answer.text
