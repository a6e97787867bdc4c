"""`lyftdata token`: prints a worker token for scripts on this host."""

import asyncio
import os
from typing import TYPE_CHECKING

import click

from lyftdata.cli.output import echo, echo_err, json_option, print_json

if TYPE_CHECKING:
    from lyftdata.client.token_endpoint import TokenReply

EXIT_REFUSED = 3
# The agent may have to ask the Server first.
_AGENT_TIMEOUT_S = 30.0


@click.command()
@click.option("--audience", metavar="URI", help="The audience of the token; the Server unless given.")
@json_option
def token(*, audience: str | None, as_json: bool) -> int:
    """
    Print a worker token for this host's API key or stored identity (the settings of `lyftdata run worker`).

    In a program run by `lyftdata run worker`, the token comes from the agent.

    \b
    Example:
      lyftdata token | sed 's/^/Authorization: Bearer /' | curl -H @- https://service.example.com/
    """
    from lyftdata.core.text import clean_text
    from lyftdata.worker.client import RefusedByServerError

    try:
        reply = _get_token(audience)
    except RefusedByServerError as refused:
        refusal = (
            f"refused, reference {clean_text(refused.reference, 32)}: {clean_text(refused.message, 300)}"
        )
        echo_err(f"Error: {refusal}")
        return EXIT_REFUSED
    if as_json:
        print_json(
            {"access_token": reply.access_token, "token_type": "Bearer", "expires_in": int(reply.expires_in)}
        )
    else:
        echo(reply.access_token)
    return 0


def _get_token(audience: str | None) -> "TokenReply":
    from lyftdata.client.agent_source import AgentSocket
    from lyftdata.core.command_tokens import TOKEN_SOCKET_VARIABLE
    from lyftdata.worker.run import fetch_token
    from lyftdata.worker.settings import read_worker_settings

    socket_path = os.environ.get(TOKEN_SOCKET_VARIABLE)
    if socket_path:
        wanted = {"resource": audience} if audience else {}
        return AgentSocket(socket_path, wanted=wanted, timeout_s=_AGENT_TIMEOUT_S).fetch()
    return asyncio.run(fetch_token(read_worker_settings(os.environ), audience=audience))
