"""LYFTDATA_API_TOKEN and LYFTDATA_API_TOKEN_FILE."""

import pytest
from tests.builders import seeded_bytes

from lyftdata.cli.given_token import find_given_token
from lyftdata.core.api_keys import generate_api_key
from lyftdata.core.api_tokens import generate_api_token
from lyftdata.core.errors import SettingsError

TEXT = generate_api_token(seeded_bytes(3)).text.reveal()


def test_without_a_token_the_session_is_used():
    """An empty variable counts as unset."""
    assert find_given_token({}) is None
    assert find_given_token({"LYFTDATA_API_TOKEN": " "}) is None


def test_a_token_is_read_from_a_variable_or_a_file(tmp_path):
    """The line break at the file's end is removed."""
    (tmp_path / "token").write_text(TEXT + "\r\n")

    for environ in (
        {"LYFTDATA_API_TOKEN": TEXT},
        {"LYFTDATA_API_TOKEN_FILE": str(tmp_path / "token")},
    ):
        token = find_given_token(environ)
        assert token is not None
        assert token.reveal() == TEXT


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        (TEXT[:-1], "has 64 characters, and this has 63"),
        (TEXT[:-1] + "~", "has 64 characters"),
        (TEXT[:20] + TEXT[21] + TEXT[20] + TEXT[22:], "checksum"),
        (generate_api_key(seeded_bytes(1)).text.reveal(), "begins with lyftdata_token_"),
        ("ghp_another_services_token", "begins with lyftdata_token_"),
        (f'"{TEXT}"', "must not be in quotes"),
    ],
)
def test_a_text_that_is_not_an_api_token_is_not_sent(text, flaw):
    """Another service's secret must not reach the Server; the message does not repeat it."""
    with pytest.raises(SettingsError) as refused:
        find_given_token({"LYFTDATA_API_TOKEN": text})

    assert flaw in str(refused.value)
    assert text not in str(refused.value)


def test_two_tokens_or_a_missing_file_are_errors(tmp_path):
    """Which of two tokens is meant must not be guessed."""
    for environ in (
        {"LYFTDATA_API_TOKEN": TEXT, "LYFTDATA_API_TOKEN_FILE": str(tmp_path / "token")},
        {"LYFTDATA_API_TOKEN_FILE": str(tmp_path / "token")},
    ):
        with pytest.raises(SettingsError) as refused:
            find_given_token(environ)
        assert "LYFTDATA_API_TOKEN" in str(refused.value)
