"""`lyftdata enrollment`: Auto-Enrollment."""

from typing import Any

import click

from lyftdata.cli.output import emit, json_option, print_table, say, url_option, when


@click.group()
def enrollment() -> None:
    """
    Show Auto-Enrollment, make an enrollment key.

    \b
    Example:
      export LYFTDATA_AUTO_ENROLLMENT_KEY="$(lyftdata enrollment generate-key)"
    """


@enrollment.command()
@json_option
@url_option
def status(url: str | None, *, as_json: bool) -> None:
    """
    Show whether Auto-Enrollment is on, and which secrets it accepts, by fingerprint.

    \b
    Example:
      lyftdata enrollment status
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/enrollment")
    emit(found, as_json=as_json, show=_show)


@enrollment.command("generate-key")
@json_option
def generate_key(*, as_json: bool) -> None:
    """
    Make an enrollment key and print it; no Server is asked, and none knows it until you set it there.

    \b
    Example:
      lyftdata enrollment generate-key > enrollment-key.txt
    """
    import secrets

    from lyftdata.core.enrollment import generate_enrollment_key

    key = generate_enrollment_key(secrets.token_bytes).reveal()
    emit({"key": key}, as_json=as_json, show=lambda _: click.echo(key))


def _show(found: dict[str, Any]) -> None:
    click.echo(
        f"Auto-Enrollment is {'on' if found['enabled'] else 'off'}; name policy {found['name_policy']}"
    )
    if not found["enabled"]:
        say(
            "To switch it on, start the Server with LYFTDATA_AUTO_ENROLLMENT_KEY (lyftdata enrollment generate-key)."
        )
        return
    rows = [
        (key["fingerprint"], key["role"], str(key["workers"]), when(key["last_used_at"]))
        for key in found["keys"]
    ]
    print_table(("fingerprint", "role", "workers", "last used"), rows, empty="")
    for key in found["keys"]:
        for warning in key["warnings"]:
            say(f"Warning ({key['role']} key): {warning}")
