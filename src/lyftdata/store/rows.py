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
    """Return the record that a row holds; `more` gives fields that are not columns. Its kind is prepared (`core/structs.py`)."""
    mapping = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    values = {name: mapping[name] for name in kind.__struct_fields__ if name in mapping}
    # strict=False turns the text of an enumeration back into it; datetimes and bytes pass as they are.
    return msgspec.convert({**values, **more}, kind, strict=False, builtin_types=(bytes, datetime))


def from_rows(kind: type[T], rows: Result[Any]) -> Iterator[T]:
    """
    Iterate over the records that the rows of a result hold, as `from_row` for one; columns that are not fields are left out.

    For tables of which the Server reads every row when it starts: to look up each field in each row takes most of the time there.
    A part of the rows is fetched at a time. All at once they would take as much memory as the records, and leave holes in it.
    """
    # SQLAlchemy's names are of a type of its own, which msgspec does not take for text.
    names = [str(name) for name in rows.keys()]  # noqa: SIM118 - not a dictionary
    for part in rows.partitions(_AT_ONCE):
        for row in part:
            columns = dict(zip(names, row, strict=True))
            yield msgspec.convert(columns, kind, strict=False, builtin_types=(bytes, datetime))
