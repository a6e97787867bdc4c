"""Parses posted forms."""

from collections.abc import Collection, Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.names import parse_label_text
from lyftdata.core.records import Labels
from lyftdata.core.resources import MAX_SELECTORS_BYTES
from lyftdata.core.scopes import parse_scope
from lyftdata.core.secret import Secret
from lyftdata.server.http.oauth_errors import OAuthError
from lyftdata.server.http.request_body import MAX_BODY_BYTES, read_body

_MAX_FIELDS = 500
# The largest value that can be stored, with each byte percent-encoded, and 16 KiB for the rest of the form.
MAX_FORM_BYTES = 3 * MAX_SELECTORS_BYTES + MAX_BODY_BYTES


class Form:
    """A posted form: fields by name, as text; a missing field reads as an empty text."""

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        self._fields = fields

    def text(self, name: str) -> str:
        """Return a field, stripped of surrounding white space."""
        return self._fields.get(name, [""])[-1].strip()

    def require(self, *names: str) -> None:
        """
        Reject a form without these fields; a browser sends them even if they are empty.

        Fail-open: an empty field that limits something means "no limit", and a missing field reads as empty.

        Raises:
            InvalidInputError: Names the first missing field.
        """
        for name in names:
            if name not in self._fields:
                raise InvalidInputError(name, "is missing from the form")

    def secret(self, name: str) -> Secret:
        """Return a password as it was entered."""
        return Secret(self._fields.get(name, [""])[-1])

    def all(self, name: str) -> list[str]:
        """Return every value of a field that may be repeated."""
        return [value.strip() for value in self._fields.get(name, []) if value.strip()]

    def words(self, name: str) -> list[str]:
        """Return a field's words, separated by spaces, commas or line breaks."""
        return self.text(name).replace(",", " ").split()

    def lines(self, name: str) -> list[str]:
        """Return a field's non-empty lines."""
        return [line.strip() for line in self.text(name).splitlines() if line.strip()]

    def names(self) -> Collection[str]:
        """Return the names of the posted fields."""
        return self._fields.keys()

    def is_on(self, name: str) -> bool:
        """Return whether a box was checked."""
        return bool(self._fields.get(name))

    def labels(self, name: str) -> Labels:
        """Return labels written as `zone=eu-1,gpu`; raises InvalidInputError."""
        return parse_label_text(self.text(name)) if self.text(name) else {}

    def scope(self, name: str) -> Labels | None:
        """
        Return the labels of a limit; None if the field is empty, which means no limit.

        Fail-open: a form without the field, or with a comma but no label in it, must not mean no limit.

        Raises:
            InvalidInputError: The field is missing, or contains no label, or an invalid one.
        """
        self.require(name)
        return parse_scope(self.labels(name)) if self.text(name) else None

    def __repr__(self) -> str:
        # Values may be passwords.
        return f"Form({', '.join(self._fields)})"


EMPTY = Form({})


async def read_form(request: Request, *, at_most: int = MAX_BODY_BYTES) -> Form:
    """
    Read `application/x-www-form-urlencoded` fields.

    Args:
        request: The request.
        at_most: Bytes; 16 KiB for callers who are not signed in.

    Raises:
        InvalidInputError: Not such a form, too large, not UTF-8, or containing a null character.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise InvalidInputError("form", "must be sent as application/x-www-form-urlencoded")
    try:
        body = await read_body(request, at_most=at_most)
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict"
        )
    except OAuthError as error:
        raise InvalidInputError("form", error.message) from None
    except ValueError:
        raise InvalidInputError("form", "cannot be read") from None
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        if "\0" in value:
            # No browser sends one in a field, and PostgreSQL does not accept one in a text.
            raise InvalidInputError("form", "must not hold a null character")
        fields.setdefault(name, []).append(value)
    return Form(fields)
