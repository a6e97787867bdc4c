"""Reading a table of settings."""

import pytest

from lyftdata.core.errors import InvalidInputError, SettingsError
from lyftdata.core.secret import Secret
from lyftdata.core.settings import Setting, one_of, parse_switch, read_settings


def parse_number(text):
    """Read a number, as a test's parser."""
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


def test_defaults_variables_flags():
    """A flag wins over the variable, the variable over the default; an empty variable counts as unset."""
    assert read({})[0]["number"] == 7
    assert read({"LYFTDATA_NUMBER": ""})[0]["number"] == 7
    assert read({"LYFTDATA_NUMBER": "8"})[0]["number"] == 8
    assert read({"LYFTDATA_NUMBER": "8"}, {"--number": "9"})[0]["number"] == 9


def test_a_secret_may_come_from_a_file():
    """`X_FILE` names a file; the line end behind the secret is not part of it."""
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
def test_a_secret_file_that_cannot_be_used_is_a_fault(environ, files):
    """Both at once, a missing and an empty file are faults that name the variable."""
    with pytest.raises(SettingsError) as faults:
        read(environ, files=files)
    assert "LYFTDATA_KEY" in faults.value.problems[0]


def test_all_faults_at_once_without_secret_values():
    """Every fault is reported in one go, and none repeats a secret."""
    with pytest.raises(SettingsError) as faults:
        read({"LYFTDATA_NUMBER": "x", "LYFTDATA_KEY": "hush", "LYFTDATA_KEY_FILE": "/k"})

    assert len(faults.value.problems) == 2
    assert "hush" not in str(faults.value)


def test_an_unknown_name_is_warned_about_with_the_nearest():
    """A misspelt variable does not vanish silently."""
    _, warnings = read({"LYFTDATA_NUMBR": "1", "OTHER": "x"})

    assert warnings == ["LYFTDATA_NUMBR is not a setting and is ignored. Did you mean LYFTDATA_NUMBER?"]


@pytest.mark.parametrize(
    ("text", "value"), [("yes", True), ("ON", True), ("1", True), ("no", False), ("False", False)]
)
def test_switches(text, value):
    """Switches read the words that people use."""
    assert parse_switch(text) is value


def test_words_outside_the_choice_are_refused():
    """A word that is not offered is refused, and the offer is named."""
    with pytest.raises(InvalidInputError, match="a, b"):
        one_of("a", "b")("c")
    with pytest.raises(InvalidInputError):
        parse_switch("maybe")
