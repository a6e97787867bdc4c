"""Reads the notes that operators write for each other: one line, stored and shown to every operator."""

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.text import clean_text


def read_note(field: str, text: str, *, max_length: int, known_secrets: KnownSecrets) -> str:
    """
    Read a note; empty if there is none.

    Args:
        field: Name of the field, for messages.
        text: The note as typed.
        max_length: In characters.
        known_secrets: Secrets that no note may contain: a key pasted to say which one leaked would end up in lists, backups and the audit log.

    Raises:
        InvalidInputError: It is too long, or contains a credential.
    """
    note = clean_text(text.strip(), max_length + 1)
    if len(note) > max_length:
        raise InvalidInputError(field, f"must be at most {max_length} characters")
    known_secrets.check_credentials(field, note)
    return note
