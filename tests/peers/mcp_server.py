"""An MCP server, built with the SDK's own server, whose tools are for Workers: `mcp_server.py ISSUER PORT`."""

import sys

import uvicorn

# --- configuration: the pages show this part --- [configuration]
from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings

from lyftdata.verify import AsyncWorkerVerifier, InvalidTokenError


class WorkerTokens(TokenVerifier):
    """Accepts the tokens that `lyftdata.verify` accepts: those of the Server at `issuer`, for `audience`."""

    def __init__(self, issuer: str, audience: str) -> None:
        self._verifier = AsyncWorkerVerifier(issuer, audience=audience)

    async def verify_token(self, token: str) -> AccessToken | None:
        try:
            worker = await self._verifier.verify(token)
        except InvalidTokenError:
            return None
        return AccessToken(
            token=token,
            client_id=worker.worker_id,
            subject=worker.worker_id,
            scopes=sorted(worker.scopes),
            expires_at=int(worker.expires_at.timestamp()),
            resource=worker.audience,
        )


def mcp_server(issuer: str, url: str) -> MCPServer:
    """Make a server that clients find at `url`, which is also the audience of its resource."""
    # As text, since an AnyHttpUrl appends a slash, which makes it a different issuer.
    auth = AuthSettings.model_validate(
        {
            "issuer_url": issuer,
            "resource_server_url": url,
            "required_scopes": ["call"],
            "validate_token_resource": True,
        }
    )
    server = MCPServer("Press hall", token_verifier=WorkerTokens(issuer, url), auth=auth)

    @server.tool()
    def whoami() -> str:
        """Return the ID of the Worker that calls."""
        token = get_access_token()
        return "" if token is None else token.client_id

    return server


# --- [/configuration]


def main() -> None:
    """Serve until stopped."""
    issuer, port = sys.argv[1], int(sys.argv[2])
    app = mcp_server(issuer, f"http://127.0.0.1:{port}/mcp").streamable_http_app()
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
