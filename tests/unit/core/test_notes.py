"""Notes of operators."""

import pytest
from tests.builders import seeded_bytes

from lyftdata.core.api_keys import generate_api_key
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.notes import read_note
from lyftdata.core.secret import Secret

CHOSEN = "Qm3pXw7zR9tLk5vNc2Hs8Jd6Yb4Fg1Ae"
API_KEY = generate_api_key(seeded_bytes(7)).text.reveal()


def read(text):
    """Parse a note of at most a hundred characters."""
    return read_note("note", text, max_length=100, known_secrets=KnownSecrets([Secret(CHOSEN)]))


def test_a_note_is_one_line_with_a_maximum_length():
    """An empty text means no note."""
    assert read("  ") == ""
    assert read(" a scanner \n") == "a scanner"
    assert "\n" not in read("a\nb")
    assert read("x" * 100) == "x" * 100
    with pytest.raises(InvalidInputError) as raised:
        read("x" * 101)
    assert raised.value.field == "note"


@pytest.mark.parametrize("credential", [CHOSEN, API_KEY, API_KEY[:-8]])
@pytest.mark.parametrize("form", ["{}", "this one leaked: {}"])
def test_a_note_with_a_credential_is_rejected(credential, form):
    """A secret of this Server, or any of lyftdata's formats, complete or truncated; the message does not repeat it."""
    with pytest.raises(InvalidInputError) as raised:
        read(form.format(credential))
    assert raised.value.field == "note"
    assert credential not in str(raised.value)
