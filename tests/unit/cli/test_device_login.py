"""`lyftdata login --device`: what it shows, how often it polls, and how it ends."""

import click
import pytest

from lyftdata.cli.api import Api, ApiError
from lyftdata.cli.device_login import sign_in_by_device_code

BEGUN = {
    "device_code": "lyftdata_device_secret",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://lyft.example/device",
    "verification_uri_complete": "https://lyft.example/device?user_code=WDJB-MJHT",
    "expires_in": 60,
    "interval": 5,
}
SESSION = {"token": "lyftdata_session_x"}


class ScriptedApi(Api):
    """Answers as the Server would: with each code of the script, then with a session."""

    def __init__(self, *script):
        self.script = list(script)
        self.asked = []

    def post(self, path, body=None, *, signed_in=True):
        """Answer a request."""
        assert not signed_in
        if path == "/login/device":
            return BEGUN
        assert (path, body) == ("/login/device/token", {"device_code": BEGUN["device_code"]})
        if self.script:
            raise ApiError("No.", problem_code=self.script.pop(0))
        return SESSION


@pytest.fixture
def waits():
    """Return the list of the waits in seconds."""
    return []


@pytest.fixture
def sign_in(waits):
    """Return a function that signs in, with a clock that only advances while the command waits."""

    def sign_in(api):
        return sign_in_by_device_code(api, sleep=waits.append, monotonic=lambda: sum(waits))

    return sign_in


def test_it_polls_until_the_code_is_confirmed(sign_in, waits, capsys):
    """Every five seconds, and five more after each `slow_down`; the output does not contain the device code."""
    api = ScriptedApi("authorization_pending", "slow_down", "authorization_pending")
    assert sign_in(api) == SESSION
    assert waits == [5, 5, 10, 10]
    shown = capsys.readouterr()
    assert "WDJB-MJHT" in shown.err
    assert "https://lyft.example/device" in shown.err
    assert BEGUN["device_code"] not in shown.err + shown.out


@pytest.mark.parametrize("code", ["access_denied", "expired_token"])
def test_it_ends_when_the_sign_in_is_denied_or_expired(sign_in, waits, code):
    """It does not poll again."""
    with pytest.raises(ApiError) as caught:
        sign_in(ScriptedApi(code))
    assert (caught.value.problem_code, waits) == (code, [5])


def test_an_outage_does_not_invalidate_the_code(sign_in, waits):
    """It polls again with backoff (RFC 8628, section 3.5)."""
    assert sign_in(ScriptedApi("", "")) == SESSION
    assert waits == [5, 10, 20]


def test_it_gives_up_when_the_code_has_expired(sign_in, waits):
    """Whatever the Server answers."""
    with pytest.raises(click.ClickException):
        sign_in(ScriptedApi(*["authorization_pending"] * 99))
    assert sum(waits) == BEGUN["expires_in"]
