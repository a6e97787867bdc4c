"""Converts records to rows and back."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Result, Row

T = TypeVar("T", bound=msgspec.Struct)

_AT_ONCE = 1_000


def to_row(record: msgspec.Struct) -> dict[str, Any]:
    """Return a record's fields as column values; enumerations become their text."""
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    return {name: getattr(value, "value", value) for name, value in fields.items()}


def from_row(kind: type[T], row: Row[Any], **more: Any) -> T:
    """Return the record in a row; `more` gives fields that are not columns. Its type must be prepared (`core/structs.py`)."""
    mapping = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    values = {name: mapping[name] for name in kind.__struct_fields__ if name in mapping}
    # strict=False converts text to the enumeration; datetimes and bytes are passed through.
    return msgspec.convert({**values, **more}, kind, strict=False, builtin_types=(bytes, datetime))


def from_rows(kind: type[T], rows: Result[Any]) -> Iterator[T]:
    """
    Iterate over the records in the rows of a result, like `from_row` for one; columns that are not fields are ignored.

    For tables that the Server reads in full at startup, where looking up each field of each row would take most of the time.
    Rows are fetched in batches: all at once would take as much memory as the records, and fragment it.
    """
    # SQLAlchemy's names are a subclass of str, which msgspec does not accept as text.
    names = [str(name) for name in rows.keys()]  # noqa: SIM118 - not a dictionary
    for part in rows.partitions(_AT_ONCE):
        for row in part:
            columns = dict(zip(names, row, strict=True))
            yield msgspec.convert(columns, kind, strict=False, builtin_types=(bytes, datetime))
