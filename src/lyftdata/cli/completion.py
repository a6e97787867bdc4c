"""`lyftdata completion`: prints shell completion scripts."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """
    Print a completion script for your shell.

    \b
    Example:
      lyftdata completion bash > ~/.local/share/bash-completion/completions/lyftdata
      eval "$(lyftdata completion zsh)"
    """
    from lyftdata.cli.main import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    click.echo(kind(cli, {}, "lyftdata", "_LYFTDATA_COMPLETE").source())
