"""The format of API tokens, and when a token is accepted."""

from datetime import timedelta

import msgspec
import pytest
from tests.builders import NOON, seeded_bytes

from lyftdata.core.api_keys import generate_api_key, holds_api_key
from lyftdata.core.api_tokens import (
    API_TOKEN_LENGTH,
    MAX_LIFE,
    ApiTokenStatus,
    check_token_life,
    find_token_flaw,
    generate_api_token,
    holds_api_token,
    parse_api_token,
    status_of,
    verify_api_token,
)
from lyftdata.core.errors import ApiTokenRejectedError, InvalidInputError
from lyftdata.core.records import ApiTokenRecord, OperatorRecord, Role
from lyftdata.core.redaction import hide_credentials, holds_credential
from lyftdata.core.secret import Secret

NEW = generate_api_token(seeded_bytes(7))
TEXT = NEW.text.reveal()
RECORD = ApiTokenRecord(
    public_id=NEW.public_id,
    name="ci-deploy",
    digest=NEW.digest,
    role=Role.ADMIN,
    operator="ada",
    created_at=NOON,
    expires_at=NOON + timedelta(days=90),
)
ADA = OperatorRecord(name="ada", role=Role.ADMIN, password_hash="$argon2id$…", created_at=NOON)


def rejection(*, record=RECORD, operator=ADA, now=NOON, text=TEXT):
    """Return the error with which a token is rejected, or None."""
    try:
        verify_api_token(parse_api_token(text), record=record, operator=operator, now=now)
    except ApiTokenRejectedError as error:
        return error
    return None


def test_a_token_is_recognized_by_its_prefix_and_its_checksum():
    """A secret scanner can tell it from an API key, and from other text of the same form."""
    assert TEXT.startswith("lyftdata_token_")
    assert len(TEXT) == API_TOKEN_LENGTH
    assert holds_api_token(f"token={TEXT};")
    assert holds_credential(f"token={TEXT};")
    assert not holds_api_key(TEXT)
    assert not holds_api_token(generate_api_key(seeded_bytes(1)).text.reveal())
    assert not holds_api_token(TEXT[:-1] + ("a" if TEXT[-1] != "a" else "b"))


@pytest.mark.parametrize("text", [TEXT, TEXT[4:], f"Bearer {TEXT}", TEXT[:-3]])
def test_a_token_in_a_text_is_hidden_except_for_its_public_id(text):
    """Whether it is complete or cut at one end."""
    hidden = hide_credentials(text)

    assert NEW.public_id in hidden
    assert TEXT[26:40] not in hidden


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lyftdata_token_",
        TEXT[:-1],
        TEXT + "a",
        TEXT[:-1] + "!",
        TEXT.replace(TEXT[30], "", 1),
        TEXT.lower(),
    ],
)
def test_a_token_that_was_cut_or_changed_is_malformed(text):
    """Its checksum shows it before the database is read."""
    with pytest.raises(ApiTokenRejectedError):
        parse_api_token(text)
    assert find_token_flaw(Secret(text or "x"))


def test_a_valid_token_is_accepted():
    """The complete text, before its expiry."""
    assert rejection() is None
    assert find_token_flaw(NEW.text) is None


def test_an_unknown_token_and_a_wrong_secret_are_rejected_alike():
    """The error does not reveal whether the public ID exists."""
    other = msgspec.structs.replace(RECORD, digest=b"x" * 32)
    unknown, wrong = rejection(record=None, operator=None), rejection(record=other)

    assert (unknown.message, unknown.hint, unknown.token_name) == (wrong.message, wrong.hint, None)


@pytest.mark.parametrize(("seconds_left", "is_let_in"), [(1, True), (0, False), (-1, False)])
def test_a_token_expires_at_its_expiry_time(seconds_left, is_let_in):
    """It is rejected from that very second."""
    error = rejection(now=RECORD.expires_at - timedelta(seconds=seconds_left))

    assert (error is None) is is_let_in
    assert error is None or (error.token_name, "expired" in error.message) == ("ci-deploy", True)


def test_a_revoked_token_is_reported_as_revoked_even_if_it_has_expired():
    """It also stays listed as revoked."""
    revoked = msgspec.structs.replace(RECORD, revoked_at=NOON)

    assert "was revoked" in rejection(record=revoked).message
    assert status_of(revoked, now=RECORD.expires_at) is ApiTokenStatus.REVOKED
    assert (
        "was revoked"
        not in rejection(record=revoked, text=generate_api_token(seeded_bytes(8)).text.reveal()).message
    )


@pytest.mark.parametrize(
    "operator",
    [None, msgspec.structs.replace(ADA, created_at=NOON + timedelta(seconds=1))],
    ids=["gone", "another"],
)
def test_a_token_of_a_deleted_operator_is_rejected(operator):
    """Also if another operator has been given the same name since."""
    assert "does not exist" in rejection(operator=operator).message


@pytest.mark.parametrize("life", [timedelta(0), timedelta(seconds=-1), MAX_LIFE + timedelta(seconds=1)])
def test_every_token_expires_within_366_days(life):
    """A longer lifetime, and one that is not positive, is rejected."""
    with pytest.raises(InvalidInputError):
        check_token_life(life)
    check_token_life(MAX_LIFE)
