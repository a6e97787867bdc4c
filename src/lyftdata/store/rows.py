"""Converts records to rows and back."""

from datetime import datetime
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Row

T = TypeVar("T", bound=msgspec.Struct)


def to_row(record: msgspec.Struct) -> dict[str, Any]:
    """Return a record's fields as column values; enumerations become their text."""
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    return {name: getattr(value, "value", value) for name, value in fields.items()}


def from_row(kind: type[T], row: Row[Any], **more: Any) -> T:
    """Return the record that a row holds; `more` gives fields that are not columns. Its kind is prepared (`core/structs.py`)."""
    mapping = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    values = {name: mapping[name] for name in kind.__struct_fields__ if name in mapping}
    # strict=False turns the text of an enumeration back into it; datetimes and bytes pass as they are.
    return msgspec.convert({**values, **more}, kind, strict=False, builtin_types=(bytes, datetime))
