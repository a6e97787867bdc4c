"""Settings are read from a table."""

import pytest

from lyftdata.core.errors import InvalidInputError, SettingsError
from lyftdata.core.secret import Secret
from lyftdata.core.settings import Setting, one_of, parse_switch, read_settings


def parse_number(text):
    """Parse a number, for the test's table."""
    if not text.isdigit():
        raise InvalidInputError("number", "must be a number")
    return int(text)


TABLE = (
    Setting(
        name="LYFTDATA_NUMBER",
        field="number",
        parse=parse_number,
        default=7,
        default_doc="7",
        doc="",
        flag="--number",
    ),
    Setting(
        name="LYFTDATA_KEY", field="key", parse=Secret, default=None, default_doc="none", doc="", secret=True
    ),
)


def read(environ, flags=None, files=None):
    """Read the test's table."""

    def read_file(path):
        if files is None or path not in files:
            raise FileNotFoundError(2, "No such file or directory")
        return files[path]

    return read_settings(TABLE, environ=environ, flags=flags or {}, read_file=read_file)


def test_flags_override_variables_which_override_defaults():
    """An empty variable counts as unset."""
    assert read({})[0]["number"] == 7
    assert read({"LYFTDATA_NUMBER": ""})[0]["number"] == 7
    assert read({"LYFTDATA_NUMBER": "8"})[0]["number"] == 8
    assert read({"LYFTDATA_NUMBER": "8"}, {"--number": "9"})[0]["number"] == 9


def test_a_secret_may_come_from_a_file():
    """`X_FILE` names the file; the line break at its end is not part of the secret."""
    values, warnings = read({"LYFTDATA_KEY_FILE": "/k"}, files={"/k": "s3cret\n"})

    assert values["key"].reveal() == "s3cret"
    assert warnings == []


@pytest.mark.parametrize(
    ("environ", "files"),
    [
        ({"LYFTDATA_KEY": "a", "LYFTDATA_KEY_FILE": "/k"}, {"/k": "b"}),
        ({"LYFTDATA_KEY_FILE": "/gone"}, {}),
        ({"LYFTDATA_KEY_FILE": "/empty"}, {"/empty": "\n"}),
    ],
)
def test_an_unusable_secret_file_is_an_error(environ, files):
    """Both variables at once, a missing file and an empty file; the error names the variable."""
    with pytest.raises(SettingsError) as faults:
        read(environ, files=files)
    assert "LYFTDATA_KEY" in faults.value.problems[0]


def test_all_errors_are_reported_at_once_without_secrets():
    """So that an operator can fix all of them before the next start."""
    with pytest.raises(SettingsError) as faults:
        read({"LYFTDATA_NUMBER": "x", "LYFTDATA_KEY": "hush", "LYFTDATA_KEY_FILE": "/k"})

    assert len(faults.value.problems) == 2
    assert "hush" not in str(faults.value)


def test_an_unknown_setting_causes_a_warning_with_a_suggestion():
    """A misspelt variable is not ignored silently."""
    _, warnings = read({"LYFTDATA_NUMBR": "1", "OTHER": "x"})

    assert warnings == ["LYFTDATA_NUMBR is not a setting and is ignored. Did you mean LYFTDATA_NUMBER?"]


@pytest.mark.parametrize(
    ("text", "value"), [("yes", True), ("ON", True), ("1", True), ("no", False), ("False", False)]
)
def test_switches_accept_common_words(text, value):
    """In upper and lower case."""
    assert parse_switch(text) is value


def test_a_word_that_is_not_a_choice_is_rejected():
    """The message lists the choices."""
    with pytest.raises(InvalidInputError, match="a, b"):
        one_of("a", "b")("c")
    with pytest.raises(InvalidInputError):
        parse_switch("maybe")
