"""`lyftdata token`: a worker token for scripts on this host."""

import asyncio
import os

import click

from lyftdata.cli.output import json_option, print_json

EXIT_REFUSED = 3


@click.command()
@json_option
def token(*, as_json: bool) -> int:
    """
    Print a worker token, got with this host's API key or stored identity (the settings of `lyftdata run worker`).

    \b
    Example:
      curl -H "Authorization: Bearer $(lyftdata token)" https://service.example.com/
    """
    from lyftdata.core.names import clean_text
    from lyftdata.worker.agent import fetch_token
    from lyftdata.worker.client import RefusedByServerError
    from lyftdata.worker.settings import read_worker_settings

    settings = read_worker_settings(os.environ)
    try:
        text = asyncio.run(fetch_token(settings))
    except RefusedByServerError as refused:
        told = f"refused, reference {clean_text(refused.reference, 32)}: {clean_text(refused.message, 300)}"
        click.echo(f"Error: {told}", err=True)
        return EXIT_REFUSED
    if as_json:
        print_json({"access_token": text, "token_type": "Bearer"})
    else:
        click.echo(text)
    return 0
