"""A Worker that calls tools of an MCP server, with the Python SDK."""

# --- configuration: the pages show this part --- [configuration]
from typing import Literal

import httpx2
from mcp.client.auth import OAuthClientProvider, TokenStorage
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken


class InMemory(TokenStorage):
    """Keeps the token for as long as the program runs."""

    def __init__(self) -> None:
        self._tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Not called: the Worker is registered already."""


def by_api_key(
    url: str,
    issuer: str,
    worker_id: str,
    api_key: str,
    method: Literal["client_secret_basic", "client_secret_post"] = "client_secret_basic",
) -> OAuthClientProvider:
    """For a Worker with an API key; `issuer` keeps the key from any other authorization server."""
    return ClientCredentialsOAuthProvider(
        url, InMemory(), worker_id, api_key, token_endpoint_auth_method=method, issuer=issuer
    )


def by_identity_key(url: str, issuer: str, worker_id: str, private_key_pem: str) -> OAuthClientProvider:
    """For a Worker that has registered the public half of a P-256 key."""
    assertions = SignedJWTParameters(
        issuer=worker_id, subject=worker_id, signing_key=private_key_pem, signing_algorithm="ES256"
    )
    return PrivateKeyJWTOAuthProvider(
        url, InMemory(), worker_id, assertions.create_assertion_provider(), issuer=issuer
    )


async def call(url: str, auth: OAuthClientProvider, tool: str) -> object:
    """Call a tool; the client discovers by itself where to get a token."""
    async with (
        httpx2.AsyncClient(auth=auth, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        result = await client.call_tool(tool, {})
    return (result.structured_content or {}).get("result")


# --- [/configuration]
