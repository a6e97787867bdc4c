"""`lyftdata enrollment`: shows Auto-Enrollment, and generates enrollment keys."""

from pathlib import Path
from typing import Any

import click

from lyftdata.cli import approvals, enrollment_keys, enrollment_rehearsal
from lyftdata.cli.output import (
    echo,
    echo_err,
    emit,
    json_option,
    key_output,
    output_option,
    print_json,
    print_table,
    url_option,
    when,
)


@click.group()
def enrollment() -> None:
    """
    Show Auto-Enrollment; issue, list, rehearse, rotate and revoke enrollment keys; approve Workers.

    \b
    Example:
      lyftdata enrollment generate-key --output enrollment.key
      export LYFTDATA_AUTO_ENROLLMENT_KEY_FILE="$PWD/enrollment.key"
    """


for _command in (
    enrollment_keys.issue,
    enrollment_keys.list_,
    enrollment_keys.show,
    enrollment_keys.rotate,
    enrollment_keys.end_previous,
    enrollment_keys.revoke,
    enrollment_rehearsal.rehearse,
    approvals.pending,
    approvals.approve,
    approvals.deny,
):
    enrollment.add_command(_command)


@enrollment.command()
@json_option
@url_option
def status(url: str | None, *, as_json: bool) -> None:
    """
    Show whether Auto-Enrollment is on, and which enrollment keys it accepts, by fingerprint.

    \b
    Example:
      lyftdata enrollment status
    """
    from lyftdata.cli.api import Api

    with Api(url) as api:
        found = api.get("/enrollment")
    emit(found, as_json=as_json, show=_show)


@enrollment.command("generate-key")
@output_option
@json_option
def generate_key(output: Path | None, *, as_json: bool) -> None:
    """
    Generate an enrollment key and print it. It has no effect until you set it on the Server.

    It can also serve as a secret key (LYFTDATA_SECRET_KEY); generate a separate one for each purpose.

    \b
    Example:
      lyftdata enrollment generate-key --output enrollment.key
    """
    import secrets

    from lyftdata.core.enrollment_secrets import generate_enrollment_key

    key = generate_enrollment_key(secrets.token_bytes).reveal()
    if output is None:
        emit({"key": key}, as_json=as_json, show=lambda _: echo(key))
        return
    with key_output(output) as key_out:
        if as_json:
            print_json({"key": key_out.for_json(key)})
        else:
            key_out.show_or_save(key)


def _show(found: dict[str, Any]) -> None:
    echo(f"Auto-Enrollment is {'on' if found['enabled'] else 'off'}; name policy {found['name_policy']}")
    for previous in found["previous_issuers"]:
        count = previous["workers"]
        who = "1 Worker signs" if count == 1 else f"{count or 'no'} Workers sign"
        echo(f"Previous address {previous['issuer']}: {who} for it")
    if not found["enabled"]:
        echo_err(
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
            echo_err(f"Warning ({key['role']} key): {warning}")
