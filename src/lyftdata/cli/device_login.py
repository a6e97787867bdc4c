"""`lyftdata login --device`: signs in with a code that is confirmed in a browser, on this or another machine (RFC 8628)."""

import socket
import time
from collections.abc import Callable
from typing import Any

import click

from lyftdata.cli.api import Api, ApiError
from lyftdata.cli.output import echo_err
from lyftdata.core.text import clean_text

# RFC 8628, section 3.5.
_SLOW_DOWN_S = 5
_MIN_INTERVAL_S, _MAX_INTERVAL_S = 1.0, 60.0
_MAX_LIFE_S = 3_600.0


def sign_in_by_device_code(
    api: Api,
    *,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Any:
    """
    Show the code, and wait until an operator has confirmed it; return the same as a sign-in by password.

    Args:
        api: The Server.
        sleep: For tests: waits for a number of seconds.
        monotonic: For tests: returns seconds on a clock that does not jump.

    Raises:
        ApiError: It was denied, has expired, or the Server cannot be asked.
    """
    host = clean_text(socket.gethostname(), 64)
    begun = api.post("/login/device", {"host": host}, signed_in=False)
    echo_err(f"Open {begun['verification_uri']} in a browser, sign in, and type this code:")
    echo_err("")
    echo_err(f"    {begun['user_code']}")
    echo_err("")
    echo_err(f"Or open {begun['verification_uri_complete']}")
    echo_err("")
    echo_err("Waiting until you have confirmed it there. The code is valid for ten minutes.")
    interval_s = min(max(float(begun["interval"]), _MIN_INTERVAL_S), _MAX_INTERVAL_S)
    ends_s = monotonic() + min(float(begun["expires_in"]), _MAX_LIFE_S)
    while monotonic() < ends_s:
        sleep(interval_s)
        try:
            return api.post("/login/device/token", {"device_code": begun["device_code"]}, signed_in=False)
        except ApiError as error:
            match error.problem_code:
                case "authorization_pending":
                    pass
                case "":
                    # Not an answer of the Server: an outage passes, and should not cost the operator another code.
                    interval_s = min(interval_s * 2, _MAX_INTERVAL_S)
                case "slow_down":
                    interval_s = min(interval_s + _SLOW_DOWN_S, _MAX_INTERVAL_S)
                case _:
                    raise
    raise click.ClickException("The code has expired, and was not confirmed. You are not signed in.")
